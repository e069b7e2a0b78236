"""Several questions in one run: agents wait side by side, one by one, and while others still work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import creating
from tests.integration.people import (
    asked,
    decide,
    decided,
    get,
    pending,
    post,
    results,
    seen_pending,
    start_run,
    turns,
    waiting,
)
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import SECONDS, composer, decisions, worker


def asked_models(models: FakeModelServer, task: str) -> int:
    """Return how often a model was asked to go on with an assignment."""
    about = f"<assignment>\n{task}\n"
    return sum(about in request.user for request in models.requests)


def two_ask_and_one_works(models: FakeModelServer, target: CountingTarget) -> Any:
    """Script two agents that wait for a person, and one that works until the gate is opened."""
    models.add(
        *decisions(("coder", "Send A"), ("coder", "Send B"), ("analyst", "Count it")),
        turns("Send A", Reply.calls(post(target, "/a")), Reply(text="A is sent.")),
        turns("Send B", Reply.calls(post(target, "/b")), Reply(text="B is sent.")),
        worker("Count it", Reply(text="There are five."), gate="work"),
        composer(Reply(text="All of it.")),
    )
    return models.event("work")


def by_path(approvals: list[dict[str, Any]], path: str) -> dict[str, Any]:
    """Return the approval of the request to a path."""
    [found] = [each for each in approvals if each["action"]["args"]["url"].endswith(path)]
    return found


async def test_who_waits_is_decided_about_while_others_work(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """In any order; the run goes on when the last one has ended, in the same claim."""
    gate = two_ask_and_one_works(models, target)
    run_id = await start_run(acting_once)
    approvals = await seen_pending(acting_once, run_id, 2)
    run = (await acting_once.client.get(f"/v1/runs/{run_id}")).json()
    assert (run["status"], run["required_action"]) == ("running", None)
    assert [action["status"] for action in run["actions"]] == ["pending", "pending"]
    await decided(acting_once, by_path(approvals, "/b"), type="approve")
    await decided(acting_once, by_path(approvals, "/a"), type="reject", message="no")
    run = (await acting_once.client.get(f"/v1/runs/{run_id}")).json()
    assert run["status"] == "running"
    assert not target.requests
    gate.set()
    run = await acting_once.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 1)
    assert [target.count("/a"), target.count("/b")] == [0, 1]
    assert [asked_models(models, task) for task in ("Send A", "Send B", "Count it")] == [2, 2, 1]
    assert "There are five." in run["result"]["agents"]["analyst"]["output"]
    types = [event["type"] for event in await acting_once.events(run_id)]
    assert "run.requires_action" not in types
    assert types.count("agent.started") == types.count("agent.completed") == 3


async def test_a_decision_while_others_work_is_not_asked_for_again(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The run waits for the other one alone, and keeps what the third has found."""
    gate = two_ask_and_one_works(models, target)
    run_id = await start_run(acting)
    approvals = await seen_pending(acting, run_id, 2)
    await decided(acting, by_path(approvals, "/b"), type="approve")
    gate.set()
    run = await waiting(acting, run_id)
    left = by_path(approvals, "/a")
    assert run["required_action"] == {"type": "approval", "approval_ids": [left["id"]]}
    assert not target.requests
    await decided(acting, left, type="approve")
    run = await acting.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 2)
    assert set(target.keys().values()) == {1}
    assert {request.path for request in target.requests} == {"/a", "/b"}
    assert [asked_models(models, task) for task in ("Send A", "Send B", "Count it")] == [2, 2, 1]
    assert run["usage"]["by_agent"]["analyst"]["calls"] == 1
    assert [action["status"] for action in run["actions"]] == ["done", "done"]


async def test_calls_of_one_turn_wait_together(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """None of them is made before all are decided, the ones that ask nobody included."""
    calls = [get(target, "/read"), post(target, "/a"), ("list_files", {}), post(target, "/b")]
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(*calls), Reply(text="Sent.")),
    )
    run_id = await start_run(acting)
    await waiting(acting, run_id)
    first, second = sorted(
        await pending(acting, run_id), key=lambda each: str(each["action"]["args"]["url"])
    )
    assert not target.requests
    await decided(acting, second, type="approve")
    run = await waiting(acting, run_id)
    assert run["required_action"]["approval_ids"] == [first["id"]]
    assert not target.requests
    await decided(acting, first, type="respond", message="A is there already.")
    run = await acting.ended(run_id)
    assert run["status"] == "completed"
    assert sorted(request.path for request in target.requests) == ["/b", "/read"]
    read, told, listed, sent = results(models.requests[-2])
    assert told == "A is there already."
    assert "HTTP 200" in read
    assert "HTTP 200" in sent
    assert listed
    assert asked_models(models, "Send it") == 2
    assert run["attempt"] == 2


