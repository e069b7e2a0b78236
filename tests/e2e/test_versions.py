"""A run outlives a deploy: a server of another version goes on with what the one before it left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.other_version import (
    NEW_CHANNELS,
    OTHER_FORMAT,
    OTHER_SCHEMA,
    RENAMED_AGENT,
    TOOL_GONE,
    Change,
    write_version,
)
from tests.e2e.processes import Event, Run, Service, completed, seen_type
from tests.e2e.test_outside_agents import ASKING, route_to, write_package
from tests.fakes.model_server import ModelRequest, Reply, Rule, When

TASK = "Count the sheep and write a program"
ANSWER = r"\AWrite the final answer"
ALL: Change = (*RENAMED_AGENT, *OTHER_SCHEMA, *NEW_CHANNELS)
GONE = "is no longer part of this server"

Versions = Callable[[Change], tuple[Callable[[], Service], Callable[[], Service]]]

both_ways = pytest.mark.parametrize(
    "newer_begins", [False, True], ids=["newer goes on", "older goes on"]
)


@pytest.fixture
def deploy(serve: StartService, models: Models, tmp_path: Path) -> Versions:
    """Return how to get two versions: what starts a server of this one, and one of the changed one."""

    def make(change: Change) -> tuple[Callable[[], Service], Callable[[], Service]]:
        root = write_version(tmp_path / "other", change)

        def start_other() -> Service:
            return serve(models=models, PYTHONPATH=str(root))

        def start_this() -> Service:
            return serve(models=models)

        return start_this, start_other

    return make


def in_order(versions: tuple[Callable[[], Service], Callable[[], Service]], *, swapped: bool):
    return versions[::-1] if swapped else versions


def writer_of(service: Service) -> str:
    """Return what the agent that writes programs is called in a server's version."""
    names = {each["name"] for each in service.client.get("/v1/agents").json()["data"]}
    assert len(names & {"coder", "programmer"}) == 1
    return "coder" if "coder" in names else "programmer"


def version_of(service: Service) -> str:
    """Return a server's graph version."""
    return str(service.client.get("/v1/info").json()["graph_version"])


def supervise(*beside: str) -> Rule:
    """Return a supervisor that wants a program, from whoever writes them where it runs."""

    def decide(request: ModelRequest) -> Reply:
        assert request.schema
        items = request.schema["properties"]["assignments"]["items"]
        known = items["properties"]["agent"]["enum"]
        writer = "coder" if "coder" in known else "programmer"
        if "<results>" not in request.user:
            return Reply.route(*((name, "count") for name in beside), (writer, "write"))
        done = 'status="completed">\nA program.' in request.user
        return Reply.route() if done else Reply.route((writer, "write it once more"))

    return Rule(when=When(schema=True), reply=decide, name="supervisor")


def programs() -> Rule:
    """Return what the agent that writes programs answers."""
    return Rule(
        when=When(system=r"\AYou are the (coder|programmer) "),
        reply=Reply(text="A program."),
        optional=True,
    )


