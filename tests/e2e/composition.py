"""Runs the services of `docker-compose.yml` as processes of this machine, wired as the file says.

What a container would change is put in its place: names of services become addresses on loopback, volumes folders, the
ports of containers free ports. Where this may be done (Linux, root) each process has a read-only root as well.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.deploy.files import Document, compose, interpolated
from tests.deploy.test_dockerfile import instructions
from tests.e2e.processes import BOUND, Process, clean_environment

READY: Final = {
    "sandbox": r"Signalbox sandbox at \S+: (.*)",
    "serve": r"Signalbox is at (http://\S+) ",
    "worker": r"Signalbox worker \S+ takes runs",
    "agent": r"The agent \w+ is at (http://\S+?)\.? *$",
}
"""What a process says when it is ready, by its command."""

_ADDRESS: Final = re.compile(r"http://([a-z]+):(\d+)")


@dataclass
class Instance:
    """One process of a service."""

    service: str
    ports: dict[str, int]
    """Ports of this machine by those of the container."""
    process: Process

    @property
    def address(self) -> str:
        """Return where it takes requests."""
        return f"http://127.0.0.1:{self.ports['8000']}"


class Composition:
    """The processes of some services. `dotenv`: what `.env` says; `given`: what the shell does."""

    def __init__(
        self, folder: Path, database: str, *, dotenv: Mapping[str, str], given: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._database = database
        self._dotenv = dotenv
        self._given = given
        self._ports: dict[str, list[int]] = {}
        self.instances: dict[str, list[Instance]] = {}
        for name in ("data/workspaces", "run", "tmp", "cwd"):
            (folder / name).mkdir(parents=True)

    def up(self, *names: str) -> None:
        """Start these services and what they depend on, in the file's order of things."""
        new = [name for name in names if name not in self.instances]
        for name in new:
            self.up(*compose()["services"][name].get("depends_on", ()))
        for name in new:
            service = compose()["services"][name]
            if "build" not in service:
                assert name == "postgres", name
                continue  # it runs already: the database of the test
            self.instances[name] = [
                self._launch(name, command_of(service), port) for port in self._ports_of(name)
            ]
        for name in new:
            for instance in self.instances.get(name, ()):
                self._wait(instance)

    def once(self, name: str, *command: str) -> str:
        """Run a command in a container of a service, as `docker compose run --rm` does; return what it prints."""
        self.up(*compose()["services"][name].get("depends_on", ()))
        instance = self._launch(name, ["signalbox", *command], _free_port())
        assert instance.process.ended() == 0, instance.process.stderr
        return instance.process.stdout

    def restart(self, instance: Instance) -> None:
        """Start a process that was killed again, as the file says of its service."""
        assert compose()["services"][instance.service]["restart"] == "unless-stopped"
        others = self.instances[instance.service]
        service = compose()["services"][instance.service]
        begun = self._launch(instance.service, command_of(service), instance.ports["8000"])
        others[others.index(instance)] = begun
        self._wait(begun)

    def close(self) -> None:
        """End all of them."""
        for instances in self.instances.values():
            for instance in instances:
                instance.process.close()

    def _wait(self, instance: Instance) -> None:
        """Wait until a process is what those wait for that depend on it."""
        service = compose()["services"][instance.service]
        if service["restart"] == "no":
            assert instance.process.ended() == 0, instance.process.stderr
            return
        instance.process.says(READY[command_of(service)[1]])
        self._look(instance, service)

    def _launch(self, name: str, command: list[str], port: int) -> Instance:
        service = compose()["services"][name]
        ports = {"8000": port, "9100": _free_port()}
        values = dict(self._dotenv if service["env_file"] else {})
        for variable, text in service["environment"].items():
            values[variable] = self._translated(interpolated(str(text), self._given), ports)
        if "SIGNALBOX_PORT" in values:
            values["SIGNALBOX_PORT"] = str(ports[values["SIGNALBOX_PORT"]])
        values["TMPDIR"] = str(self._folder / "tmp")
        assert command[0] == "signalbox"
        args = ["-m", "service", *(str(ports.get(arg, arg)) for arg in command[1:])]
        program = sys.executable
        if service["read_only"] and roots_can_be_read_only():
            program, args = "unshare", _on_a_read_only_root(self._folder, [program, *args])
        cwd = self._folder / "cwd"
        return Instance(name, ports, Process(args, cwd=cwd, env=values, program=program))

    def _look(self, instance: Instance, service: Document) -> None:
        """Do the health check of a service, or that of the image where it has none."""
        check = service.get("healthcheck", {}).get("test") or image_check()
        assert check[:2] == ["CMD", "python"]
        args = [self._translated(arg, instance.ports) for arg in check[2:]]
        env = clean_environment(self._folder, {"SIGNALBOX_PORT": str(instance.ports["8000"])})
        done = subprocess.run(
            [sys.executable, *args],
            env=env,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        assert done.returncode == 0, (instance.service, done.stderr, instance.process.stderr)

    def _translated(self, text: str, ports: Mapping[str, int]) -> str:
        """Return a text of the file with what a container would make of it."""
        if text.startswith("postgresql://"):
            self._check_database(text)
            return self._database
        text = re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{ports.get(m[1], m[1])}", text)
        text = _ADDRESS.sub(lambda m: self._addresses(m[1]), text)
        text = re.sub(
            r"\A(sqlite:///)?/(data|tmp)\b", lambda m: f"{m[1] or ''}{self._folder}/{m[2]}", text
        )
        return text.replace("/run/sandbox", str(self._folder / "run"))

    def _addresses(self, service: str) -> str:
        """Return where the containers of a service are, as a name with several addresses leads to all of them."""
        return ",".join(f"http://127.0.0.1:{port}" for port in self._ports_of(service))

    def _ports_of(self, service: str) -> list[int]:
        """Return the ports of a service's containers, which may not have been started yet."""
        count = compose()["services"][service].get("deploy", {}).get("replicas", 1)
        return self._ports.setdefault(service, [_free_port() for _ in range(count)])

    def _check_database(self, url: str) -> None:
        """See that an address leads to the file's own Postgres, and gets in."""
        parts, postgres = urlsplit(url), compose()["services"]["postgres"]["environment"]
        user, password = (
            interpolated(postgres[f"POSTGRES_{what}"], self._given) for what in ("USER", "PASSWORD")
        )
        assert (parts.hostname, parts.port) == ("postgres", None)
        # Without POSTGRES_DB the image's database has its user's name.
        assert (parts.username, parts.password, parts.path) == (user, password, f"/{user}")


def command_of(service: Document) -> list[str]:
    """Return the command of a service, or that of the image where it has none."""
    command: list[str] | None = service.get("command")
    return command or ["signalbox", "serve"]


def image_check() -> list[str]:
    """Return the health check of the image."""
    [health] = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    command: list[str] = json.loads(health[health.index("[") :])
    return ["CMD", *command]


@functools.cache
def roots_can_be_read_only() -> bool:
    """Return whether a process of this user may have a root that nothing can be written to."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-o", "remount,ro,bind", "/"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def _on_a_read_only_root(writable: Path, command: list[str]) -> list[str]:
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'
    return ["--mount", "sh", "-c", script, str(writable), *command]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
