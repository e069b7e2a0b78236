"""A budget that is raised in the moment in which it is asked about: nobody has to answer any more."""

from __future__ import annotations

from dataclasses import replace

from domain.approval import Approval, open_approval
from domain.budget import budget_ask
from domain.errors import BudgetReachedError
from domain.limits import NOTHING_SPENT, RUN, Limits, budget_of
from domain.ports import RunPatch, RunRef
from service.store import SqlRunStore
from service.store.waiting import approval_draft
from tests.contract.factories import LATER, NOW, add_running, all_events, make_run


async def add_reached(store: SqlRunStore) -> RunRef:
    """Return a run that executes, and has reached a limit."""
    limits = Limits(max_tokens=6_000)
    budget = budget_of(limits, max_rounds=4, rounds=0, spent=NOTHING_SPENT)
    return await add_running(store, budget=budget)


async def ask(store: SqlRunStore, ref: RunRef) -> Approval:
    """Store the question about it."""
    error = BudgetReachedError("It is used up.", scope=RUN, limits={"max_tokens": 6_000}, asks=True)
    asked = budget_ask(error, ref.run_id)
    approval = open_approval(asked, run=make_run(), now=NOW, seconds=None, on_expiry="reject")
    draft = replace(approval_draft("approval.requested", approval), approval=approval)
    await store.append(ref, attempt=1, drafts=[draft], calls=[], now=NOW)
    return approval


async def test_a_raise_before_the_question_answers_it(store: SqlRunStore) -> None:
    """And is on the record as the answer."""
    ref = await add_reached(store)
    patch = RunPatch(by="ada", limits=Limits(max_tokens=7_000))
    assert await store.patch(ref, patch, now=NOW) is not None
    approval = await ask(store, ref)
    waiting = await store.approvals.wait_for(
        ref, attempt=1, approval_ids=[approval.id], since=None, now=LATER
    )
    stored = await store.approvals.get(ref.tenant_id, approval.id)
    assert stored is not None
    assert stored.status == "resolved"
    assert waiting.answers is not None
    assert waiting.answers[approval.id]["edited_action"]["args"] == {"max_tokens": 7_000}
    assert [event.type for event in waiting.events] == ["approval.resolved"]
    assert (await all_events(store, ref))[-1].type == "approval.resolved"
