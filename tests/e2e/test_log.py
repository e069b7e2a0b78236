"""The log of a real process: JSON from its first line to its last where no terminal is, else for people."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import orjson
import pytest

from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.processes import BOUND, Process, Service, clean_environment

CANARY: Final = "canary-of-the-log-5e0b"
KEY: Final = "Kq83hsWmZp02vBnT"

BROKEN: Final = """
import os
import warnings

from langgraph.graph import START, MessagesState, StateGraph

from domain.agent import AgentSpec


async def fail(state: MessagesState):
    warnings.warn("That was long ago.", DeprecationWarning)
    secret = "canary-of-the-log-5e0b"
    raise RuntimeError("The key " + os.environ["ACME_API_KEY"] + " is no good.")


graph = StateGraph(MessagesState).add_node(fail).add_edge(START, "fail")
AGENT = AgentSpec(name="acme", description="Knows everything about acme.", graph=graph.compile())
"""


@pytest.fixture
def agents(folder: Path) -> Path:
    """Return a folder with an agent that breaks."""
    made = folder / "agents_of_acme"
    made.mkdir()
    (made / "acme.py").write_text(BROKEN)
    return made


def test_every_line_of_a_server_is_json_from_its_start_to_its_end(
    serve: StartService, agents: Path
) -> None:
    """Ours, those of its libraries, warnings and exceptions; with no word of a task and no key."""
    service = serve(SIGNALBOX_AGENTS=str(agents), ACME_API_KEY=KEY, PYTHONWARNINGS="default")
    run_id = service.create(f"Ask acme what it knows ({CANARY})", agents=["acme"])
    run = service.ended(run_id)
    assert run["status"] == "failed", run
    assert service.client.get(f"/v1/nothing?task={CANARY}").status_code == 404
    service.process.send(signal.SIGTERM)
    assert service.process.ended() == 0
    lines = [orjson.loads(line) for line in service.process.stderr.splitlines()]
    assert all(line.keys() >= {"ts", "level", "event", "logger"} for line in lines)
    assert all(line["action"] for line in lines if line["logger"].startswith("signalbox"))
    actions = [line.get("action") for line in lines]
    assert (actions[0], actions[-1]) == ("serving", "stopping")
    assert {"agent.failed", "supervisor.decision", "request", "run.failed"} <= set(actions)
    (warned,) = [line for line in lines if line["logger"] == "py.warnings"]
    assert (warned["agent"], warned["run_id"]) == ("acme", run_id)
    (broke,) = [line for line in lines if line.get("action") == "agent_broke"]
    assert "RuntimeError: The key *** is no good." in broke["exception"]
    assert broke["run_id"] == run_id
    assert KEY not in service.process.stderr
    assert CANARY not in service.process.stderr


@pytest.mark.slow
def test_uvicorn_writes_the_same_lines(start_process: StartProcess) -> None:
    """Its own from the start of the application on, and ours in place of its access log."""
    process = start_process("-m", "uvicorn", "api:app", "--port", "0")
    url = process.says(r"Uvicorn running on (http://\S+) ")[1]
    with closing(Service(process, url)) as service:
        service.client.get("/v1/info")
        service.client.get("/approve/canary-of-a-token")
        process.send(signal.SIGTERM)
        process.ended()
    lines = [orjson.loads(line) for line in process.stderr.splitlines()]
    assert [line["route"] for line in lines if line.get("action") == "request"] == [
        "/v1/info",
        "/approve/{token}",
    ]
    assert lines[-1]["event"].startswith("Finished server process")
    assert "canary" not in process.stderr + process.stdout


class Terminal:
    """A server whose stderr is a terminal."""

    def __init__(self, folder: Path, **env: str) -> None:
        self._reading, writing = pty.openpty()
        given = {"SIGNALBOX_DATABASE_URL": "memory://", **env}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=folder,
            env=clean_environment(folder, given),
            stderr=writing,
        )
        os.close(writing)
        self.said = ""

    def read_until(self, text: str | None) -> str:
        """Return what was said until a text came, or all of it."""
        while text is None or text not in self.said:
            try:
                self.said += os.read(self._reading, 65_536).decode()
            except OSError:  # nobody has it open any more
                break
        return self.said

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self.read_until(None)
        assert self._process.wait(BOUND) == 0
        os.close(self._reading)


@pytest.mark.slow
@pytest.mark.parametrize("colour", [True, False])
def test_people_read_plain_lines_on_a_terminal(folder: Path, *, colour: bool) -> None:
    """In colours, unless they do not want them."""
    with closing(Terminal(folder, **({} if colour else {"NO_COLOR": "1"}))) as terminal:
        terminal.read_until("docs at /docs")
    assert "{" not in terminal.said
    assert ("\x1b[" in terminal.said) is colour
    assert "Stopping" in terminal.said
    if not colour:
        assert "action=serving" in terminal.said


def test_a_process_that_breaks_says_so_in_a_line(start_process: StartProcess) -> None:
    """What nobody has caught, in the process and in its threads."""
    program = (
        "import threading\nfrom monitoring.logs import configure_logs\n"
        f"configure_logs(['{KEY}'])\n"
        f"def work(): raise ValueError('{KEY}')\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\nwork()"
    )
    process: Process = start_process("-c", program)
    assert process.ended() == 1
    assert [line["action"] for line in process.log] == ["thread_broke", "process_broke"]
    assert len(process.log) == len(process.stderr.splitlines())
    assert all("ValueError: ***" in line["exception"] for line in process.log)
