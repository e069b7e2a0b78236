"""The `signalbox` command as a person at a terminal meets it."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import Process, Service
from tests.fakes.model_server import Reply, Rule, When

CANARY = "sk-canary-5bd1e995"
MIXED = (
    "Compute the mean and growth of 120, 135, 150, 149, 171 and, independently, "
    "look up when the Fastnet lighthouse tower was completed"
)


def one_run(process: Process) -> dict[str, Any]:
    """Return the Run a process printed; fails unless it is all there is on stdout."""
    run = json.loads(process.stdout)
    assert run["object"] == "run"
    return dict(run)


def test_run_prints_one_run_and_shows_who_works(signalbox: StartProcess) -> None:
    """Without key and network the Run is all of stdout; agents and tools are named on stderr."""
    process = signalbox("run", MIXED)
    assert process.ended() == 0
    run = one_run(process)
    assert (run["status"], run["engine"], run["attempt"]) == ("completed", "offline", 1)
    assert "145" in run["result"]["output"]
    assert "42.5" in run["result"]["output"]
    assert [citation["source"] for citation in run["result"]["citations"]] == ["lighthouse.md"]
    for who, what in (
        ("analyst", r"works on: Compute the mean"),
        ("analyst", r"calls run_python\("),
        ("researcher", r"calls search_documents\("),
        ("supervisor", r"-> finish"),
        ("signalbox", r"completed after 1 round"),
    ):
        assert re.search(rf"(?m)^ *{who} \| {what}", process.stderr), process.stderr
    assert "\x1b" not in process.stderr, "there is no terminal"


def test_a_failed_run_is_printed_and_exits_1(signalbox: StartProcess, models: Models) -> None:
    """A provider that refuses the key makes a failed Run with its error, not a lost one."""
    models.add(Rule(reply=Reply.error(401, message=f"Incorrect API key provided: {CANARY}")))
    process = signalbox("run", "Say hello", OPENAI_BASE_URL=models.base_url, OPENAI_API_KEY=CANARY)
    assert process.ended() == 1
    run = one_run(process)
    assert (run["status"], run["error"]["code"]) == ("failed", "model-error")
    assert "HTTP 401" in run["error"]["detail"]
    assert "HTTP 401" in process.stderr
    assert CANARY not in process.stdout + process.stderr
    assert "Traceback" not in process.stderr


def test_files_are_sent_along_under_their_own_names(signalbox: StartProcess, folder: Path) -> None:
    """From wherever they are; the agents find them in the run's workspace."""
    (folder / "in").mkdir()
    (folder / "in" / "trains.csv").write_text("month,trains\nmay,12\n")
    (folder / "other.txt").write_text("other")
    files = ("--file", "in/trains.csv", "--file", str(folder / "other.txt"))
    process = signalbox("run", "--quiet", "Read the file trains.csv", *files)
    assert process.ended() == 0, process.stderr
    assert "trains.csv: CSV with commas, 1 row, 2 columns" in one_run(process)["result"]["output"]


@pytest.mark.parametrize(
    ("files", "says", "code"),
    [
        (["no.csv"], "--file no.csv: it cannot be read (No such file or directory).", 2),
        (["."], "--file .: it cannot be read (Is a directory).", 2),
        (["large"], "--file large: it has more than 5242880 bytes.", 2),
        (["a.csv", "b/a.csv"], "--file: 'a.csv' is the name of two files", 2),
        ([".env"], "files/0/name: the name '.env' has a part that begins with a dot", 1),
    ],
)
def test_a_file_that_cannot_be_sent_is_one_line(
    signalbox: StartProcess, folder: Path, files: list[str], says: str, code: int
) -> None:
    (folder / "b").mkdir()
    for name in ("a.csv", "b/a.csv", ".env"):
        (folder / name).write_text("")
    (folder / "large").write_bytes(b"a" * (5 * 1024**2 + 1))
    process = signalbox("run", "Read it", *(part for name in files for part in ("--file", name)))
    assert process.ended() == code
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert says in process.stderr
    assert process.stdout == ""


