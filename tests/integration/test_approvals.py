"""A person decides: what asks, how it is decided, and what the agent gets to know of it."""

from __future__ import annotations

from typing import Any

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.people import (
    asked,
    decided,
    get,
    pending,
    post,
    results,
    start_run,
    turns,
    waiting,
)
from tests.integration.team_script import decisions


def one_post(target: CountingTarget) -> list[Any]:
    """Return the script of a coder that sends one thing and says that it did."""
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    ]


async def test_an_approved_call_runs_once_with_its_key(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting)
    run = await waiting(acting, run_id)
    [approval] = await pending(acting, run_id)
    assert run["required_action"] == {"type": "approval", "approval_ids": [approval["id"]]}
    action = "act_" + approval["id"].removeprefix("apr_")
    assert run["actions"] == [{"id": action, "tool": "http_request", "status": "pending"}]
    assert not target.requests
    made = await decided(acting, approval, type="approve", comment="fine")
    assert (made["status"], made["decision"]["type"]) == ("resolved", "approve")
    assert (made["decision"]["by"], made["decision"]["comment"]) == ("default", "fine")
    run = await acting.ended(run_id)
    assert (run["status"], run["result"]["output"]) == ("completed", "Sent.")
    assert run["actions"] == [{"id": action, "tool": "http_request", "status": "done"}]
    assert run["attempt"] == 2
    assert dict(target.keys()) == {action: 1}
    types = [event["type"] for event in await acting.events(run_id)]
    assert types.count("approval.requested") == types.count("approval.resolved") == 1
    assert types.index("run.requires_action") < types.index("approval.resolved")
    assert types.index("approval.resolved") < types.index("run.resumed")


async def test_reading_asks_nobody(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """GET is in the ledger all the same."""
    models.add(
        *decisions(("coder", "Read it")),
        turns("Read it", Reply.calls(get(target, "/orders")), Reply(text="Read.")),
    )
    run = await acting.finished("Do it")
    assert run["status"] == "completed"
    assert [action["status"] for action in run["actions"]] == ["done"]
    assert target.count("/orders") == 1


async def test_a_rejection_reaches_the_agent_with_its_reason(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting)
    await decided(acting, await asked(acting, run_id), type="reject", message="not before Monday")
    run = await acting.ended(run_id)
    assert run["status"] == "completed"
    assert not target.requests
    assert results(models.requests[-2]) == ["A person refused this call: not before Monday"]
    assert [action["status"] for action in run["actions"]] == ["decided"]