async def test_one_agent_asks_again_and_again(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Every verb in turn; each answer reaches its own call, and all stay in the conversation."""
    paths = ["/one", "/two", "/three", "/four"]
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", *(Reply.calls(post(target, p)) for p in paths), Reply(text="Sent.")),
    )
    run_id = await start_run(acting)
    edited = {"method": "PUT", "url": target.url("/changed"), "body": "{}"}
    bodies: list[dict[str, Any]] = [
        {"type": "approve"},
        {"type": "edit", "edited_action": {"name": "http_request", "args": edited}},
        {"type": "reject", "message": "not three"},
        {"type": "respond", "message": "four is there"},
    ]
    for number, body in enumerate(bodies):
        approval = await asked(acting, run_id)
        assert approval["action"]["args"]["url"] == target.url(paths[number])
        await decided(acting, approval, **body)
    run = await acting.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 5)
    assert [(r.method, r.path) for r in target.requests] == [("POST", "/one"), ("PUT", "/changed")]
    told = results(models.requests[-2])
    assert [text.partition("\n")[0] for text in told[:1]] == ["HTTP 200 OK"]
    assert "/changed" in told[1]
    assert told[2:] == ["A person refused this call: not three", "four is there"]
    assert asked_models(models, "Send it") == 5
    events = await acting.events(run_id)
    types = [event["type"] for event in events if event["agent"] == "coder"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert types.count("approval.requested") == types.count("approval.resolved") == 4
    assert types.count("tool.started") == 4
    assert types.count("agent.started") == 1
    assert types.count("message.completed") == 5


async def test_decisions_are_all_taken_or_none(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(*(post(target, f"/{n}") for n in range(3))),
            Reply(text="Sent."),
        ),
    )
    run_id, other = [await start_run(acting_once, f"Do it {n}") for n in range(2)]
    for each in (run_id, other):
        await waiting(acting_once, each)
    one, two, three = await pending(acting_once, run_id)
    foreign = (await pending(acting_once, other))[0]
    path = f"/v1/runs/{run_id}/decisions"

    async def send(*bodies: dict[str, Any]) -> Any:
        return await acting_once.client.post(path, json={"decisions": bodies})

    def approve(approval: dict[str, Any]) -> dict[str, Any]:
        return {"approval_id": approval["id"], "type": "approve"}

    bad_edit = {
        "approval_id": two["id"],
        "type": "edit",
        "edited_action": {"name": "http_request", "args": {"method": "POST"}},
    }
    refused = assert_problem(await send(approve(one), bad_edit), "validation-error")
    assert pointers(refused) == ["/decisions/1/edited_action/args/url"]
    refused = assert_problem(await send(approve(one), approve(foreign)), "validation-error")
    assert pointers(refused) == ["/decisions/1/approval_id"]
    assert_problem(await send(approve(one), approve(one)), "validation-error")
    assert_problem(await send(), "validation-error")
    unknown = {"approval_id": "apr_" + "0" * 32, "type": "approve"}
    assert_problem(await send(approve(one), unknown), "not-found")
    stale = {**approve(two), "args_digest": "sha256:0"}
    assert_problem(await send(approve(one), stale), "approval-args-changed")
    nobody = await acting_once.client.post(
        f"/v1/runs/run_{'0' * 32}/decisions", json={"decisions": [approve(one)]}
    )
    assert_problem(nobody, "not-found")
    assert [each["status"] for each in await pending(acting_once, run_id)] == ["pending"] * 3
    await decided(acting_once, one, type="reject")
    problem = assert_problem(await send(approve(two), approve(one)), "approval-already-decided")
    assert problem["approval"]["id"] == one["id"]
    assert len(await pending(acting_once, run_id)) == 2
    again = {"approval_id": one["id"], "type": "reject", "comment": "as I said"}
    answer = await send(approve(three), again, approve(two))
    assert answer.status_code == 200
    assert [each["id"] for each in answer.json()["data"]] == [three["id"], one["id"], two["id"]]
    assert {each["status"] for each in answer.json()["data"]} == {"resolved"}
    run = await acting_once.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 2)
    assert sorted(request.path for request in target.requests) == ["/1", "/2"]
    assert len(await pending(acting_once, other)) == 3


async def test_a_cancelled_run_asks_nobody_any_more(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """What was decided stays so, nothing is carried out, and `actions` says it."""
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(*(post(target, f"/{n}") for n in range(3))),
            Reply(text="Sent."),
        ),
    )
    run_id = await start_run(acting_once)
    await waiting(acting_once, run_id)
    approved, refused, open_ = await pending(acting_once, run_id)
    await decided(acting_once, approved, type="approve")
    await decided(acting_once, refused, type="reject")
    cancelled = await acting_once.client.post(
        f"/v1/runs/{run_id}/cancel", json={"reason": "enough"}
    )
    assert cancelled.status_code == 202
    run = cancelled.json()
    assert (run["status"], run["required_action"]) == ("cancelled", None)
    states = {action["id"]: action["status"] for action in run["actions"]}
    wanted = {approved["id"]: "failed", refused["id"]: "decided", open_["id"]: "failed"}
    assert states == {key.replace("apr_", "act_"): value for key, value in wanted.items()}
    problem = assert_problem(await decide(acting_once, open_, type="approve"), "approval-cancelled")
    assert (problem["approval"]["status"], problem["run_id"]) == ("cancelled", run_id)
    assert_problem(await decide(acting_once, approved, type="reject"), "approval-already-decided")
    await decided(acting_once, approved, type="approve")
    assert await pending(acting_once, run_id) == []
    assert not target.requests
    events = await acting_once.events(run_id)
    assert events[-1]["type"] == "run.cancelled"
    assert events[-1]["data"]["run"] == run
    assert (await acting_once.client.get(f"/v1/runs/{run_id}")).json() == run


async def test_a_call_that_is_cut_off_is_in_doubt(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The log says so before it says that the run was cancelled."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    gate = target.hold("/orders")
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    await decided(acting_once, approval, type="approve")
    await target.arrived("/orders")
    cancelled = await acting_once.client.post(f"/v1/runs/{run_id}/cancel")
    assert cancelled.status_code == 202
    gate.open()
    run = await acting_once.ended(run_id)
    assert [action["status"] for action in run["actions"]] == ["in_doubt"]
    events = await acting_once.events(run_id)
    types = [event["type"] for event in events]
    assert types.count("action.in_doubt") == 1
    assert types.index("action.in_doubt") < types.index("run.cancelled") == len(types) - 1
    assert events[-1]["data"]["run"]["actions"] == run["actions"]
    assert events[-1]["seq"] == run["last_seq"]
    about = events[types.index("action.in_doubt")]["data"]["action"]
    assert about == {**run["actions"][0], "tool": "http_request"}
    assert target.count("/orders") == 1


@pytest.mark.parametrize("strategy", ["reject", "enqueue", "interrupt"])
async def test_a_thread_is_busy_while_its_run_waits(
    acting_once: Product, models: FakeModelServer, target: CountingTarget, strategy: str
) -> None:
    models.add(
        # The second one first: it is told of the first one's task.
        *decisions(("coder", "Do it"), task="Second"),
        *decisions(("coder", "Send it"), task="First"),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        worker("Do it", Reply(text="Done it.")),
    )
    first = await start_run(acting_once, "First")
    approval = await asked(acting_once, first)
    thread_id = approval["thread_id"]
    body = {"task": "Second", "thread_id": thread_id, "multitask_strategy": strategy}
    created = await acting_once.client.post("/v1/runs", json=body)
    if strategy == "reject":
        problem = assert_problem(created, "thread-busy")
        assert "requires_action" in problem["detail"]
    elif strategy == "enqueue":
        second = (await acting_once.client.get(f"/v1/runs/{created.json()['id']}?wait=0.2")).json()
        assert second["status"] == "queued"
    else:
        second = await acting_once.ended(created.json()["id"])
        assert second["status"] == "completed"
        assert_problem(await decide(acting_once, approval, type="approve"), "approval-cancelled")
        assert (await acting_once.ended(first))["status"] == "cancelled"
        assert not target.requests
        return
    await decided(acting_once, approval, type="approve")
    assert (await acting_once.ended(first))["status"] == "completed"
    if strategy == "enqueue":
        assert (await acting_once.ended(created.json()["id"]))["status"] == "completed"
    assert target.count("/orders") == 1


async def test_a_stream_goes_on_after_the_decision(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """A client that waits is told with 202 that a person is asked; the stream stays open."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="It is sent.")),
    )
    async with asyncio.timeout(3 * SECONDS), creating(acting_once, task="Do it") as stream:
        view = await stream.until(lambda view: view.of("run.requires_action"))
        run_id = view.frames[0]["run_id"]
        [approval] = await pending(acting_once, run_id)
        assert view.frames[-1]["data"]["required_action"] == {
            "type": "approval",
            "approval_ids": [approval["id"]],
        }
        await decided(acting_once, approval, type="approve")
        view = await stream.end()
    assert view.frames[-1]["type"] == "run.completed"
    assert view.seqs == list(range(1, view.seqs[-1] + 1))
    [resumed] = view.of("run.resumed")
    assert resumed["data"] == {"attempt": 2, "cause": "decision"}
    stored = await acting_once.events(run_id)
    assert [frame["type"] for frame in view.frames if frame["_id"]] == [e["type"] for e in stored]
    headers = {"prefer": "wait=20"}
    held = await acting_once.client.post("/v1/runs", json={"task": "Do it"}, headers=headers)
    run = held.json()
    assert (held.status_code, run["status"]) == (202, "requires_action")
    assert run["required_action"]["type"] == "approval"
    assert len(run["required_action"]["approval_ids"]) == 1
    assert target.count("/orders") == 1
