"""What the log tells of a claim before anything is done under it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from domain.events import EventDraft
from domain.run import Run


def opening(run: Run, *, known: AbstractSet[str], decided: bool) -> list[EventDraft]:
    """Return the events a claim leaves: the start, and for a later claim the resumption. `known` are the keys
    of those that the run has."""
    drafts = [EventDraft(type="run.started", data={"attempt": 1})]
    if run.attempt > 1:
        data = {"attempt": run.attempt, "cause": _cause(run, known, decided=decided)}
        drafts.append(EventDraft(type="run.resumed", call=str(run.attempt), data=data))
    return drafts


def _cause(run: Run, known: AbstractSet[str], *, decided: bool) -> str:
    """Return why a run goes on: the first attempt after a retry that tells, tells of the retry."""
    since = range(run.retried_after + 1, run.attempt) if run.retried_after else ()
    told = (EventDraft(type="run.resumed", call=str(each), data={}).key for each in since)
    if run.retried_after and known.isdisjoint(told):
        return "retry"
    return "decision" if decided else "recovery"