def assert_log_is_whole(service: Service, folder: Path, run: Run) -> list[Event]:
    """Check that a run's log has no gap, tells nothing twice, and ends with the run's end."""
    events = service.events(run["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    ends = [e["type"] for e in events if e["type"] in {"run.completed", "run.failed"}]
    assert ends == [f"run.{run['status']}"]
    assert events[-1]["type"] == ends[0]
    with closing(sqlite3.connect(folder / "data" / "signalbox.db")) as database:
        rows = database.execute("SELECT key FROM events WHERE run_id = ?", (run["id"],)).fetchall()
    assert len(set(rows)) == len(rows) == len(events)
    decided = [e["round"] for e in events if e["type"] == "supervisor.decision"]
    assert len(set(decided)) == len(decided)
    return events


def of_type(events: list[Event], type_: str) -> list[tuple[str, int]]:
    """Return whose events of a type there are, and of which round."""
    return sorted((e["agent"], e["round"]) for e in events if e["type"] == type_)


@both_ways
@pytest.mark.parametrize("change", [RENAMED_AGENT, ALL], ids=["renamed", "all at once"])
def test_the_work_of_a_renamed_agent_fails_and_is_given_out_anew(
    deploy: Versions, models: Models, folder: Path, change: Change, *, newer_begins: bool
) -> None:
    """Its sibling's result stays, the answer names what is missing, the new name does the work."""
    first, second = in_order(deploy(change), swapped=newer_begins)
    hanging = Hanging(When(system=r"\AYou are the (coder|programmer) "), Reply(text="A program."))
    models.add(supervise("analyst"), *hanging.rules)
    service = first()
    old = writer_of(service)
    run_id = service.create(TASK)
    hanging.wait()
    service.follow_until(run_id, completed("analyst"))
    begun_by = version_of(service)
    service.process.kill()

    service = second()
    new = writer_of(service)
    assert (new != old, version_of(service) != begun_by) == (True, True)
    run = service.ended(run_id)
    service.process.says("run_continued_by_other_version")
    assert (run["status"], run["attempt"], run["rounds"]) == ("completed", 2, 2), run
    assert run["graph_version"] == begun_by
    assert [part["agent"] for part in run["degraded"]] == [old]
    assert GONE in run["degraded"][0]["reason"]
    results = run["result"]["agents"]
    assert {name: results[name]["status"] for name in results} == {
        "analyst": "completed",
        old: "failed",
        new: "completed",
    }
    assert [models.asked(system=agent(name)) for name in ("analyst", old, new)] == [1, 1, 1]
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "agent.failed") == [(old, 1)]
    assert of_type(events, "agent.completed") == [("analyst", 1), (new, 2)]
    resumed = [e["data"] for e in events if e["type"] == "run.resumed"]
    assert resumed == [{"attempt": 2, "cause": "recovery"}]


@both_ways
def test_what_a_renamed_agent_had_finished_is_kept(
    deploy: Versions, models: Models, folder: Path, *, newer_begins: bool
) -> None:
    """LangGraph would pass over its result together with its node."""
    first, second = in_order(deploy(RENAMED_AGENT), swapped=newer_begins)
    hanging = Hanging(When(system=agent("analyst")), Reply(text="Five sheep."))
    models.add(supervise("analyst"), programs(), *hanging.rules)
    service = first()
    old = writer_of(service)
    run_id = service.create(TASK)
    hanging.wait()
    service.follow_until(run_id, completed(old))
    service.process.kill()

    service = second()
    run = service.ended(run_id)
    assert (run["status"], run["rounds"], run["degraded"]) == ("completed", 1, []), run
    outputs = {name: part["output"] for name, part in run["result"]["agents"].items()}
    assert outputs == {"analyst": "Five sheep.", old: "A program."}
    asked = [models.asked(system=agent(name)) for name in ("analyst", "coder", "programmer")]
    assert asked == ([2, 0, 1] if newer_begins else [2, 1, 0])
    assert_log_is_whole(service, folder, run)


@both_ways
def test_a_round_of_which_nobody_is_left_is_decided_anew(
    deploy: Versions, models: Models, folder: Path, *, newer_begins: bool
) -> None:
    """Nothing waits in the checkpoint any more; the run does not end there."""
    first, second = in_order(deploy(RENAMED_AGENT), swapped=newer_begins)
    hanging = Hanging(When(system=r"\AYou are the (coder|programmer) "), Reply(text="A program."))
    models.add(supervise(), *hanging.rules)
    service = first()
    old = writer_of(service)
    run_id = service.create(TASK)
    hanging.wait()
    service.process.kill()

    service = second()
    run = service.ended(run_id)
    assert (run["status"], run["rounds"]) == ("completed", 2), run
    assert [part["agent"] for part in run["degraded"]] == [old]
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "agent.failed") == [(old, 1)]
    assert of_type(events, "agent.completed") == [(writer_of(service), 2)]


