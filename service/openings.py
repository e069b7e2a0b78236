"""What the log tells of a claim before anything is done under it."""

from __future__ import annotations

from domain.events import EventDraft
from domain.run import Run


def opening(run: Run, *, decided: bool) -> list[EventDraft]:
    """Return the events a claim leaves: the start, and for a later claim the resumption."""
    drafts = [EventDraft(type="run.started", data={"attempt": 1})]
    if run.attempt > 1:
        data = {"attempt": run.attempt, "cause": _cause(run, decided=decided)}
        drafts.append(EventDraft(type="run.resumed", call=str(run.attempt), data=data))
    return drafts


def _cause(run: Run, *, decided: bool) -> str:
    """Return why a run goes on. What a retry has begun, and a crash has cut off, is a recovery."""
    if run.retried_after and run.attempt == run.retried_after + 1:
        return "retry"
    return "decision" if decided else "recovery"
