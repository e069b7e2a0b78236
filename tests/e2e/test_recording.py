"""`signalbox run --record` and `signalbox runs replay`, as a person at a terminal meets them."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import StartProcess
from tests.e2e.models import Hanging, Models, agent
from tests.fakes.http_target import target_in_thread
from tests.fakes.model_server import Reply, Rule, When
from tests.integration.people import turns
from tests.integration.team_script import decisions

CHART = (
    "import matplotlib.pyplot as p\np.plot([1, 2])\np.savefig('chart.png')\nprint('drawn', 6 * 7)"
)


def test_a_recording_is_replayed_where_there_is_no_model_and_no_sandbox(
    signalbox: StartProcess, models: Models, tmp_path: Path
) -> None:
    """With programs, a file that one leaves, and a table that came along; whatever is set where it is replayed."""
    models.add(
        Rule(
            when=When(schema=True, user="<results>"),
            reply=Reply.json({"reason": "enough", "assignments": []}),
        ),
        Rule(when=When(schema=True), reply=Reply.route(("coder", "Draw"), ("analyst", "Describe"))),
        Rule(when=When(schema=False, after_tool=True), reply=Reply(text="It is drawn: 42.")),
        Rule(when=When(system=agent("coder")), reply=Reply.calls(("run_python", {"code": CHART}))),
        Rule(
            when=When(system=agent("analyst")),
            reply=Reply.calls(("describe_table", {"path": "trains.csv"})),
        ),
        Rule(reply=Reply(text="A chart.")),
    )
    (tmp_path / "trains.csv").write_text("month,trains\nmay,12\n")
    file = tmp_path / "run.jsonl"
    told = ("--file", str(tmp_path / "trains.csv"), "--record", str(file))
    made = signalbox(
        "run", "Draw", *told, OPENAI_BASE_URL=models.base_url, SIGNALBOX_VALIDATION="off"
    )
    assert made.ended() == 0, made.stderr
    run = json.loads(made.stdout)
    assert "chart.png" in {a["name"] for a in run["result"]["artifacts"]}, run["result"]
    asked = len(models.requests)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {
        "OPENAI_API_KEY": "sk-none-of-it",
        "SIGNALBOX_MODEL_FAST": "openai:other",
        "SIGNALBOX_BUDGETS": '{"default": {"max_tokens": 1}}',
        "SIGNALBOX_MAX_ROUNDS": "1",
        "SIGNALBOX_SANDBOX": "off",
    }
    with target_in_thread() as collector:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url().rstrip("/")
        again = signalbox("runs", "replay", "--check", str(file), cwd=elsewhere, **env)
        assert again.ended() == 0, again.stderr
        assert not collector.requests, "a replay tells nobody"
    replayed = json.loads(again.stdout)
    assert len(models.requests) == asked
    assert not list(elsewhere.iterdir()), "a replay leaves nothing behind"
    for part in ("output", "agents", "structured"):
        assert replayed["result"][part] == run["result"][part]
    names = [[a["name"], a["size"]] for a in run["result"]["artifacts"]]
    assert [[a["name"], a["size"]] for a in replayed["result"]["artifacts"]] == names
    assert "drawn 42" in file.read_text()
    quiet = signalbox("runs", "replay", "--check", "--quiet", str(file), cwd=elsewhere)
    assert quiet.ended() == 0
    assert quiet.stderr.splitlines() == [
        f" signalbox | replayed from {file}: no model is called, no tool is run"
    ]


def test_what_people_have_said_is_said_again(signalbox: StartProcess, models: Models) -> None:
    """A request that somebody has changed, a question that somebody has answered; nothing is sent again."""
    question = ("ask_user", {"question": "Which harbour?"})
    with target_in_thread() as target:
        send = ("http_request", {"method": "POST", "url": target.url("/a"), "body": "{}"})
        models.add(
            *decisions(("coder", "Send it"), ("researcher", "Find out")),
            turns("Send it", Reply.calls(send), Reply(text="It is sent.")),
            turns("Find out", Reply.calls(question), Reply(text="It is Cork.")),
            Rule(reply=Reply(text="Both.")),
        )
        env = {"OPENAI_BASE_URL": models.base_url, "SIGNALBOX_HTTP_ALLOW": target.address}
        made = signalbox(
            "run", "Do both", "--record", "run.jsonl", SIGNALBOX_VALIDATION="off", **env
        )
        edited = {"name": "http_request", "args": {**send[1], "url": target.url("/b")}}
        for asks, said in (
            (r"http_request", {"type": "edit", "edited_action": edited, "remember": "run"}),
            (r"Which harbour", {"type": "respond", "message": "Cork"}),
        ):
            approval = made.says(rf"(apr_\w+): .*{asks}")[1]
            url = made.says(rf"curl (http://\S+{approval}/decision)")[1]
            assert httpx.post(url, json=said).status_code == 200, made.stderr
        assert made.ended() == 0, made.stderr
        assert [target.count("/a"), target.count("/b")] == [0, 1]
        again = signalbox("runs", "replay", "--check", "run.jsonl")
        assert again.ended() == 0, again.stderr
        assert target.count("/b") == 1
    assert re.search(r"decided: edit", again.stderr)
    assert re.search(r"decided: respond", again.stderr)


def test_a_run_that_was_broken_off_is_recorded_to_there(
    signalbox: StartProcess, models: Models, folder: Path
) -> None:
    hanging = Hanging(When(system=agent("researcher")), Reply(text="never"))
    models.add(*hanging.rules)
    told = ("run", "Compare clocks", "--record", "run.jsonl")
    process = signalbox(*told, OPENAI_BASE_URL=models.base_url)
    hanging.wait()
    process.says(r"researcher \| works on")
    process.send(signal.SIGINT)
    assert process.ended() == 130
    assert "Traceback" not in process.stderr
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()
    ]
    assert lines[-1]["run"]["status"] == "cancelled"
    assert any(line["kind"] == "call" for line in lines)
    line = signalbox("runs", "replay", "--check", "run.jsonl").refused()
    assert "its run was broken off" in line
    again = signalbox("runs", "replay", "run.jsonl")
    assert again.ended() == 1
    assert "missing: " in again.stderr
    assert "of researcher" in again.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "x", "--record", "r.jsonl", "--url", "http://127.0.0.1:9"], "Leave --server out"),
        (["run", "x", "--record", "none/r.jsonl"], "it cannot be written (No such file"),
        (["run", "x", "--record", "knowledge"], "it is there, and is no file"),
        (["runs", "replay", "none.jsonl"], "it cannot be read (No such file"),
        (["runs", "replay", "knowledge"], "it cannot be read (Is a directory)"),
        (["runs", "replay", "knowledge/lighthouse.md"], "line 1 is none of a recording (JSON: "),
    ],
)
def test_what_cannot_be_done_is_one_line(
    signalbox: StartProcess, args: list[str], says: str
) -> None:
    assert says in signalbox(*args).refused()


def test_beside_a_server_a_run_is_recorded_in_memory(
    signalbox: StartProcess, serve: Any, folder: Path
) -> None:
    """The server that has the database would do the run where nothing of it is seen."""
    service = serve()
    process = signalbox("run", "What is 6 * 7?", "--record", "run.jsonl")
    assert process.ended() == 0, process.stderr
    assert "this run is kept in memory only" in process.stderr
    assert service.client.get("/v1/runs").json()["data"] == []
    assert signalbox("runs", "replay", "--check", "run.jsonl").ended() == 0
    assert (folder / "run.jsonl").is_file()