def test_versions_take_turns_with_a_run(deploy: Versions, models: Models, folder: Path) -> None:
    """What the other version gave to its own agent is found gone by the version that began the run."""
    this, other = deploy(RENAMED_AGENT)
    hanging = [
        Hanging(When(system=agent("coder")), Reply(text="A program.")),
        Hanging(When(system=agent("programmer")), Reply(text="A program.")),
    ]
    models.add(supervise("analyst"), *hanging[0].rules, *hanging[1].rules)
    service = this()
    run_id = service.create(TASK)
    hanging[0].wait()
    service.follow_until(run_id, completed("analyst"))
    service.process.kill()
    service = other()
    hanging[1].wait()
    service.follow_until(run_id, seen_type("agent.failed"))
    service.process.kill()

    service = this()
    run = service.ended(run_id)
    assert (run["status"], run["attempt"], run["rounds"]) == ("completed", 3, 3), run
    asked = [models.asked(system=agent(name)) for name in ("analyst", "coder", "programmer")]
    assert asked == [1, 2, 1]
    assert [part["agent"] for part in run["degraded"]] == ["programmer"]
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "agent.failed") == [("coder", 1), ("programmer", 2)]
    assert of_type(events, "agent.completed") == [("analyst", 1), ("coder", 3)]


def test_what_failed_as_gone_stays_failed_when_the_agent_comes_back(
    deploy: Versions, models: Models, folder: Path
) -> None:
    """Rolled back in the middle of the round, the agent gets its work in the next round."""
    this, other = deploy(RENAMED_AGENT)
    coding = Hanging(When(system=agent("coder")), Reply(text="A program."))
    counting = Rule(when=When(system=agent("analyst")), reply=Reply(fault="hang"), times=1)
    again = Hanging(When(system=agent("analyst")), Reply(text="Five sheep."))
    models.add(supervise("analyst"), *coding.rules, counting, *again.rules)
    service = this()
    run_id = service.create(TASK)
    coding.wait()
    service.follow_until(run_id, seen_type("agent.started", 2))
    service.process.kill()
    service = other()
    again.wait()
    service.follow_until(run_id, seen_type("agent.failed"))
    service.process.kill()

    service = this()
    run = service.ended(run_id)
    assert (run["status"], run["rounds"], run["degraded"]) == ("completed", 2, []), run
    outputs = {name: part["output"] for name, part in run["result"]["agents"].items()}
    assert outputs == {"analyst": "Five sheep.", "coder": "A program."}
    assert [models.asked(system=agent(name)) for name in ("coder", "programmer")] == [2, 0]
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "agent.failed") == [("coder", 1)]
    assert of_type(events, "agent.completed") == [("analyst", 1), ("coder", 2)]


@both_ways
@pytest.mark.parametrize("change", [OTHER_SCHEMA, NEW_CHANNELS, ALL], ids=["tool", "state", "all"])
def test_an_agent_between_its_tools_and_its_answer_goes_on(
    deploy: Versions, models: Models, folder: Path, change: Change, *, newer_begins: bool
) -> None:
    """It reads what its tools had returned; nothing of the round is done again."""
    first, second = in_order(deploy(change), swapped=newer_begins)
    argument = "program" if newer_begins and change is not NEW_CHANNELS else "code"
    analyst = agent("analyst")
    hanging = Hanging(When(system=analyst, after_tool=True), Reply(text="It is 42."))
    models.add(
        *route_to(("analyst", "count"), ("researcher", "read")),
        Rule(
            when=When(system=analyst, after_tool=False),
            reply=Reply.calls(("run_python", {argument: "print(6 * 7)"})),
        ),
        *hanging.rules,
    )
    service = first()
    begun_by = version_of(service)
    run_id = service.create(TASK)
    hanging.wait()
    service.follow_until(run_id, completed("researcher"))
    service.process.kill()

    service = second()
    assert version_of(service) != begun_by
    run = service.ended(run_id)
    assert (run["status"], run["rounds"], run["degraded"]) == ("completed", 1, []), run
    assert run["result"]["agents"]["analyst"]["output"] == "It is 42."
    asked = [r for r in models.requests if When(system=analyst).matches(r)]
    assert [r.after_tool for r in asked] == [False, True, True]
    assert asked[1].body["messages"] == asked[2].body["messages"]
    assert models.asked(system=agent("researcher")) == 1
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "tool.completed") == [("analyst", 1)]