@pytest.mark.parametrize(
    ("text", "says", "code"),
    [
        (None, "--schema point.json: it cannot be read (No such file or directory).", 2),
        ("{'type': 'object'}", "--schema point.json: this is no JSON (", 2),
        ("[1]", "--schema point.json: a schema is a JSON object.", 2),
        ('{"type": "object"}', "/output_schema: it needs a language model", 1),
    ],
    ids=["no file", "no JSON", "no schema", "no model"],
)
def test_a_schema_that_cannot_be_used_is_one_line(
    signalbox: StartProcess, folder: Path, text: str | None, says: str, code: int
) -> None:
    """The last one is the server's own refusal: so it was sent."""
    if text is not None:
        (folder / "point.json").write_text(text)
    process = signalbox("run", "Read it", "--schema", "point.json")
    assert process.ended() == code
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert says in process.stderr
    assert process.stdout == ""


def test_quiet_says_nothing_but_the_run(signalbox: StartProcess) -> None:
    """With --quiet stderr stays empty."""
    process = signalbox("run", "--quiet", "What is 6 * 7?")
    assert process.ended() == 0
    assert "42" in one_run(process)["result"]["output"]
    assert process.stderr == ""


@pytest.mark.slow
def test_run_uses_the_server_it_is_given(signalbox: StartProcess, serve: StartService) -> None:
    """With --url the run is that server's; nothing is opened here."""
    service = serve()
    process = signalbox("run", "What is 6 * 7?", "--url", service.base_url)
    assert process.ended() == 0
    run = one_run(process)
    assert run == service.run(run["id"])
    assert "run_python answered" in process.stderr


@pytest.mark.parametrize(
    ("url", "code"), [("http://127.0.0.1:9", 5), ("127.0.0.1:9", 2), ("not a url", 2)]
)
def test_a_server_that_is_not_there_is_one_line(
    signalbox: StartProcess, url: str, code: int
) -> None:
    """An address nobody listens at, or that is none, is named in one line."""
    process = signalbox("run", "hello", "--url", url)
    assert process.ended() == code
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert url in process.stderr
    assert process.stdout == ""


def test_ctrl_c_cancels_the_run(signalbox: StartProcess, models: Models, folder: Path) -> None:
    """SIGINT in the middle of a run cancels it and exits 130 without a traceback."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="never"))
    models.add(*hanging.rules)
    process = signalbox("run", "Compare clocks", OPENAI_BASE_URL=models.base_url)
    hanging.wait()
    process.says(r"researcher \| works on")
    process.send(signal.SIGINT)
    assert process.ended() == 130
    assert "Traceback" not in process.stderr
    assert "Error" not in process.stderr
    assert process.stderr.rstrip().endswith("Cancelled.")
    with closing(sqlite3.connect(folder / "data" / "signalbox.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("cancelled",)]


@pytest.mark.slow
def test_ctrl_c_cancels_the_run_of_another_server(
    signalbox: StartProcess, serve: StartService, models: Models
) -> None:
    """Where the run is another server's, that one cancels it and goes on serving."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="never"))
    models.add(*hanging.rules)
    service = serve(models=models)
    process = signalbox("run", "Compare clocks", "--url", service.base_url)
    hanging.wait()
    process.says(r"researcher \| works on")
    process.send(signal.SIGINT)
    assert process.ended() == 130
    assert "Traceback" not in process.stderr
    runs = service.client.get("/v1/runs").json()["data"]
    assert [run["status"] for run in runs] == ["cancelled"]


def test_agents_lists_the_team(signalbox: StartProcess) -> None:
    """Each agent stands there with its tier, model and tools."""
    process = signalbox("agents")
    assert process.ended() == 0
    names = re.findall(r"(?m)^(\w+) +standard +offline:planner +\w+", process.stdout)
    assert names == ["analyst", "coder", "researcher", "validator"]
    assert process.stderr == ""


