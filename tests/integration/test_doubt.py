"""What nobody knows, what nobody decided in time, and the receipt that tells of all of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from domain.approval import NOT_IN_TIME
from tests.conftest import ROOT
from tests.docs.markdown import Document
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import following
from tests.integration.conftest import Start
from tests.integration.people import (
    asked,
    decide,
    decided,
    pending,
    post,
    results,
    seen_pending,
    start_run,
    turns,
    waiting,
)
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import composer, decisions, worker


def one_post(target: CountingTarget, *paths: str) -> list[Any]:
    """Return the script of a coder that sends some things in one turn."""
    calls = [post(target, path) for path in paths]
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(*calls), Reply(text="I do not know whether it was sent.")),
    ]


async def in_doubt(product: Product, target: CountingTarget, models: FakeModelServer) -> Any:
    """Return a run that has ended with an action in doubt."""
    target.drop("/orders")
    models.add(*one_post(target, "/orders"))
    run_id = await start_run(product)
    await decided(product, await asked(product, run_id), type="approve")
    return await product.ended(run_id)


async def settle(product: Product, action: str, **body: Any) -> httpx.Response:
    """Say what became of an action."""
    return await product.client.post(f"/v1/actions/{action}/resolution", json=body)


async def test_a_call_of_unknown_outcome_is_in_doubt_and_never_repeated(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The agent, the log, the answer and the run say so."""
    run = await in_doubt(acting, target, models)
    [action] = run["actions"]
    assert (run["status"], action["status"]) == ("completed", "in_doubt")
    assert target.keys() == {action["id"]: 1}
    [told] = results(models.requests[-2])
    assert "before the connection broke" in told
    assert "Do not make it again" in told
    events = await acting.events(run["id"])
    [doubt] = [event for event in events if event["type"] == "action.in_doubt"]
    assert (doubt["agent"], doubt["data"]["action"]) == ("coder", action)
    assert "tool.failed" in [event["type"] for event in events]
    [missing] = run["degraded"]
    assert missing["agent"] == "coder"
    assert action["id"] in missing["reason"]
    assert action["id"] in run["result"]["output"]