@pytest.mark.parametrize(
    ("change", "newer_begins", "argument", "complaint"),
    [
        (OTHER_SCHEMA, False, "code", "program: Field required"),
        (OTHER_SCHEMA, True, "program", "code: Field required"),
        (TOOL_GONE, False, "code", "run_python is not a valid tool"),
    ],
    ids=["other arguments", "other arguments, older goes on", "gone"],
)
def test_a_tool_call_that_does_not_fit_any_more_is_an_error_that_the_model_reads(
    deploy: Versions,
    models: Models,
    folder: Path,
    change: Change,
    argument: str,
    complaint: str,
    *,
    newer_begins: bool,
) -> None:
    """Killed while its tool runs, the agent is told that the call was wrong, and answers."""
    first, second = in_order(deploy(change), swapped=newer_begins)
    analyst = agent("analyst")
    sleep = Reply.calls(("run_python", {argument: "import time; time.sleep(12)"}))
    models.add(
        *route_to(("analyst", "count")),
        Rule(when=When(system=analyst, after_tool=False), reply=sleep),
        Rule(when=When(system=analyst, after_tool=True), reply=Reply(text="Five, I think.")),
    )
    service = first()
    run_id = service.create(TASK)
    service.follow_until(run_id, seen_type("tool.started"))
    service.process.kill()

    service = second()
    run = service.ended(run_id)
    assert (run["status"], run["result"]["output"]) == ("completed", "Five, I think."), run
    told = [r.transcript for r in models.requests if r.after_tool]
    assert len(told) == 1
    assert complaint in told[0]
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "tool.started") == of_type(events, "tool.failed") == [("analyst", 1)]


@both_ways
def test_channels_may_be_new_or_gone(
    deploy: Versions, models: Models, folder: Path, *, newer_begins: bool
) -> None:
    """Finished siblings keep what they wrote to channels that both know, and a later round follows."""
    first, second = in_order(deploy(NEW_CHANNELS), swapped=newer_begins)
    hanging = Hanging(When(system=agent("coder")), Reply(text="No luck."))
    models.add(
        Rule(when=When(system=agent("coder"), user="once more"), reply=Reply(text="A program.")),
        supervise("analyst"),
        *hanging.rules,
        Rule(when=When(system=ANSWER), reply=Reply(text="Five sheep.")),
    )
    service = first()
    run_id = service.create(TASK)
    hanging.wait()
    service.follow_until(run_id, completed("analyst"))
    service.process.kill()

    service = second()
    run = service.ended(run_id)
    assert (run["status"], run["rounds"], run["degraded"]) == ("completed", 2, []), run
    assert run["result"]["output"].startswith("Five sheep.")
    assert ("Notes: " in run["result"]["output"]) is not newer_begins
    assert [models.asked(system=agent(name)) for name in ("analyst", "coder")] == [1, 3]
    assert_log_is_whole(service, folder, run)