def test_one_agent_can_be_tried_alone(signalbox: StartProcess, folder: Path) -> None:
    """`agent test` prints what the agent came to as JSON and leaves nothing behind."""
    process = signalbox("agent", "test", "analyst", "mean of 1,2,3")
    assert process.ended() == 0, process.stderr
    outcome = json.loads(process.stdout)
    assert (outcome["agent"], outcome["status"]) == ("analyst", "completed")
    assert "mean: 2" in outcome["output"]
    assert [call["tool"] for turn in outcome["turns"] for call in turn["calls"]] == ["run_python"]
    assert not list(folder.rglob("*.db"))


def test_an_agent_that_fails_alone_is_one_line(signalbox: StartProcess, models: Models) -> None:
    """A provider that refuses the key is told in one line; exit code 1."""
    models.add(Rule(reply=Reply.error(401)))
    process = signalbox("agent", "test", "analyst", "hello", OPENAI_BASE_URL=models.base_url)
    assert process.ended() == 1
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert "HTTP 401" in process.stderr


def test_an_unknown_agent_is_refused_with_the_known_ones(signalbox: StartProcess) -> None:
    """The line names what was asked for and what there is."""
    line = signalbox("agent", "test", "poet", "hello").refused()
    assert "'poet'" in line
    assert "analyst, coder, researcher" in line


def test_doctor_finds_nothing_wrong_with_the_defaults(signalbox: StartProcess) -> None:
    """Every part is looked at and none fails; an empty value means unset."""
    process = signalbox(
        "doctor",
        SIGNALBOX_PORT="",
        SIGNALBOX_MODEL_FAST="",
        SIGNALBOX_AGENTS="",
        SIGNALBOX_MAX_ROUNDS="",
        OPENAI_API_KEY="",
        OPENAI_BASE_URL="",
        LANGSMITH_TRACING="",
    )
    assert process.ended() == 0, process.stdout + process.stderr
    subjects = re.findall(r"(?m)^\[ *(?:ok|warn)\] (\w+): \S", process.stdout)
    assert set(subjects) >= {"version", "settings", "models", "agents", "data", "database", "keys"}
    fixes = re.findall(r"(?m)^\[warn\] .*\n       fix: \S.*$", process.stdout)
    assert len(subjects) + len(fixes) == len(process.stdout.splitlines())
    assert "offline planner" in process.stdout
    assert process.stderr == ""