async def test_an_action_in_doubt_is_settled_as_the_page_shows(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The line of docs/approvals.md, as it stands there."""
    page = Document(ROOT / "docs/approvals.md")
    [shown] = [curl for curl in page.curls if curl.path.endswith("/resolution")]
    run = await in_doubt(acting_once, target, models)
    path = shown.path.replace("{id}", run["actions"][0]["id"])
    settled = await acting_once.client.post(path, content=shown.body, headers=shown.headers)
    assert settled.json()["actions"][0]["status"] == "done"


@pytest.mark.parametrize(("outcome", "status"), [("done", "done"), ("not_done", "failed")])
async def test_a_person_settles_what_is_in_doubt(
    acting_once: Product, models: FakeModelServer, target: CountingTarget, outcome: str, status: str
) -> None:
    """Once; nothing is carried out by it."""
    run = await in_doubt(acting_once, target, models)
    [action] = run["actions"]
    assert_problem(await settle(acting_once, action["id"]), "validation-error")
    assert_problem(await settle(acting_once, action["id"], outcome="maybe"), "validation-error")
    refused = await settle(acting_once, action["id"], outcome="done", result="\x00")
    assert pointers(assert_problem(refused, "validation-error")) == ["/result"]
    for unknown in ("act_" + "0" * 32, action["id"].removeprefix("act_"), "nonsense"):
        assert_problem(await settle(acting_once, unknown, outcome="done"), "not-found")
    settled = await settle(acting_once, action["id"], outcome=outcome, result="Looked it up.")
    assert settled.status_code == 200
    assert action["id"] in run["degraded"][0]["reason"]
    left = {"actions": [{**action, "status": status}], "degraded": []}
    assert settled.json() == {**run, **left}
    again = await settle(acting_once, action["id"], outcome=outcome)
    assert (again.status_code, again.json()) == (200, settled.json())
    other = "not_done" if outcome == "done" else "done"
    problem = assert_problem(
        await settle(acting_once, action["id"], outcome=other), "action-not-in-doubt"
    )
    assert (problem["run_id"], status in problem["detail"]) == (run["id"], True)
    assert (await acting_once.client.get(f"/v1/runs/{run['id']}")).json() == settled.json()
    receipt = (await acting_once.client.get(f"/v1/runs/{run['id']}/receipt")).json()
    [record] = receipt["actions"]
    assert (record["status"], record["settled_by"], record["attempt"]) == (status, "default", 2)
    assert record["result"] == "Looked it up."
    assert len(target.requests) == 1


async def test_what_is_done_or_waits_is_not_settled(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target, "/orders"))
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    action = approval["id"].replace("apr_", "act_")
    for outcome in ("done", "not_done"):
        assert_problem(await settle(acting_once, action, outcome=outcome), "action-not-in-doubt")
    await decided(acting_once, approval, type="approve")
    run = await acting_once.ended(run_id)
    assert run["actions"][0]["status"] == "done"
    for outcome in ("done", "not_done"):
        assert_problem(await settle(acting_once, action, outcome=outcome), "action-not-in-doubt")


def assert_digest(receipt: dict[str, Any]) -> None:
    """Check what a receipt says of itself, as its reader would."""
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True).encode()
    assert receipt["digest"] == f"sha256:{hashlib.sha256(text).hexdigest()}"


async def test_the_receipt_says_who_decided_what_and_what_was_done(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    target.drop("/lost")
    target.reply("/broken", status=500)
    models.add(*one_post(target, "/orders", "/lost", "/no", "/broken"))
    run_id = await start_run(acting_once)
    await waiting(acting_once, run_id)
    path = f"/v1/runs/{run_id}/receipt"
    before = (await acting_once.client.get(path)).json()
    assert (before["status"], before["ended_at"]) == ("requires_action", None)
    by_url = {each["action"]["args"]["url"]: each for each in await pending(acting_once, run_id)}
    orders, lost, no, broken = (
        by_url[target.url(p)] for p in ("/orders", "/lost", "/no", "/broken")
    )
    args = {**orders["action"]["args"], "body": '{"amount": 1}'}
    edit = {"type": "edit", "edited_action": {"name": "http_request", "args": args}}
    await decided(acting_once, orders, **edit, comment="less")
    await decided(acting_once, lost, type="approve")
    await decided(acting_once, no, type="reject", message="not this")
    await decided(acting_once, broken, type="approve")
    run = await acting_once.ended(run_id)
    receipt = (await acting_once.client.get(path)).json()
    assert (await acting_once.client.get(path)).json() == receipt
    assert_digest(receipt)
    assert (receipt["object"], receipt["run_id"]) == ("receipt", run_id)
    assert (receipt["status"], receipt["created_by"]) == ("completed", "default")
    assert [receipt["usage"], receipt["ended_at"]] == [run["usage"], run["ended_at"]]
    assert receipt["prompts"].keys() >= {"coder", "analyst", "researcher"}
    made = {each["id"]: each["decision"] for each in receipt["approvals"]}
    assert {made[each["id"]]["by"] for each in (orders, lost, no, broken)} == {"default"}
    assert all(decision["at"].endswith("Z") for decision in made.values())
    assert made[orders["id"]]["comment"] == "less"
    assert made[orders["id"]]["diff"] == [
        {"argument": "body", "before": "{}", "after": '{"amount": 1}'}
    ]
    assert made[no["id"]]["message"] == "not this"
    done = {each["id"]: each for each in receipt["actions"]}
    wanted = {
        orders["id"]: "done",
        lost["id"]: "in_doubt",
        no["id"]: "decided",
        broken["id"]: "done",
    }
    assert {key: each["status"] for key, each in done.items()} == {
        key.replace("apr_", "act_"): status for key, status in wanted.items()
    }
    record = done[orders["id"].replace("apr_", "act_")]
    assert (record["tool"], record["agent"], record["attempt"]) == ("http_request", "coder", 2)
    assert record["started_at"] < record["ended_at"]
    assert record["args_digest"] != orders["args_digest"]
    assert done[no["id"].replace("apr_", "act_")]["started_at"] is None


async def test_what_nobody_decides_in_time_is_refused(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """The agent is told, the run goes on, and it is too late to decide."""
    models.add(*one_post(target, "/orders"))
    settings: dict[str, Any] = {"approval_seconds": 0.3, "http_allow": target.address}
    async with start(models=models, **settings) as product:
        run_id = await start_run(product)
        async with following(product, run_id) as stream:
            view = await stream.end()
        run = (await product.client.get(f"/v1/runs/{run_id}")).json()
        [expired] = view.of("approval.expired")
        approval = expired["data"]["approval"]
        found = (await product.client.get(f"/v1/approvals/{approval['id']}")).json()
        assert found == approval
        refused = assert_problem(await decide(product, found, type="approve"), "approval-expired")
        assert refused["approval"] == approval
    assert (approval["status"], approval["decision"]) == ("expired", None)
    assert (run["status"], [a["status"] for a in run["actions"]]) == ("completed", ["decided"])
    assert results(models.requests[-2]) == [NOT_IN_TIME]
    assert view.seqs == list(range(1, view.seqs[-1] + 1))
    assert not view.of("approval.resolved")
    assert not target.requests


@pytest.mark.parametrize("works", [False, True], ids=["while it waits", "while another works"])
async def test_a_run_may_fail_when_nobody_decides_in_time(
    start: Start, models: FakeModelServer, target: CountingTarget, *, works: bool
) -> None:
    """Whether or not an agent still works when the time is over; what was found is kept."""
    models.add(
        *decisions(("coder", "Send it"), ("analyst", "Count it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        worker("Count it", Reply(text="There are five."), gate="work"),
        composer(Reply(text="All of it.")),
    )
    gate = models.event("work")
    settings = {"approval_seconds": 0.3, "approval_on_expiry": "fail"}
    async with start(models=models, http_allow=target.address, **settings) as product:
        run_id = await start_run(product)
        [approval] = await seen_pending(product, run_id, 1)
        async with following(product, run_id) as stream:
            if works:
                await stream.until(lambda view: view.of("approval.expired"))
                run = (await product.client.get(f"/v1/runs/{run_id}")).json()
                assert run["status"] == "running"
            gate.set()
            view = await stream.end()
        run = await product.ended(run_id)
        assert view.of("approval.expired")
        assert_problem(await decide(product, approval, type="approve"), "approval-expired")
        held = await product.client.get(f"/v1/runs/{run_id}?wait=1")
        assert held.status_code == 200
    assert (run["status"], run["stop_reason"]) == ("failed", "error")
    assert run["error"]["code"] == "deadline-exceeded"
    assert approval["id"] in run["error"]["detail"]
    assert [action["status"] for action in run["actions"]] == ["failed"]
    assert (run["required_action"], view.frames[-1]["type"]) == (None, "run.failed")
    if not works:
        assert run["result"]["agents"]["analyst"]["output"] == "There are five."
    assert not target.requests
