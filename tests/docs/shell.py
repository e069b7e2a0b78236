"""Runs what a document shows as a reader would: its lines in a shell, in order, in a checkout of this source."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from tests.conftest import ROOT
from tests.docs.markdown import Block
from tests.e2e.processes import clean_environment

BOUND: Final = 140.0
SHOWN_AS_FILE: Final = re.compile(r"`(?P<path>[\w/]+\.py)`:$")
COMMANDS: Final = ("signalbox", "curl", "git", "python", "python3", "stop")
SHIMS: Final = Path(__file__).with_name("shims.py")

SALES: Final = "month,sales\n2026-01,120\n2026-02,135\n2026-03,150\n2026-04,149\n2026-05,171\n"


class Shell:
    """A checkout in a folder of its own, whose commands are those of `shims.py`."""

    def __init__(self, folder: Path, **env: str) -> None:
        home = folder / "shims"
        checkout = folder / "checkout"
        for commands in (home, home / "venv" / "bin"):
            commands.mkdir(parents=True)
        for name in COMMANDS:
            _command(home / "venv" / "bin" / name)
        (home / "sales.csv").write_text(SALES)
        # What make would install is there: it looks for these.
        for stamp in (".installed", ".installed-dev", ".installed-sandbox"):
            (home / "venv" / stamp).touch()
        self.port, self._other = free_ports()
        own = {
            "PATH": f"{home / 'venv' / 'bin'}:{clean_environment(folder, {})['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SHIM_HOME": str(home),
            "SHIM_ROOT": str(ROOT),
            "SHIM_PATH": clean_environment(folder, {})["PATH"],
            "SIGNALBOX_PORT": str(self.port),
            "SIGNALBOX_KNOWLEDGE_DIR": str(folder / "knowledge"),
            "SIGNALBOX_CACHE_SECONDS": "",
            "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
        }
        self._env = clean_environment(folder, {**own, **env})
        self._home = home
        self._database = env.get("SIGNALBOX_DATABASE_URL", "")
        self._checkout = checkout
        (folder / "knowledge").mkdir()
        text = "# Context managers\n\nA context manager defines what happens on entry and exit.\n"
        (folder / "knowledge" / "context.md").write_text(text)
        checkout.mkdir()
        self.run("git clone here .")

    def run(self, script: str) -> str:
        """Run a script to its end; return what it printed. Any line that fails, fails."""
        # Files, not pipes: what stays in the background would hold those open.
        with (self._home / "stdout").open("w+") as out, (self._home / "stderr").open("w+") as err:
            code = subprocess.call(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self._checkout,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=BOUND,
            )
            out.seek(0)
            err.seek(0)
            printed = out.read()
            said = "".join(line for line in err if not line.startswith("{"))
            assert code == 0, f"exit code {code}\n{script}\n{printed}\n{said}"
        return printed

    def execute(self, blocks: list[Block], *, before: str = "") -> str:
        """Run blocks in one shell, with a server beside them where they speak to one."""
        script = "\n".join(filter(None, [before, *map(as_script, blocks)]))
        asks = re.search(r"localhost:8000|_…", re.split(r"\bserve\b", script)[0])
        if asks and not (self._home / "serve.pid").exists():
            script = f"signalbox serve 2> /dev/null\n{script}"
        return self.run(self._filled(script))

    def _filled(self, script: str) -> str:
        """Return a script with an address that is free, and without what is left open."""
        for shown, real in {
            "localhost:8000": f"127.0.0.1:{self.port}",
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "--port 8000": f"--port {self.port}",
            "postgresql://signalbox:secret@db.example.internal/signalbox": self._database,
            "--port 9000": "--port 0",
            "9001": str(self._other),
            "--metrics-port 9100": "--metrics-port 0",
            "/run/sandbox/": f"{self._home}/",
            "DATA_DIR=/data": "DATA_DIR=data",
            "<url>": "here",
            "lsv2_…": "lsv2_test",
            "sk-…": "sk-test",
        }.items():
            script = script.replace(shown, real)
        return script

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what stays in the background; fails where something of it ends badly."""
        self.run("stop")


def free_ports() -> tuple[int, int]:
    """Return two ports of this machine that nobody has."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


def as_script(block: Block) -> str:
    """Return a block as lines for a shell: commands as they are, Python as a program or as the file it is."""
    if block.language == "sh":
        return block.text
    shown = SHOWN_AS_FILE.search(block.before.rsplit("\n\n")[-1].replace("\n", " "))
    if shown:
        path = shown["path"]
        return f"mkdir -p {Path(path).parent}\ncat > {path} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
    return f"python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"


def _command(path: Path) -> None:
    """Write a command that is one of `shims.py`."""
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {SHIMS} {path.name} "$@"\n')
    path.chmod(0o755)
