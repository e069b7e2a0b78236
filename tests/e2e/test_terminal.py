"""The `signalbox` command at a terminal: lanes, questions, Ctrl-C, the demo, pipes, completion."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import BOUND, clean_environment
from tests.fakes.model_server import Reply, When

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
MOVES = re.compile(r"\x1b\[\d*[AK]|\x1b\[\?25[lh]")


class Terminal:
    """A command at a terminal of its own: stdin and stderr are the terminal, stdout is a file."""

    def __init__(self, args: tuple[str, ...], *, cwd: Path, env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 120))
        self.stdout = cwd / "stdout"
        with self.stdout.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", *args],
                cwd=cwd,
                env=clean_environment(cwd, {"TERM": "xterm-256color", **env}),
                stdin=theirs,
                stdout=out,
                stderr=theirs,
                start_new_session=True,
            )
        os.close(theirs)
        self.shown = ""

    def says(self, pattern: str) -> re.Match[str]:
        """Read until the terminal shows something."""
        deadline = time.monotonic() + BOUND
        while not (match := re.search(pattern, self.shown)):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r}:\n{self.shown}"
            assert self._read(left), f"ended without {pattern!r}:\n{self.shown}"
        return match

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], seconds)
        data = b""
        if ready:
            with suppress(OSError):  # what Linux says where the other end is closed
                data = os.read(self._ours, 65_536)
            self.shown += data.decode(errors="replace")
        return bool(data) or not ready

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def press_ctrl_c(self) -> None:
        """As the terminal does where the command is in front."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        deadline = time.monotonic() + BOUND
        while self._process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            self._read(0.1)
        while self._read(0):
            if not select.select([self._ours], [], [], 0)[0]:
                break
        return self._process.returncode

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(BOUND)
        os.close(self._ours)


@pytest.fixture
def terminal(folder: Path) -> Iterator[Callable[..., Terminal]]:
    """Return how to start a command at a terminal."""
    started: list[Terminal] = []

    def start(*args: str, **env: str) -> Terminal:
        values = {"SIGNALBOX_KNOWLEDGE_DIR": str(folder / "knowledge"), **env}
        started.append(Terminal(args, cwd=folder, env=values))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_person_sees_lanes_and_decides(terminal: Callable[..., Terminal]) -> None:
    """Lanes move and are coloured, a question stops them, and the answer goes on; stdout has the Run alone."""
    process = terminal("run", "--approvals", "always", "Compute the mean of 3, 4 and 8")
    process.says(r"run_python")
    process.says(r"approve\? type y")
    process.type("y\n")
    assert process.ended() == 0, process.shown
    assert COLOUR.search(process.shown)
    assert MOVES.search(process.shown)
    lanes = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", process.shown)
    assert re.search(r"(?m)^ *analyst ▶ .* \d:\d\d", lanes)
    assert re.search(r"(?m)^ *run .* \d:\d\d", lanes)
    run = json.loads(process.stdout.read_text())
    assert run["status"] == "completed"
    assert "mean: 5" in run["result"]["output"]
    assert process.shown.count("decided: approve") == 1


@pytest.mark.parametrize(
    ("env", "moves"),
    [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)],
    ids=["no colour", "dumb"],
)
def test_a_terminal_gets_what_it_can_show(
    terminal: Callable[..., Terminal], env: dict[str, str], moves: bool
) -> None:
    """With NO_COLOR nothing is coloured; a dumb terminal gets lines."""
    process = terminal("run", "--answer", "What is 6 * 7?", **env)
    assert process.ended() == 0, process.shown
    if "NO_COLOR" in env:
        assert not COLOUR.search(process.shown)
    assert bool(MOVES.search(process.shown)) is moves
    assert process.stdout.read_text() == "Computed with Python:\n\n6 * 7 = 42\n"


def test_ctrl_c_twice_leaves_at_once_and_says_where_the_run_is(
    signalbox: StartProcess, serve: StartService, models: Models
) -> None:
    """The first is a cancellation; a server that does not answer it is not waited for."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="never"))
    models.add(*hanging.rules)
    service = serve(models=models)
    process = signalbox("run", "Compare clocks", "--server", service.base_url)
    hanging.wait()
    process.says(r"researcher \| works on")
    service.process.send(signal.SIGSTOP)
    process.send(signal.SIGINT)
    process.says("Ctrl-C once more leaves at once")
    process.send(signal.SIGINT)
    assert process.ended() == 130
    assert "Traceback" not in process.stderr
    run_id = process.says(r"(run_\w+) accepted")[1]
    assert (
        f"{run_id} goes on at {service.base_url}: `signalbox runs watch {run_id}" in process.stderr
    )
    assert process.stdout == ""


def test_ctrl_c_prints_what_there_was(signalbox: StartProcess, models: Models) -> None:
    """The cancelled Run is on stdout."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="never"))
    models.add(*hanging.rules)
    process = signalbox("run", "Compare clocks", OPENAI_BASE_URL=models.base_url)
    hanging.wait()
    process.says(r"researcher \| works on")
    process.send(signal.SIGINT)
    assert process.ended() == 130
    assert json.loads(process.stdout)["status"] == "cancelled"