def test_doctor_names_every_fault_with_its_remedy(signalbox: StartProcess, folder: Path) -> None:
    """Several faults are found at once, each by its own line; no secret is printed."""
    (folder / "file").write_text("in the way")
    process = signalbox(
        "doctor",
        SIGNALBOX_DATA_DIR="file/data",
        SIGNALBOX_DATABASE_URL="mysql://me:hunter2@db/x",
        SIGNALBOX_AGENTS="no_such_package",
        SIGNALBOX_PROT="80",
        OPENAI_API_KEY=CANARY,
        TAVILY_API_KEY=CANARY,
        LANGSMITH_API_KEY=CANARY,
    )
    assert process.ended() == 1
    lines: dict[str, str] = {}
    fault = r"(?m)^\[ *((?:fail|warn)\] \w+): (.*)\n +fix: (.*)$"
    for subject, text, fix in re.findall(fault, process.stdout):
        lines[subject] = f"{lines.get(subject, '')}\n{text}\n{fix}"
    assert "SIGNALBOX_DATA_DIR" in lines["fail] data"]
    assert "memory://" in lines["fail] database"]
    assert "no_such_package" in lines["fail] agents"]
    assert "SIGNALBOX_PROT" in lines["warn] settings"]
    said = process.stdout + process.stderr
    assert CANARY not in said
    assert "hunter2" not in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_doctor_leaves_unfinished_runs_alone(
    signalbox: StartProcess, serve: StartService, models: Models, folder: Path
) -> None:
    """A check of a stopped server's database does not execute what is queued there."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="By the stars."))
    models.add(*hanging.rules)
    service = serve(models=models)
    service.create("Compare clocks")
    hanging.wait()
    service.process.kill()
    asked = len(models.requests)

    process = signalbox("doctor", OPENAI_BASE_URL=models.base_url)
    assert process.ended() == 0, process.stdout
    assert not any("clocks" in request.transcript for request in models.requests[asked:])
    with closing(sqlite3.connect(folder / "data" / "signalbox.db")) as database:
        runs = database.execute("SELECT status, attempt FROM runs").fetchall()
    assert runs == [("running", 1)]


WRONG = {
    "ENV": ("SIGNALBOX_ENV", "staging", "'development' or 'production'"),
    "PORT": ("SIGNALBOX_PORT", "http", "integer"),
    "PORT range": ("SIGNALBOX_PORT", "70000", "65535"),
    "MODEL_FAST": ("SIGNALBOX_MODEL_FAST", "gpt-4o-mini", "provider:model"),
    "MODEL_TIMEOUT": ("SIGNALBOX_MODEL_TIMEOUT", "0", "greater than 0"),
    "MAX_ROUNDS": ("SIGNALBOX_MAX_ROUNDS", "0", "greater than or equal to 1"),
    "DATABASE_URL": ("SIGNALBOX_DATABASE_URL", "mysql://db", "memory://"),
    "KNOWLEDGE_DIR": ("SIGNALBOX_KNOWLEDGE_DIR", "nowhere", "existing folder"),
    "AGENTS": ("SIGNALBOX_AGENTS", "no_such_package", "existing folder"),
    "OPENAI_BASE_URL": ("OPENAI_BASE_URL", "localhost:8000", "http://"),
}


@pytest.mark.parametrize(("variable", "value", "allowed"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_stops_the_start_with_one_line(
    signalbox: StartProcess, variable: str, value: str, allowed: str
) -> None:
    """The line names the variable, what it was and what it may be."""
    settings = {"SIGNALBOX_PORT": "0", variable: value}
    line = signalbox("serve", **settings).refused()
    assert variable in line
    assert value in line
    assert allowed in line


def test_tracing_without_a_key_is_refused(signalbox: StartProcess) -> None:
    """Both variables are named."""
    line = signalbox("serve", "--port", "0", LANGSMITH_TRACING="true").refused()
    assert "LANGSMITH_TRACING" in line
    assert "LANGSMITH_API_KEY" in line


def test_a_model_of_an_unknown_provider_is_refused_by_the_name_of_its_variable(
    signalbox: StartProcess,
) -> None:
    """A provider there is none of is found when the clients are built."""
    line = signalbox("serve", SIGNALBOX_PORT="0", SIGNALBOX_MODEL_FAST="nobody:gpt").refused()
    assert "nobody:gpt" in line
    assert "SIGNALBOX_MODEL_FAST" in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_BASE_URL", f"ftp://me:{CANARY}@host/v1"),
        ("SIGNALBOX_DATABASE_URL", f"postgresql://me:{CANARY}@db/runs"),
        ("SIGNALBOX_PORT", "wrong"),
    ],
)
def test_no_secret_is_shown_beside_a_wrong_value(
    signalbox: StartProcess, variable: str, value: str
) -> None:
    """Keys, and passwords inside of URLs, stay secret when a setting is refused."""
    settings = {"SIGNALBOX_PORT": "0", "OPENAI_API_KEY": CANARY, variable: value}
    line = signalbox("serve", **settings).refused()
    assert variable in line
    assert CANARY not in line


@pytest.mark.slow
def test_a_second_process_on_the_same_database_is_refused(
    signalbox: StartProcess, serve: StartService
) -> None:
    """The line names the file, who holds it, and what to do instead."""
    serve()
    line = signalbox("serve", "--port", "0").refused()
    assert "signalbox.db" in line
    assert re.search(r"pid \d+", line)
    assert "SIGNALBOX_DATABASE_URL" in line
    assert "--server" in line


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line(signalbox: StartProcess, serve: StartService) -> None:
    """The line names the address and the variables to set."""
    port = serve().base_url.rpartition(":")[2]
    line = signalbox("serve", "--port", port, SIGNALBOX_DATABASE_URL="memory://").refused()
    assert f"127.0.0.1:{port}" in line
    assert "SIGNALBOX_PORT" in line


def test_ctrl_c_stops_a_server(serve: StartService) -> None:
    """SIGINT ends it in order, with exit code 0 and no traceback."""
    service = serve()
    service.process.send(signal.SIGINT)
    assert service.process.ended() == 0
    assert "Stopping" in service.process.stderr
    assert "Traceback" not in service.process.stderr


def test_importing_the_api_has_no_side_effect(start_process: StartProcess, folder: Path) -> None:
    """No file is made, LangGraph is not imported, and a wrong setting is nobody's business yet."""
    before = sorted(folder.rglob("*"))
    program = "import sys, api; print([m for m in sys.modules if m.startswith('langgraph')])"
    process = start_process("-c", program, SIGNALBOX_PORT="wrong")
    assert process.ended() == 0, process.stderr
    assert process.stdout == "[]\n"
    assert sorted(folder.rglob("*")) == before


