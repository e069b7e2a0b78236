"""The Python client against the product over HTTP, on both faces."""

from __future__ import annotations

import asyncio

import pytest

from signalbox import (
    Approval,
    ConfigurationError,
    Decision,
    IdempotencyError,
    InvalidRequestError,
    NotFoundError,
    RunCancelledError,
    RunFailedError,
    WaitExceededError,
)
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_faces import facing
from tests.integration.people import post, turns
from tests.integration.team_script import decisions, solo, unauthorised

faces = pytest.mark.parametrize("kind", ["sync", "async"])


@faces
async def test_a_run_is_created_and_followed_to_its_end(
    kind: str, modelled: Product, models: FakeModelServer
) -> None:
    models.add(*solo())
    seen: list[str] = []
    async with facing(kind, modelled.base_url) as face:
        run = await face.do(
            lambda c: c.run("Do it", on_event=lambda e: seen.append(e.type), tags=["a"])
        )
        assert (run.status, run.output, run.tags) == ("completed", "Done it.", ["a"])
        assert (seen[0], seen[-1]) == ("run.created", "run.completed")
        assert await face.do(lambda c: c.runs.get(run.id)) == run
        assert run.usage.calls == 3


@faces
async def test_a_call_is_decided_on_the_way(
    kind: str, acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The callback sees the whole call, decides once, and the call runs once."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders", "x" * 5000)), Reply(text="Sent.")),
    )
    asked: list[Approval] = []

    def decide(approval: Approval) -> Decision:
        asked.append(approval)
        return Decision.approve(comment="fine")

    async def decide_slowly(approval: Approval) -> Decision:
        await asyncio.sleep(0)
        return decide(approval)

    async with facing(kind, acting_once.base_url) as face:
        answer = decide if kind == "sync" else decide_slowly
        run = await face.do(lambda c: c.run("Do it", on_approval=answer))
        [approval] = await face.all(lambda c: c.approvals.list(run_id=run.id))
        # What is decided is not asked again by whoever follows the run from its beginning.
        assert await face.do(lambda c: c.follow(run.id, on_approval=answer)) == run
    assert run.output == "Sent."
    assert asked[0].action
    assert len(asked[0].action.args["body"]) == 5000
    assert (len(asked), len(target.requests)) == (1, 1)
    assert (approval.status, approval.decision.comment) == ("resolved", "fine")


@faces
async def test_how_a_run_ends_badly_is_raised(
    kind: str, modelled: Product, models: FakeModelServer
) -> None:
    models.add(unauthorised())
    async with facing(kind, modelled.base_url) as face:
        with pytest.raises(RunFailedError, match="has failed") as failed:
            await face.do(lambda c: c.run("Do it"))
        assert failed.value.run.error
        assert failed.value.run.error.code == "model-error"


@faces
async def test_a_wait_has_an_end(kind: str, modelled: Product, models: FakeModelServer) -> None:
    """The run goes on, and can be cancelled."""
    models.add(*solo(gate="never"))
    models.event("never")
    async with facing(kind, modelled.base_url) as face:
        with pytest.raises(WaitExceededError) as exceeded:
            await face.do(lambda c: c.run("Do it", within=0.3))
        run_id = exceeded.value.run_id
        with pytest.raises(WaitExceededError, match="is running"):
            await face.do(lambda c: c.runs.wait(run_id, within=0.1))
        await face.do(lambda c: c.runs.cancel(run_id, reason="enough"))
        assert (await face.do(lambda c: c.runs.wait(run_id))).status == "cancelled"
        with pytest.raises(RunCancelledError):
            await face.do(lambda c: c.follow(run_id))


@faces
async def test_refusals_are_exceptions_by_kind(kind: str, product: Product) -> None:
    async with facing(kind, product.base_url) as face:
        with pytest.raises(NotFoundError) as missing:
            await face.do(lambda c: c.runs.get("run_" + "0" * 32))
        assert (missing.value.status, missing.value.code) == (404, "not-found")
        assert missing.value.request_id
        with pytest.raises(InvalidRequestError) as invalid:
            await face.do(lambda c: c.runs.create(" ", tags=["a"] * 30))
        assert {each.pointer for each in invalid.value.errors} == {"/task", "/tags"}
        with pytest.raises(ConfigurationError, match="no option 'tag'"):
            await face.do(lambda c: c.runs.create("Do it", tag="a"))
        await face.do(lambda c: c.runs.create("Say it", idempotency_key="mine"))
        with pytest.raises(IdempotencyError):
            await face.do(lambda c: c.runs.create("Say more", idempotency_key="mine"))


@faces
async def test_lists_are_gone_through_page_by_page(kind: str, product: Product) -> None:
    async with facing(kind, product.base_url) as face:
        made = [(await face.do(lambda c: c.run("What is 2 + 2?"))).id for _ in range(3)]
        listed = await face.all(lambda c: c.runs.list(page_size=1, status="completed"))
        assert [run.id for run in listed] == made[::-1]
        assert [
            run.id for run in await face.all(lambda c: c.threads.runs(listed[0].thread_id))
        ] == made[-1:]
        steps = [
            each.step for each in await face.all(lambda c: c.runs.history(made[0], page_size=2))
        ]
        assert steps == sorted(steps, reverse=True)
        groups = await face.all(lambda c: c.spending(group_by=["agent"], page_size=1))
        usage = await face.do(lambda c: c.usage(group_by=["agent"]))
        assert groups == usage.data
        assert sum(group.calls for group in groups) == usage.total.calls


@faces
async def test_what_else_there_is(kind: str, product: Product) -> None:
    """Receipts, exports, feedback, forks, the team: each is read into its model."""
    async with facing(kind, product.base_url) as face:
        run = await face.do(lambda c: c.run("What is 2 + 2?", files={"a.txt": "b"}))
        receipt = await face.do(lambda c: c.runs.receipt(run.id))
        export = await face.do(lambda c: c.runs.export(run.id))
        assert export.receipt.digest == receipt.digest
        assert [file.name for file in receipt.files] == ["a.txt"]
        given = await face.do(lambda c: c.runs.add_feedback(run.id, "helpful", score=0.5))
        assert (given.key, given.score) == ("helpful", 0.5)
        changed = await face.do(lambda c: c.runs.update(run.id, metadata={"ticket": "A-17"}))
        assert changed.metadata == {"ticket": "A-17"}
        fork = await face.do(lambda c: c.runs.fork(run.id, budget={"max_cost_usd": 0.5}))
        assert (fork.forked_from.run_id, str(fork.budget.max_cost_usd)) == (run.id, "0.5")
        assert (await face.do(lambda c: c.follow(fork.id))).status == "completed"
        stored = await face.all(lambda c: c.runs.stored_events(run.id, types=["run.*"]))
        assert [event.type for event in stored] == ["run.created", "run.started", "run.completed"]
        assert await face.all(lambda c: c.runs.deliveries(run.id)) == []
        info = await face.do(lambda c: c.info())
        assert info.name == "signalbox"
        assert (await face.do(lambda c: c.health())).status in {"ok", "degraded"}
        assert {each.name for each in await face.do(lambda c: c.agents())} >= {"coder"}
        assert {each.tier for each in await face.do(lambda c: c.models())} >= {"fast"}
        assert {each.name for each in await face.do(lambda c: c.tools())} >= {"http_request"}
        await face.do(lambda c: c.runs.delete(run.id))
        with pytest.raises(NotFoundError):
            await face.do(lambda c: c.runs.get(run.id))