def test_a_run_that_waits_goes_on_in_a_server(
    signalbox: StartProcess, serve: StartService, terminal: Callable[..., Terminal]
) -> None:
    """Nobody is at the terminal: exit 3. A server that is started in the same folder has the question."""
    process = signalbox("run", "--approvals", "always", "Compute the mean of 3, 4 and 8")
    assert process.ended() == 3, process.stderr
    run = json.loads(process.stdout)
    assert run["status"] == "requires_action"
    assert (
        f"start `signalbox serve`, then `signalbox approve {run['id']}` decides" in process.stderr
    )
    service = serve()
    deciding = terminal("approve", run["id"], "--server", service.base_url)
    deciding.says(r"code:")
    deciding.says(r"approve\? type y")
    deciding.type("y\n")
    assert deciding.ended() == 0, deciding.shown
    watched = signalbox("runs", "watch", run["id"], "--quiet", "--server", service.base_url)
    assert watched.ended() == 0
    assert "mean: 5" in watched.stdout


def test_the_demo_is_decided_from_elsewhere_and_leaves_nothing(
    signalbox: StartProcess, folder: Path
) -> None:
    """One command without a key, also where settings are wrong; its page is there, and Ctrl-C ends it."""
    scratch = folder / "scratch"
    scratch.mkdir()
    env = {
        "TMPDIR": str(scratch),
        "SIGNALBOX_PORT": "wrong",
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
    }
    process = signalbox("demo", **env)
    page = process.says(r"The run's page is (\S+)\.$")[1]
    url = page.partition("/runs/")[0]
    approval = process.says(r"signalbox \| (apr_\w+): ")[1]
    wanted = {"accept": "text/html"}
    assert "<html" in httpx.get(page, headers=wanted, timeout=BOUND, trust_env=False).text
    assert list(scratch.iterdir())
    decided = signalbox("approve", approval, "--yes", "--server", url)
    assert decided.ended() == 0, decided.stderr
    process.says(r"signalbox \| completed after 1 round")
    process.says("stays at")
    process.send(signal.SIGINT)
    assert process.ended() == 0, process.stderr
    assert process.stdout == f"{url}\n"
    assert "Traceback" not in process.stderr
    assert not list(scratch.iterdir())