def start_uvicorn(start_process: StartProcess, **env: str) -> Service:
    """Start the application under uvicorn's own command."""
    process = start_process("-m", "uvicorn", "api:app", "--port", "0", **env)
    return Service(process, process.says(r"Uvicorn running on (http://\S+) ")[1])


def test_uvicorn_serves_the_application(start_process: StartProcess) -> None:
    """`uvicorn api:app` runs tasks like `signalbox serve` and stops on SIGTERM."""
    with closing(start_uvicorn(start_process)) as service:
        run = service.ended(service.create("What is 6 * 7?"))
        assert (run["status"], run["engine"]) == ("completed", "offline")
        assert "42" in run["result"]["output"]
        service.process.send(signal.SIGTERM)
        service.process.ended()
    assert "Application shutdown complete" in service.process.stderr
    assert "Traceback" not in service.process.stderr


@pytest.mark.slow
def test_uvicorn_lets_go_of_streams_and_waits(
    start_process: StartProcess, serve: StartService, models: Models
) -> None:
    """SIGTERM ends an open stream and answers a waiting POST; the run goes on in the next process."""
    open_gate = models.gate("agents")
    models.add(Rule(when=When(schema=False), reply=Reply(text="Done."), gate="agents"))
    with closing(start_uvicorn(start_process, OPENAI_BASE_URL=models.base_url)) as service:
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(
                service.client.post, "/v1/runs?wait=25", json={"task": "Compare clocks"}
            )
            run_id = service.create("Compare sundials")
            with service.stream(run_id) as frames:
                next(frame for frame in frames if frame["type"] == "agent.started")
                service.process.send(signal.SIGTERM)
                rest = [frame["type"] for frame in frames]
            answer = waiting.result(20)
        assert not any(type_.startswith("run.") for type_ in rest)
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        open_gate()
        service.process.ended()
        assert "Traceback" not in service.process.stderr
    service = serve(models=models)
    assert service.ended(run_id)["status"] == "completed"


def test_uvicorn_refuses_a_wrong_setting_in_one_line(start_process: StartProcess) -> None:
    """The same line as `signalbox serve`, and no traceback."""
    process = start_process("-m", "uvicorn", "api:app", "--port", "0", SIGNALBOX_MAX_ROUNDS="0")
    assert process.ended() != 0
    assert "SIGNALBOX_MAX_ROUNDS='0' cannot be used" in process.stderr
    assert "Traceback" not in process.stderr