def test_channels_may_go_and_come_back(deploy: Versions, models: Models, folder: Path) -> None:
    """Steps that an older version made in between leave its new channels as they were, or empty."""
    this, other = deploy(NEW_CHANNELS)
    coding = Hanging(When(system=agent("coder")), Reply(text="A program."))
    answering = Hanging(When(system=ANSWER), Reply(text="Five sheep."))
    models.add(supervise("analyst"), *coding.rules, *answering.rules)
    service = other()
    run_id = service.create(TASK)
    coding.wait()
    service.follow_until(run_id, completed("analyst"))
    service.process.kill()
    service = this()
    answering.wait()
    service.process.kill()

    service = other()
    run = service.ended(run_id)
    assert (run["status"], run["attempt"], run["degraded"]) == ("completed", 3, []), run
    assert run["result"]["output"].startswith("Five sheep. Notes: [")
    assert [models.asked(system=agent(name)) for name in ("analyst", "coder")] == [1, 2]
    assert_log_is_whole(service, folder, run)


@both_ways
def test_a_state_of_another_format_fails_the_run_and_nothing_else(
    serve: StartService, models: Models, folder: Path, tmp_path: Path, *, newer_begins: bool
) -> None:
    """A run that waited for its turn has no state yet and completes; one that had ended is as it was."""
    root = write_version(tmp_path / "other", OTHER_FORMAT)
    paths: list[dict[str, Any]] = [{}, {"PYTHONPATH": str(root)}]
    first, second = reversed(paths) if newer_begins else paths
    hanging = Hanging(When(system=agent("coder"), user="Second"), Reply(text="Never asked for."))
    models.add(*hanging.rules)
    service = serve(models=models, SIGNALBOX_MAX_CONCURRENT_RUNS="1", **first)
    ended = service.ended(service.create("First of all"))
    run_id, waiting = service.create("Second"), service.create("Third")
    hanging.wait()
    service.follow_until(run_id, completed("analyst", "researcher"))
    service.process.kill()

    service = serve(models=models, SIGNALBOX_MAX_CONCURRENT_RUNS="1", **second)
    run = service.ended(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "run-incompatible"), run
    before, after = (2, 1) if newer_begins else (1, 2)
    assert f"has format {before}" in run["error"]["detail"]
    assert f"this server has format {after}" in run["error"]["detail"]
    events = assert_log_is_whole(service, folder, run)
    assert of_type(events, "agent.completed") == [("analyst", 1), ("researcher", 1)]
    assert service.ended(waiting)["status"] == "completed"
    assert service.run(ended["id"]) == ended


def test_a_run_of_the_first_release_goes_on(
    serve: StartService, models: Models, folder: Path
) -> None:
    """Its graph version was a bare hash; its state has the first format."""
    hanging = Hanging(When(system=agent("coder")), Reply(text="A program."))
    models.add(*hanging.rules)
    service = serve(models=models)
    run_id = service.create(TASK)
    hanging.wait()
    service.process.kill()
    with closing(sqlite3.connect(folder / "data" / "signalbox.db")) as database, database:
        database.execute("UPDATE runs SET graph_version = '0123456789abcdef'")

    service = serve(models=models)
    run = service.ended(run_id)
    assert (run["status"], run["graph_version"]) == ("completed", "0123456789abcdef"), run
    assert_log_is_whole(service, folder, run)


def waits(service: Service, run_id: str) -> str:
    """Wait until a run asks; return the id of the one approval it waits for."""
    run = service.client.get(f"/v1/runs/{run_id}?wait=20").json()
    assert run["status"] == "requires_action", run
    [approval_id] = run["required_action"]["approval_ids"]
    return str(approval_id)


def decide(service: Service, approval_id: str, **decision: str) -> None:
    """Post a decision, which is taken."""
    path = f"/v1/approvals/{approval_id}/decision"
    response = service.client.post(path, json=decision)
    assert response.status_code == 200, response.text


