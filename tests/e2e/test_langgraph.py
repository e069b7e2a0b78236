"""The graph that `langgraph.json` exports, on LangGraph's own development server, asked by its own client."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any, Final

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.schema import StreamMode

from tests.conftest import PACKAGES
from tests.e2e.models import Models, agent
from tests.e2e.processes import Process
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import Reply, Rule, When

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = Path(
    os.environ.get("LANGGRAPH_COMMAND") or ROOT / ".venv" / "langgraph" / "bin" / "langgraph"
)
HOW: Final = f"there is no {COMMAND}: `make langgraph` installs it, LANGGRAPH_COMMAND names another"
SOURCES: Final = (*PACKAGES, "langgraph.json")
MODES: Final[list[StreamMode]] = ["updates", "messages-tuple", "custom"]

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not COMMAND.exists() and "REQUIRE_LANGGRAPH" not in os.environ, reason=HOW),
]


class Platform:
    """A development server, and a client of it."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.client: SyncLangGraphClient = get_sync_client(url=url, api_key=None)

    def thread(self) -> str:
        return str(self.client.threads.create()["thread_id"])

    def stream(self, thread: str, **asked: Any) -> list[Any]:
        """Return the parts of a run's stream, to its end or its next question."""
        parts = list(
            self.client.runs.stream(
                thread, "signalbox", stream_mode=MODES, stream_subgraphs=True, **asked
            )
        )
        failed = [part.data for part in parts if part.event == "error"]
        assert not failed, (failed, self.process.stdout)
        return parts

    def refused(self, thread: str, given: dict[str, Any], context: dict[str, Any]) -> str:
        """Return what is said of what cannot be taken."""
        parts = self.client.runs.stream(thread, "signalbox", input=given, context=context)
        [said] = [part.data["message"] for part in parts if part.event == "error"]
        return str(said)

    def give(self, thread: str, task: str, **context: Any) -> list[Any]:
        return self.stream(thread, input={"task": task}, context=context or None)

    def answer(self, thread: str, **decision: Any) -> list[Any]:
        """Answer the thread's one question."""
        [question] = self.asked(thread)
        return self.stream(thread, command={"resume": {question["id"]: decision}})

    def asked(self, thread: str) -> list[Any]:
        tasks = self.client.threads.get_state(thread)["tasks"]
        return [each for task in tasks for each in task["interrupts"]]

    def values(self, thread: str) -> dict[str, Any]:
        values = self.client.threads.get_state(thread)["values"]
        assert isinstance(values, dict)
        return values


