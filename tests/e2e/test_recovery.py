"""A process that is killed or told to stop loses nothing: the next one goes on."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import (
    BOUND,
    Event,
    Run,
    Service,
    completed,
    outline,
    seen_stored,
    seen_type,
)
from tests.fakes.model_server import ModelRequest, Reply, Rule, When

TASK = "Compare three ways to keep time at sea"
AGENTS = ("analyst", "coder", "researcher")
SHORT = "Say that all is well"
ANSWER = r"\AWrite the final answer"


def stored_keys(folder: Path, run_id: str) -> set[str]:
    """Return the keys of a run's events as they are in the database; `run.resumed` left out."""
    with closing(sqlite3.connect(folder / "data" / "signalbox.db")) as database:
        rows = database.execute(
            "SELECT key FROM events WHERE run_id = ? AND type <> 'run.resumed'", (run_id,)
        ).fetchall()
    keys = [key for (key,) in rows]
    assert len(keys) == len(set(keys))
    return set(keys)


def assert_like_undisturbed(service: Service, folder: Path, recovered: Run, task: str) -> None:
    """Run the task again without a disturbance, stop, and compare what the two runs left."""
    undisturbed = service.ended(service.create(task))
    assert undisturbed["attempt"] == 1
    first, second = (service.events(run["id"]) for run in (recovered, undisturbed))
    assert outline(first) == outline(second)
    assert recovered["result"]["agents"] == undisturbed["result"]["agents"]
    assert [event["seq"] for event in first] == list(range(1, len(first) + 1))
    service.process.send(signal.SIGTERM)
    assert service.process.ended() == 0
    assert stored_keys(folder, recovered["id"]) == stored_keys(folder, undisturbed["id"])


def an_answer_begins(events: list[Event]) -> bool:
    """Return whether a part of the final answer was seen, live or as what there was of it."""
    types = ("message.delta", "message.snapshot")
    return any(e["type"] in types and e["agent"] == "supervisor" for e in events)


def short_run() -> tuple[Rule, Rule]:
    """Return a supervisor that gives the short run to the researcher, then finishes."""
    return (
        Rule(when=When(schema=True, user=rf"{SHORT}(?s:.)*<results>"), reply=Reply.route()),
        Rule(when=When(schema=True, user=SHORT), reply=Reply.route(("researcher", "say it"))),
    )


def let_settle(service: Service) -> None:
    """Bring the short run to its end: what was handed to the store before it is committed by then."""
    assert service.ended(service.create(SHORT))["status"] == "completed"


def assert_resumed_once(service: Service, run: Run) -> None:
    """Check that a run completed under its second attempt and says so in its log."""
    assert (run["status"], run["attempt"]) == ("completed", 2), run
    resumed = [e for e in service.events(run["id"]) if e["type"] == "run.resumed"]
    assert [e["data"] for e in resumed] == [{"attempt": 2, "cause": "recovery"}]