def test_a_question_of_an_agent_that_is_gone_cannot_be_asked_any_more(
    serve: StartService, models: Models, folder: Path, tmp_path: Path
) -> None:
    """The run waits, and says that it is incompatible when it is to go on."""
    write_package(tmp_path / "outside", ASKING)
    models.add(*route_to(("acme", "ask"), ("coder", "print")))
    outside = {"PYTHONPATH": str(tmp_path / "outside"), "SIGNALBOX_AGENTS": "acme_agents"}
    service = serve(models=models, **outside)
    run_id = service.create(TASK)
    approval_id = waits(service, run_id)
    service.process.kill()

    service = serve(models=models)
    assert waits(service, run_id) == approval_id
    decide(service, approval_id, type="respond", message="You may.")
    run = service.ended(run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "run-incompatible"), run
    assert "asks a person" in run["error"]["detail"]
    assert_log_is_whole(service, folder, run)


def program_run(models: Models) -> None:
    """Teach the models a run whose writer runs a program once, and then says what came of it."""

    def write(request: ModelRequest) -> Reply:
        results = [m["content"] for m in request.body["messages"] if m["role"] == "tool"]
        if results:
            return Reply(text=f"A program. {results[-1]}")
        return Reply.calls(("run_python", {"code": "print('ran')"}))

    writer = When(system=r"\AYou are the (coder|programmer) ", user=r"<assignment>\nwrite\n")
    models.add(supervise(), Rule(when=writer, reply=write, name="writer"), programs())


def create_asking(service: Service) -> str:
    """Create a run that asks before it runs a program."""
    body = {"task": TASK, "approvals": {"mode": "always"}}
    return str(service.client.post("/v1/runs", json=body).json()["id"])


@pytest.mark.slow
def test_a_call_is_not_approved_where_its_tool_has_changed(
    deploy: Versions, models: Models, folder: Path
) -> None:
    """The person is told that it does not fit any more, and may refuse it; the run goes on."""
    first, second = in_order(deploy(OTHER_SCHEMA), swapped=False)
    program_run(models)
    service = first()
    run_id = create_asking(service)
    waits(service, run_id)
    service.process.kill()

    service = second()
    approval_id = waits(service, run_id)
    path = f"/v1/approvals/{approval_id}/decision"
    refused = service.client.post(path, json={"type": "approve"})
    assert refused.status_code == 422, refused.text
    assert "cannot be made now" in refused.json()["detail"]
    decide(service, approval_id, type="reject", message="it does not fit")
    run = service.ended(run_id)
    assert run["status"] == "completed", run
    assert "A person refused this call: it does not fit" in run["result"]["output"]
    assert_log_is_whole(service, folder, run)


@pytest.mark.slow
def test_what_was_approved_is_not_done_where_its_agent_is_gone(
    deploy: Versions, models: Models, folder: Path
) -> None:
    """Its assignment has failed, and the supervisor gives the work out anew."""
    first, second = in_order(deploy(RENAMED_AGENT), swapped=False)
    program_run(models)
    service = first()
    run_id = create_asking(service)
    approval_id = waits(service, run_id)
    service.process.kill()

    service = second()
    decide(service, approval_id, type="approve")
    run = service.ended(run_id)
    assert run["status"] == "completed", run
    events = assert_log_is_whole(service, folder, run)
    [failed] = [event for event in events if event["type"] == "agent.failed"]
    assert (failed["agent"], failed["data"]["code"]) == ("coder", "run-incompatible")
    assert GONE in failed["data"]["detail"]
    assert not of_type(events, "tool.started")
    assert "A program." in run["result"]["output"]


@pytest.mark.slow
@both_ways
def test_a_run_that_waits_goes_on_under_another_version(
    deploy: Versions, models: Models, folder: Path, *, newer_begins: bool
) -> None:
    """With new channels, and with a version that does not know them."""
    first, second = in_order(deploy(NEW_CHANNELS), swapped=newer_begins)
    program_run(models)
    service = first()
    run_id = create_asking(service)
    waits(service, run_id)
    service.process.kill()

    service = second()
    decide(service, waits(service, run_id), type="approve")
    run = service.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 2), run
    assert "ran" in run["result"]["output"]
    assert_log_is_whole(service, folder, run)
