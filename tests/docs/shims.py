"""What stands before the real commands when a document's lines are run: `python shims.py NAME ARGUMENT…`.

`signalbox` is this checkout's; one that goes on working is left in the background as soon as it says that it does.
`curl` fails where the answer is none of 2xx. In both, an id that a document leaves open (`run_…`) is the newest.
`git clone` makes another folder of this checkout.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

BOUND: Final = 25.0
HOME: Final = Path(os.environ["SHIM_HOME"])
"""Where it is kept what works in the background."""

WORKS: Final = re.compile(
    r"Signalbox is at |takes runs\.|Signalbox sandbox at |Listening at |The agent \w+ is at "
)
STAY: Final = re.compile(r"(serve|worker|sandbox|webhooks listen|agent (?!test\b)\w+)\b")
OPEN: Final = re.compile(r"\b(run|apr|key)_\w*…")


def newest(kind: str) -> str:
    """Return the id that is meant: of the newest run, of a question of it, of the newest key."""
    if kind == "key":
        lines = subprocess.check_output(
            [sys.executable, "-m", "service", "keys", "list", "--json"], text=True
        )
        return str(max(key["id"] for key in json.loads(lines)))
    run = read("/v1/runs?limit=1")[0]["id"]
    if kind == "run":
        return str(run)
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline:
        if read(f"/v1/runs/{run}?wait=1")["ended_at"]:
            break
        if asked := read(f"/v1/approvals?status=pending&run_id={run}"):
            return str(asked[0]["id"])
    sys.exit(f"{run} asks nothing")


def read(path: str) -> Any:
    """Return what the server says."""
    url = f"http://127.0.0.1:{os.environ['SIGNALBOX_PORT']}{path}"
    with urllib.request.urlopen(url, timeout=BOUND) as answer:
        document = json.load(answer)
    return document.get("data", document)


def stop(name: str) -> str:
    """Stop what was left in the background, as Ctrl-C does; return the code that it ends with."""
    number = HOME / f"{name}.pid"
    if not number.exists():
        return "0"
    with suppress(ProcessLookupError):
        os.kill(int(number.read_text()), signal.SIGINT)
    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    number.unlink()
    return (HOME / f"{name}.code").read_text()


def stop_all() -> None:
    """Stop all of it; fails where something ends badly."""
    codes = {number.stem: stop(number.stem) for number in HOME.glob("*.pid")}
    bad = {name: code for name, code in codes.items() if code not in {"0", "130"}}
    if bad:
        sys.exit(f"this ended badly: {bad}")


def stay(arguments: list[str]) -> None:
    """Start a command that goes on working; return when it says that it does."""
    name = arguments[0]
    stop(name)
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        sys.exit(0 if os.read(told, 1) else f"{' '.join(arguments)} has ended")
    os.close(told)
    os.setsid()
    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = relay(arguments, tell)
        (HOME / f"{name}.code").write_text(str(code))
    sys.exit(0)


def relay(arguments: list[str], tell: int) -> int:
    """Pass on what the command says on stderr, and write it down; return its exit code."""
    command = [sys.executable, "-m", "service", *arguments]
    with (
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as child,
        (HOME / f"{arguments[0]}.log").open("a") as log,
    ):
        assert child.stderr
        (HOME / f"{arguments[0]}.pid").write_text(str(child.pid))
        for line in child.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            log.write(line)
            log.flush()
            if WORKS.search(line):
                os.write(tell, b"+")
    os.close(tell)
    return child.returncode


def clone(target: str) -> None:
    """Make a folder with everything of this checkout but what was made in it."""
    here = Path(os.environ["SHIM_ROOT"])
    folder = Path(target)
    if folder.is_symlink():
        folder.unlink()  # what leads to the source has the same name here; nothing is written through it
    folder.mkdir(exist_ok=True)
    for path in here.iterdir():
        if path.name not in {".git", ".venv", ".env", "data", "build"}:
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(HOME / "venv")
    shutil.copy(HOME / "sales.csv", folder)


def main(name: str, arguments: list[str]) -> None:
    """Do what the command of this name is to do."""
    arguments = [OPEN.sub(lambda match: newest(match[1]), each) for each in arguments]
    if name == "git":
        clone(arguments[-1])
    elif name == "curl":
        curl = shutil.which("curl", path=os.environ["SHIM_PATH"])
        os.execv(str(curl), ["curl", "--fail-with-body", "--max-time", "60", *arguments])
    elif name.startswith("python"):
        os.execv(sys.executable, [sys.executable, *arguments])
    elif STAY.match(" ".join(arguments)):
        stay(arguments)
    elif arguments[:1] == ["demo"]:  # nobody is there to look and to decide
        command = [
            sys.executable,
            "-m",
            "service",
            "demo",
            "--no-browser",
            "--approve",
            "auto",
            "--once",
        ]
        os.execv(sys.executable, command)
    elif name == "stop":
        stop_all()
    else:
        command = [sys.executable, "-m", "service", *arguments]
        os.execv(sys.executable, command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
