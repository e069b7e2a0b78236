"""Follow a run to its end, and have its questions answered on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import httpx

from signalbox import approvals, runs
from signalbox.errors import ApprovalConflictError, ConfigurationError, run_error
from signalbox.flows import Ask, Course, Failure, Flow, Give
from signalbox.following import IDLE_SECONDS, RunFollower, Wanted
from signalbox.models import Approval, Event, Run
from signalbox.options import Decision
from signalbox.sending import Sender

Decide = Callable[[Approval], Decision | Awaitable[Decision | None] | None]
"""Says what is decided; `None` leaves it to somebody else. May be a coroutine function with `AsyncSignalbox`."""

See = Callable[[Event], object]
"""Is shown every event. May be a coroutine function with `AsyncSignalbox`."""

_CHANGES: Final = 3
"""How often a question is put again whose call has changed meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Company:
    """Who goes along with a run."""

    on_approval: Decide | None = None
    on_event: See | None = None
    within: float | None = None
    idle: float = IDLE_SECONDS


def follow(sender: Sender, run_id: str, company: Company) -> Flow[Run]:
    """Return a run when it has ended; raises `RunFailedError`, `RunCancelledError`, `WaitExceededError`."""
    tokens = company.on_event is not None
    wanted = Wanted(tokens=tokens, within=company.within, idle=company.idle)
    course = Course(RunFollower(sender, run_id, wanted).flow())
    try:
        step = course.advance()
        while step is not None:
            if isinstance(step, Give):
                yield from _show(sender, step.item, company)
                step = course.advance()
                continue
            try:
                outcome: object = yield step
            except httpx.RequestError as error:
                outcome = Failure(error)
            step = course.advance(outcome)
    finally:
        course.close()
    run = yield from runs.get(sender, run_id)
    ended_badly = run_error(run)
    if ended_badly:
        raise ended_badly
    return run


def _show(sender: Sender, event: Event, company: Company) -> Flow[None]:
    if company.on_event is not None:
        see = company.on_event
        yield Ask(partial(see, event))
    if event.type == "approval.requested" and company.on_approval is not None:
        asked = event.data.get("approval")
        approval_id = asked.get("id") if isinstance(asked, dict) else None
        if approval_id and isinstance(approval_id, str):
            yield from _decide(sender, approval_id, company.on_approval)


def _decide(sender: Sender, approval_id: str, decide: Decide) -> Flow[None]:
    """Put a question, unless somebody has answered it; what somebody else decides meanwhile holds."""
    for _ in range(_CHANGES):
        # The event has long arguments cut; whoever decides has to see the whole call.
        approval = yield from approvals.get(sender, approval_id)
        if approval.status != "pending":
            return
        decision = yield Ask(partial(decide, approval))
        if decision is None:
            return
        if not isinstance(decision, Decision):
            msg = f"on_approval returned {type(decision).__name__}; return a Decision, or None to leave it open."
            raise ConfigurationError(msg)
        if decision.args_digest is None:
            decision = replace(decision, args_digest=approval.args_digest)
        try:
            yield from approvals.decide(sender, approval_id, decision)
        except ApprovalConflictError as error:
            if error.code == "approval-args-changed":
                continue
        return