def test_the_demo_opens_its_page_and_can_be_kept(signalbox: StartProcess, folder: Path) -> None:
    scratch, browser = folder / "scratch", folder / "browser"
    scratch.mkdir()
    browser.write_text(f'#!/bin/sh\necho "$1" > {folder}/opened\n')
    browser.chmod(0o755)
    env = {"TMPDIR": str(scratch), "DISPLAY": ":1", "BROWSER": f"{browser} %s"}
    process = signalbox("demo", "--once", "--keep", "--approve", "auto", **env)
    assert process.ended() == 0, process.stderr
    page = process.says(r"The run's page is (\S+)\.$")[1]
    assert (folder / "opened").read_text() == f"{page}\n"
    kept = Path(process.says(r"kept in (\S+)\.")[1])
    with closing(sqlite3.connect(kept / "signalbox.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("completed",)]


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Carry out a line in bash, in which `signalbox` is this one."""
    program = folder / "bin" / "signalbox"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m service "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    knowledge = str(folder / "knowledge")
    env = {"PYTHONPATH": str(ROOT), "PATH": path, "SIGNALBOX_KNOWLEDGE_DIR": knowledge}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=clean_environment(folder, env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * BOUND,
        check=False,
    )


def test_a_closed_pipe_and_a_full_disk_are_no_traceback(folder: Path) -> None:
    pipe = shell(folder, "signalbox agents | true; echo ${PIPESTATUS[0]}")
    assert (pipe.stdout, pipe.stderr) == ("141\n", "")
    events = shell(folder, "signalbox run hello --json --quiet | true; echo ${PIPESTATUS[0]}")
    assert events.stdout == "141\n"
    assert "is kept in sqlite:///data/signalbox.db: it goes on when" in events.stderr
    assert "Traceback" not in events.stderr
    full = shell(folder, "signalbox agents > /dev/full; echo $?")
    assert full.stdout == "1\n"
    assert full.stderr.startswith("signalbox: ")
    assert "No space left on device" in full.stderr
    closed = shell(folder, "signalbox agents >&-; echo $?")
    assert (closed.stdout, closed.stderr) == ("0\n", "")


@pytest.mark.slow
def test_what_is_said_on_a_closed_stderr_is_not_said_on_stdout(folder: Path) -> None:
    mute = shell(folder, "signalbox run 'What is 6 * 7?' --answer 2>&-; echo $?")
    assert mute.stdout.endswith("\n0\n")
    assert "42" in mute.stdout
    assert "accepted" not in mute.stdout


def test_a_task_comes_from_stdin(folder: Path) -> None:
    outcome = shell(folder, "echo 'What is 6 * 7?' | signalbox run --quiet --json -")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    *events, run = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert (events[0]["type"], run["task"]) == ("run.created", "What is 6 * 7?")
    nothing = shell(folder, "signalbox run -")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "nothing came on stdin" in nothing.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands(folder: Path) -> None:
    line = (
        'eval "$(signalbox completion bash)"; COMP_WORDS=(signalbox runs w); COMP_CWORD=2; '
        "_signalbox_completion signalbox; echo ${COMPREPLY[@]}"
    )
    outcome = shell(folder, line)
    assert outcome.stdout == "watch\n", outcome.stderr


def test_a_wrong_key_is_said_with_what_to_do(signalbox: StartProcess, serve: StartService) -> None:
    made = signalbox("keys", "create", "--name", "me")
    assert made.ended() == 0
    service = serve()
    for args in (("run", "hello"), ("runs", "list"), ("approve",)):
        process = signalbox(*args, "--server", service.base_url, SIGNALBOX_API_KEY="sbx_wrong")
        assert process.ended() == 1
        assert len(process.stderr.splitlines()) == 1, process.stderr
        assert "SIGNALBOX_API_KEY" in process.stderr
        assert process.stdout == ""


@pytest.mark.slow
def test_half_a_line_and_ctrl_d_keep_no_command_from_ending(
    terminal: Callable[..., Terminal],
) -> None:
    """Ctrl-D hands over what is typed so far without an end of the line; Ctrl-C is heard all the same."""
    process = terminal("run", "--approvals", "always", "Compute the mean of 3, 4 and 8")
    process.says(r"approve\? type y")
    process.type("n not ")
    process.type("\x04")
    process.press_ctrl_c()
    process.says("Cancelling")
    assert process.ended() == 130, process.shown
    assert json.loads(process.stdout.read_text())["status"] == "cancelled"


@pytest.mark.slow
def test_who_decides_second_at_the_terminal_is_told(
    terminal: Callable[..., Terminal], signalbox: StartProcess, serve: StartService
) -> None:
    """What somebody else has decided meanwhile; that the run has ended; a terminal that is closed."""
    service = serve()

    def asked() -> str:
        asking = signalbox(
            *("run", "--approvals", "always", "Compute the mean of 3, 4 and 8"),
            *("--server", service.base_url),
        )
        assert asking.ended() == 3, asking.stderr
        return str(json.loads(asking.stdout)["id"])

    def deciding(run_id: str) -> Terminal:
        process = terminal("approve", run_id, "--server", service.base_url)
        process.says(r"approve\? type y")
        return process

    run_id = asked()
    process = deciding(run_id)
    other = signalbox("approve", run_id, "--no", "--server", service.base_url)
    assert other.ended() == 0
    process.type("y\n")
    process.says(r"was decided already: 'reject' by '\w+'")
    assert process.ended() == 1, process.shown

    run_id = asked()
    process = deciding(run_id)
    cancelled = f"{service.base_url}/v1/runs/{run_id}/cancel"
    httpx.post(cancelled, json={}, timeout=BOUND, trust_env=False).raise_for_status()
    process.type("y\n")
    assert process.ended() == 4, process.shown

    process = deciding(asked())
    process.type("\x04")
    assert process.ended() == 3, process.shown


@pytest.mark.slow
def test_a_closed_stdin_is_nobody_at_the_terminal(folder: Path) -> None:
    line = (
        "signalbox run --approvals always --quiet 'Compute the mean of 3, 4 and 8' <&- >&2; echo $?"
    )
    outcome = shell(folder, line)
    assert outcome.stdout == "3\n", outcome.stderr
    assert "Traceback" not in outcome.stderr
    demo = shell(folder, "signalbox demo --once <&-; echo $?")
    assert demo.stdout == "2\n"
    assert "--approve auto or deny" in demo.stderr
