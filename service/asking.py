"""Turns what a graph asks into approvals, and lets its run wait for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langgraph.types import Interrupt, StateSnapshot

from domain.approval import Ask, AskRaised, open_approval
from domain.deciding import ApprovalStore, Waiting
from domain.events import EventDraft
from domain.gates import OnExpiry
from domain.ports import Clock, RunRef
from domain.run import Run
from domain.usage import ModelCall
from graph.questions import read_ask, resume_value
from graph.streaming import Item
from service.checkpoints import Checkpoints
from service.events import SegmentLog
from service.hub import EventHub
from service.notices import Notice
from service.store.waiting import approval_draft


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An interrupt of a graph, and the question it is."""

    interrupt: Interrupt
    node: str
    ask: Ask


def read_asked(snapshot: StateSnapshot, run: Run) -> tuple[Asked, ...]:
    """Return what a checkpoint's graph asks."""
    round_ = snapshot.values.get("round", 0)
    return tuple(
        Asked(
            interrupt=each,
            node=task.name,
            ask=read_ask(each, node=task.name, run_id=run.id, round_=round_),
        )
        for task in snapshot.tasks
        for each in task.interrupts
    )


def resume_with(asked: Sequence[Asked], answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what each interrupt is answered with, by its id."""
    return {
        each.interrupt.id: resume_value(
            each.interrupt, node=each.node, decision=answers[each.ask["id"]]
        )
        for each in asked
    }


class People:
    """Those who are asked, as far as an executing run knows of them."""

    def __init__(
        self,
        *,
        approvals: ApprovalStore,
        hub: EventHub,
        clock: Clock,
        checkpoints: Checkpoints,
        seconds: float | None,
        on_expiry: OnExpiry,
    ) -> None:
        self._approvals = approvals
        self._hub = hub
        self._clock = clock
        self._checkpoints = checkpoints
        self._seconds = seconds
        self._on_expiry = on_expiry

    def draft(self, item: Item, run: Run) -> EventDraft | ModelCall:
        """Return an item of the graph as the log takes it: a question as the event of its approval."""
        if not isinstance(item, AskRaised):
            return item
        approval = open_approval(
            item.ask,
            run=run,
            now=self._clock.now(),
            seconds=self._seconds,
            on_expiry=self._on_expiry,
        )
        # The row is stored with the event: whoever hears of an approval can decide it.
        return replace(approval_draft("approval.requested", approval), approval=approval)

    async def ask(
        self, run: Run, asked: Sequence[Asked], log: SegmentLog, *, since: str | None
    ) -> Waiting:
        """Make the run wait for answers, or return those that there are already."""
        for each in asked:
            # An outside graph's question is told here first; for the others this changes nothing.
            await log.put(self.draft(AskRaised(ask=each.ask), run))
        # All that led here is told and saved first: nothing of the run is left in this process.
        await log.write_all()
        await self._checkpoints.flush(run.id)
        waiting = await self._approvals.wait_for(
            RunRef(run.tenant_id, run.id),
            attempt=run.attempt,
            approval_ids=[each.ask["id"] for each in asked],
            since=since,
            now=self._clock.now(),
        )
        if waiting.answers is None:
            await self._checkpoints.pass_by(run.id, since)
        self._hub.publish(run.id, [Notice(e, run=waiting.run) for e in waiting.events])
        return waiting