def said_by_the_page(platform: Platform) -> str:
    """Return what the example of docs/langgraph.md prints."""
    page = (ROOT / "docs" / "langgraph.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()) as said:
        exec(example.replace("http://127.0.0.1:2024", platform.url), names)
    names["client"].http.client.close()
    return said.getvalue()


def kinds(parts: list[Any]) -> Counter[str]:
    """Return how many parts of each mode a stream had."""
    return Counter(part.event.partition("|")[0] for part in parts)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Return how to start a development server in a folder of its own; without a network it has no way out."""
    platforms: list[Platform] = []
    assert COMMAND.exists(), HOW

    def start(**env: str) -> Platform:
        for name in SOURCES:
            (tmp_path / name).symlink_to(ROOT / name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        args = ["dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port)]
        values = {"SIGNALBOX_KNOWLEDGE_DIR": str(tmp_path / "graph"), **env}
        process = Process(args, cwd=tmp_path, env=values, program=str(COMMAND))
        platforms.append(Platform(process, f"http://127.0.0.1:{port}"))
        process.says("Application started up", "stdout")
        return platforms[-1]

    yield start
    for platform in platforms:
        platform.client.http.client.close()
        platform.process.close()


@pytest.fixture
def models() -> Iterator[Models]:
    server = Models()
    yield server
    server.close()


@pytest.fixture
def target() -> Iterator[CountingTarget]:
    with target_in_thread() as server:
        yield server


def test_the_command_knows_every_key_of_the_file() -> None:
    args = [str(COMMAND), "validate", "--config", str(ROOT / "langgraph.json")]
    done = subprocess.run(args, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "is valid" in said
    assert "warning" not in said, said


def test_offline_a_run_streams_asks_and_goes_on(start: Any, tmp_path: Path) -> None:
    """No key, no network: tokens and events arrive, an interrupt waits, its answer brings the run to its end."""
    database = tmp_path / "runs.db"
    gates = json.dumps([{"tool": "run_python", "gate": "ask"}])
    platform: Platform = start(
        SIGNALBOX_GATES=gates, SIGNALBOX_DATABASE_URL=f"sqlite:///{database}"
    )
    thread = platform.thread()
    seen = kinds(platform.give(thread, "Compute the mean of 120, 135, 150"))
    assert {"updates", "messages", "custom"} <= seen.keys()
    [question] = platform.asked(thread)
    assert (question["value"]["tool"], question["value"]["agent"]) == ("run_python", "analyst")
    assert "120, 135, 150" in question["value"]["args"]["code"]
    assert "response_schema" in question

    platform.answer(thread, type="approve")
    first = platform.values(thread)
    assert first["status"] == "completed"
    assert "mean: 135" in first["output"]
    assert platform.asked(thread) == []

    refused = platform.thread()
    for given, context, detail in (
        ({}, {}, "/task"),
        ({"task": "x" * 40_000}, {}, "/task"),
        ({"task": "Say it"}, {"max_rounds": 40}, "/budget/max_rounds: 40"),
    ):
        assert detail in platform.refused(refused, given, context)

    assert "mean: 135" in said_by_the_page(platform)

    # Another task on the same thread is another run, and begins anew.
    platform.give(thread, "Compute the mean of 1, 2, 6")
    platform.answer(thread, type="reject", message="not today")
    second = platform.values(thread)
    assert second["run_id"] != first["run_id"]
    assert "mean: 3" not in second["output"]
    with closing(sqlite3.connect(database)) as rows:
        runs = rows.execute("SELECT tenant_id, id, status FROM runs ORDER BY created_at").fetchall()
        ran = rows.execute("SELECT tool, status FROM actions").fetchall()
    assert {tenant for tenant, _, _ in runs} == {"_langgraph"}
    ids = [run_id for _, run_id, _ in runs]
    assert (len(ids), ids[0], ids[-1]) == (3, first["run_id"], second["run_id"])
    assert runs[0][2] == "completed"
    assert ran == [("run_python", "done")] * 2


def test_an_approved_action_is_made_once_and_a_budget_holds(
    start: Any, models: Models, target: CountingTarget, tmp_path: Path
) -> None:
    """The ledger and the budget of a run are rows of the database that the environment names."""
    database = tmp_path / "runs.db"
    platform: Platform = start(
        SIGNALBOX_DATABASE_URL=f"sqlite:///{database}",
        SIGNALBOX_HTTP_ALLOW=target.address,
        SIGNALBOX_VALIDATION="off",
        OPENAI_BASE_URL=models.base_url,
    )
    _sends(models, target)
    thread = platform.thread()
    platform.give(thread, "Send the order")
    assert target.keys() == {}
    platform.answer(thread, type="approve")
    assert platform.values(thread)["status"] == "completed"
    assert list(target.keys().values()) == [1]
    [key] = target.keys()
    with closing(sqlite3.connect(database)) as rows:
        acted = rows.execute("SELECT tool, status FROM actions").fetchall()
        booked = rows.execute("SELECT status, count(*) FROM usage GROUP BY status").fetchall()
    assert key.startswith("act_")
    assert acted == [("http_request", "done")]
    assert [status for status, _ in booked] == ["completed"]
    assert booked[0][1] == len(models.requests)

    small = platform.thread()
    platform.give(small, "Send the order", budget={"max_tokens": 10})
    assert platform.asked(small) == []
    ended = platform.values(small)
    assert ended["status"] == "failed", ended
    assert "0 of 10 tokens" in ended["error"]["detail"], ended["error"]
    assert list(target.keys().values()) == [1]


def test_without_a_database_nothing_acts_on_the_world(
    start: Any, models: Models, target: CountingTarget
) -> None:
    """Without a ledger an action could happen twice, so it does not happen, and the agent is told why."""
    platform: Platform = start(
        SIGNALBOX_HTTP_ALLOW=target.address,
        SIGNALBOX_VALIDATION="off",
        OPENAI_BASE_URL=models.base_url,
    )
    _sends(models, target)
    thread = platform.thread()
    platform.give(thread, "Send the order")
    assert platform.asked(thread) == []
    assert platform.values(thread)["status"] == "completed"
    assert target.keys() == {}
    assert any("set SIGNALBOX_DATABASE_URL" in str(request.body) for request in models.requests)
    assert "set SIGNALBOX_DATABASE_URL" in platform.process.stdout


def _sends(models: Models, target: CountingTarget) -> None:
    call = {"method": "POST", "url": target.url("/orders"), "body": '{"order":7}'}
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True, user="Send the order"), reply=Reply.route(("coder", "Send"))),
        Rule(when=When(system=agent("coder"), after_tool=True), reply=Reply(text="That is all.")),
        Rule(when=When(system=agent("coder")), reply=Reply.calls(("http_request", call))),
    )