def test_finished_agents_do_not_run_again_after_a_kill(
    serve: StartService, models: Models, folder: Path
) -> None:
    """Two of three parallel agents finish, the process is killed; only the third runs again."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="By the stars."))
    models.add(*hanging.rules)
    service = serve(models=models)
    run_id = service.create(TASK)
    hanging.wait()
    service.follow_until(run_id, completed("analyst", "coder"))
    service.process.kill()
    before = {name: models.asked(system=agent(name)) for name in AGENTS}
    assert before == {"analyst": 1, "coder": 1, "researcher": 1}

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    asked = {name: models.asked(system=agent(name)) for name in AGENTS}
    assert asked == {"analyst": 1, "coder": 1, "researcher": 2}
    assert models.asked(schema=True) == 2, "the decisions were made once each"
    assert run["result"]["agents"]["researcher"]["output"] == "By the stars."
    # The call that the kill has cut off was paid all the same, and nobody told what it used.
    by_agent = {name: run["usage"]["by_agent"][name] for name in AGENTS}
    assert {name: share["calls"] for name, share in by_agent.items()} == asked
    assert by_agent["researcher"]["unmetered_calls"] == run["usage"]["unmetered_calls"] == 1
    assert run["budget"]["spent"]["tokens"] > (
        run["usage"]["input_tokens"] + run["usage"]["output_tokens"]
    )
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
@pytest.mark.parametrize("after_results", [False, True], ids=["the first", "a later"])
def test_a_run_killed_while_the_supervisor_decides_completes(
    serve: StartService, models: Models, folder: Path, *, after_results: bool
) -> None:
    """The decision that was under way is asked for again; nothing before it is."""
    if after_results:
        when, reply = When(schema=True, user="<results>"), Reply.route()
    else:
        when = When(schema=True, user=r"\A(?!(?s:.)*<results>)")
        reply = Reply.route(("analyst", "compare"), ("coder", "compare"))
    hanging = Hanging(when, reply)
    models.add(*hanging.rules)
    service = serve(models=models)
    run_id = service.create(TASK)
    hanging.wait()
    if after_results:
        service.follow_until(run_id, completed(*AGENTS))
    service.process.kill()
    agents_asked = models.asked(schema=False)

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    assert models.asked(schema=True) == 3
    assert agents_asked == (3 if after_results else 0)
    assert models.asked(system=r"\AYou are the (analyst|coder|researcher) of") == (
        3 if after_results else 2
    )
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
def test_finished_tool_calls_are_not_made_again_after_a_kill(
    serve: StartService, models: Models, folder: Path
) -> None:
    """An agent killed between its tool calls and its answer goes on with the results it has."""
    analyst = agent("analyst")
    hanging = Hanging(When(system=analyst, after_tool=True), Reply(text="It is 42."))
    calls: tuple[tuple[str, dict[str, str]], ...] = (
        ("run_python", {"code": "print(6 * 7)"}),
        ("list_files", {}),
    )
    models.add(
        *short_run(),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "count"), ("coder", "write"))),
        Rule(when=When(system=analyst, after_tool=False), reply=Reply.calls(*calls)),
        *hanging.rules,
    )
    service = serve(models=models)
    run_id = service.create(TASK)
    hanging.wait()
    let_settle(service)
    service.process.kill()

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    events = service.events(run_id)
    tools = Counter((e["type"], e["data"]["call_id"]) for e in events if e["type"][:5] == "tool.")
    assert tools == {
        (type_, f"call_1.analyst.0.{position}"): 1
        for type_ in ("tool.started", "tool.completed")
        for position in (0, 1)
    }
    asked = [r for r in models.requests if When(system=analyst).matches(r)]
    assert [r.after_tool for r in asked] == [False, True, True]
    assert asked[1].body["messages"] == asked[2].body["messages"]
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
def test_an_agent_killed_between_two_turns_of_tool_calls_goes_on_at_the_second(
    serve: StartService, models: Models, folder: Path
) -> None:
    """What the first turn wrote is still there, and its tools are not called a second time."""
    coder = agent("coder")
    write = ("write_file", {"path": "log.txt", "content": "one line"})
    hanging = Hanging(
        When(system=coder, after_tool=True, user="."),
        Reply.calls(("read_file", {"path": "log.txt"})),
    )

    def turns(request: ModelRequest) -> int:
        return sum(m.get("role") == "assistant" for m in request.body["messages"])

    first, again = hanging.rules
    final = Reply(text="The file holds one line.")
    models.add(
        *short_run(),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(("coder", "write"))),
        Rule(when=When(system=coder, after_tool=False), reply=Reply.calls(write)),
        first,
        Rule(
            when=again.when,
            reply=lambda r: again.answer(r) if turns(r) == 1 else final,
            name="the turns after the first",
        ),
    )
    service = serve(models=models)
    run_id = service.create(TASK)
    hanging.wait()
    let_settle(service)
    service.process.kill()

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    assert run["result"]["output"] == "The file holds one line."
    started = [e["data"]["tool"] for e in service.events(run_id) if e["type"] == "tool.started"]
    assert started == ["write_file", "read_file"]
    assert [turns(r) for r in models.requests if When(system=coder).matches(r)] == [0, 1, 1, 2]
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
def test_a_run_killed_while_its_answer_streams_completes_with_the_whole_answer(
    serve: StartService, models: Models, folder: Path
) -> None:
    """The answer is written again from its beginning; the agents are not asked again."""
    text = "By the stars, by the clock, or by the sun."
    open_gate = models.gate("answer")
    models.add(
        Rule(
            when=When(system=ANSWER),
            reply=Reply(text=text),
            gate="answer",
            gate_after=4,
            name="answer",
        )
    )
    service = serve(models=models)
    run_id = service.create(TASK)
    service.follow_until(run_id, completed(*AGENTS))
    service.follow_until(run_id, an_answer_begins)
    service.process.kill()
    open_gate()

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    assert run["result"]["output"] == text
    assert models.server.counts["answer"] == 2
    assert [models.asked(system=agent(name)) for name in AGENTS] == [1, 1, 1]
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_completes_wherever_it_is_killed(serve: StartService, models: Models) -> None:
    """Killed right after its 202, or once some number of events was seen, it comes to the same end."""
    analyst = agent("analyst")
    models.add(
        Rule(when=When(system=analyst, after_tool=False), reply=Reply.calls(("list_files", {}))),
        Rule(when=When(system=ANSWER), reply=Reply(text="By the stars, mostly.")),
    )
    accepted: list[str] = []
    told: list[set[str]] = []
    points = (0, 0, 0, 2, 4, 6, 8, 11, 14, 17)
    for number, point in enumerate(points):
        service = serve(models=models)
        accepted.append(service.create(f"[{number}] {TASK}"))
        seen = service.follow_until(accepted[-1], seen_stored(point)) if point else []
        service.process.kill()
        told.append({e["agent"] for e in seen if e["type"] == "agent.completed"})

    service = serve(models=models)
    undisturbed = outline(service.events(service.ended(service.create(TASK))["id"]))
    for number, run_id in enumerate(accepted):
        run = service.ended(run_id)
        assert run["status"] == "completed", (number, run)
        assert outline(service.events(run_id)) == undisturbed, number
        for name in told[number]:
            turns = 2 if name == "analyst" else 1
            when = When(system=agent(name), user=rf"\[{number}\]")
            asked = sum(when.matches(request) for request in models.requests)
            assert asked == turns, f"run {number}: {name} had completed before the kill"


@pytest.mark.slow
def test_a_run_whose_end_was_not_recorded_ends_after_a_restart(
    serve: StartService, models: Models, folder: Path
) -> None:
    """The graph has ended and the row has not: the next process writes the end and asks no model."""
    service = serve(models=models)
    with closing(sqlite3.connect(folder / "data" / "signalbox.db")) as database:
        # As a full disk would: the one write that ends a run fails.
        database.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON runs WHEN NEW.status = 'completed' "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
        run_id = service.create(TASK)
        service.process.says("could not be recorded")
        service.process.kill()
        asked = len(models.requests)
        database.execute("DROP TRIGGER full")

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    assert len(models.requests) == asked
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
def test_unfinished_and_queued_runs_all_go_on_after_a_kill(
    serve: StartService, models: Models
) -> None:
    """With two places, two runs are under way and three wait; all five complete after the kill."""
    open_gate = models.gate("agents")
    models.add(Rule(when=When(schema=False), reply=Reply(text="Done."), gate="agents"))
    service = serve(models=models, SIGNALBOX_MAX_CONCURRENT_RUNS="2")
    ids = [service.create(f"{TASK}, number {number}") for number in range(5)]
    for run_id in ids[:2]:
        service.follow_until(run_id, seen_type("agent.started", 3))
    assert [service.run(run_id)["status"] for run_id in ids] == ["running"] * 2 + ["queued"] * 3
    service.process.kill()
    open_gate()

    service = serve(models=models, SIGNALBOX_MAX_CONCURRENT_RUNS="2")
    runs = [service.ended(run_id) for run_id in ids]
    assert [run["status"] for run in runs] == ["completed"] * 5
    assert [run["attempt"] for run in runs] == [2, 2, 1, 1, 1]


@pytest.mark.slow
def test_runs_that_wait_for_one_answer_get_it_after_a_kill(
    serve: StartService, models: Models
) -> None:
    """One run works and four with the same task follow it; the next process finds that in the rows."""
    open_gate = models.gate("agents")
    models.add(Rule(when=When(schema=False), reply=Reply(text="Done."), gate="agents"))
    service = serve(models=models, SIGNALBOX_CACHE_SECONDS="3600")
    ids = [service.create(TASK) for _ in range(5)]
    service.follow_until(ids[0], seen_type("agent.started", 3))
    assert [service.run(run_id)["status"] for run_id in ids] == ["running"] + ["queued"] * 4
    service.process.kill()
    open_gate()

    service = serve(models=models, SIGNALBOX_CACHE_SECONDS="3600")
    leader, *followers = [service.ended(run_id) for run_id in ids]
    assert (leader["status"], leader["attempt"], leader["cache"]) == ("completed", 2, None)
    for run in followers:
        assert (run["status"], run["attempt"]) == ("completed", 0)
        assert run["cache"] == {"run_id": leader["id"], "age": 0}
        assert run["result"] == leader["result"]
    assert models.asked(schema=True) == 2, "one run's decisions"


@pytest.mark.slow
def test_a_finished_run_is_left_alone_by_a_restart(serve: StartService, models: Models) -> None:
    """Neither the run nor its events change, and no model is asked."""
    service = serve(models=models)
    run_id = service.create(TASK)
    run, events = service.ended(run_id), service.events(run_id)
    asked = len(models.requests)
    service.process.kill()

    service = serve(models=models)
    other = service.ended(service.create("Another task, to be sure that runs are taken up"))
    assert other["status"] == "completed"
    assert service.run(run_id) == run
    assert service.events(run_id) == events
    assert sum(TASK in request.user for request in models.requests) == asked


@pytest.mark.slow
def test_a_stopped_server_hands_its_run_to_the_next_one(
    serve: StartService, models: Models, folder: Path
) -> None:
    """SIGTERM lets the step that is under way end, exits 0, and the next process goes on from there."""
    open_gate = models.gate("agents")
    models.add(
        Rule(when=When(system=agent("analyst")), reply=Reply(text="By the sun."), gate="agents"),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "compare"))),
    )
    service = serve(models=models)
    run_id = service.create(TASK)
    service.follow_until(run_id, seen_type("agent.started"))
    service.process.send(signal.SIGTERM)
    service.process.says("Stopping")
    open_gate()
    assert service.process.ended() == 0
    assert "Traceback" not in service.process.stderr
    assert models.asked(schema=True) == 1, "the step after the agent's belongs to the next process"

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    assert models.asked(system=agent("analyst")) == 1
    assert_like_undisturbed(service, folder, run, TASK)


@pytest.mark.slow
def test_a_server_stops_although_a_model_never_answers(serve: StartService, models: Models) -> None:
    """After its grace a stopping process cuts the call off; the next one makes it again."""
    hanging = Hanging(When(system=agent("coder")), Reply(text="By the clock."))
    models.add(*hanging.rules)
    service = serve(models=models)
    run_id = service.create(TASK)
    hanging.wait()
    service.process.send(signal.SIGTERM)
    assert service.process.ended() == 0
    assert "Traceback" not in service.process.stderr

    service = serve(models=models)
    run = service.ended(run_id)
    assert_resumed_once(service, run)
    assert [models.asked(system=agent(name)) for name in AGENTS] == [1, 2, 1]


@pytest.mark.slow
def test_a_stopping_server_lets_go_of_streams_and_waits(
    serve: StartService, models: Models
) -> None:
    """An open event stream ends, a waiting POST is answered with the run as it stands, and both at once."""
    open_gate = models.gate("agents")
    running = {name: threading.Event() for name in ("waits", "streams")}

    def answer(request: ModelRequest) -> Reply:
        for name, asked in running.items():
            if name in request.user:
                asked.set()
        return Reply(text="Done.")

    models.add(Rule(when=When(schema=False), reply=answer, gate="agents"))
    service = serve(models=models)
    answers: list[httpx.Response] = []

    def wait() -> None:
        with httpx.Client(base_url=service.base_url, timeout=30, trust_env=False) as client:
            answers.append(client.post("/v1/runs?wait=25", json={"task": f"{TASK} (waits)"}))

    waiting = threading.Thread(target=wait)
    waiting.start()
    run_id = service.create(f"{TASK} (streams)")
    with service.stream(run_id) as frames:
        for frame in frames:
            if frame["type"] == "agent.started":
                break
        assert all(asked.wait(BOUND) for asked in running.values())
        service.process.send(signal.SIGTERM)
        rest = [frame["type"] for frame in frames]
    waiting.join(20)
    assert not waiting.is_alive()
    assert not any(type_.startswith("run.") for type_ in rest)
    assert [(a.status_code, a.json()["status"]) for a in answers] == [(202, "running")]
    open_gate()
    assert service.process.ended() == 0
    assert "Traceback" not in service.process.stderr


@pytest.mark.timeout(180)
def test_a_run_that_ends_the_process_again_and_again_is_given_up(
    serve: StartService, models: Models
) -> None:
    """Otherwise one run could keep a service from ever standing up."""
    models.add(Rule(when=When(schema=True, user="Kill me"), reply=Reply(fault="hang")))
    service = serve(models=models)
    run_id = service.create("Kill me")
    for attempt in range(1, 13):
        service.follow_until(
            run_id, seen_type("run.started" if attempt == 1 else "run.resumed", max(attempt - 1, 1))
        )
        service.process.kill()
        service = serve(models=models)
    run = service.ended(run_id)
    assert (run["status"], run["attempt"]) == ("failed", 13)
    assert "given up" in run["error"]["detail"]
    assert service.ended(service.create("What else is there?"))["status"] == "completed"
