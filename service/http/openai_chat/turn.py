"""Follows a run through one turn of a conversation: how far it is, the answer, and what ends the turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from domain.approval import Approval
from domain.events import SUPERVISOR, Delta, Event
from domain.ports import RunRef
from domain.run import Run
from service.events import follow
from service.http.openai_chat.conversation import disarm
from service.notices import Notice
from service.services import Services

ANSWER: Final = ".supervisor.answer"


@dataclass(frozen=True)
class Progress:
    """A line about how far the run is."""

    text: str


@dataclass(frozen=True)
class Said:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The run has ended; whatever its status."""

    run: Run


@dataclass(frozen=True)
class Asks:
    """The run waits for a person."""

    run: Run
    approvals: list[Approval]


Step = Progress | Said | Ended | Asks


async def take_turn(parts: Services, ref: RunRef, *, after: int) -> AsyncIterator[Step]:
    """Yield the steps of a run from an event on, until it ends or asks.

    Nothing more comes where the process stops before that.
    """
    answer = _Answer()
    async for notices in follow(parts.store, parts.hub, ref, after=after):
        for notice in notices:
            for step in answer.take(notice):
                yield step
            what = notice.what
            if isinstance(what, Delta):
                continue
            line = _line(what)
            if line:
                yield Progress(line)
            if what.type != "run.requires_action" and not notice.final:
                continue
            last = await _end(parts, ref, what)
            if isinstance(last, Ended):
                for step in answer.end(last.run):
                    yield step
            if last:
                yield last
                return


async def _end(parts: Services, ref: RunRef, event: Event) -> Ended | Asks | None:
    """Return what ends the turn; `None` where the run has gone on since: it was decided, or retried."""
    run = await parts.runs.get(ref.tenant_id, ref.run_id)
    if event.terminal:
        return Ended(run) if run.terminal else None
    ids = event.data["required_action"]["approval_ids"]
    found = [await parts.approvals.get(ref.tenant_id, each) for each in ids]
    waiting = [each for each in found if each.status == "pending"]
    return Asks(run, waiting) if waiting else None


class _Answer:
    """The final answer as far as it was passed on: what was sent cannot be taken back."""

    def __init__(self) -> None:
        self._sent = ""
        self._now = ""
        """The message as it is being written: begun anew, where a call was made again."""

    def take(self, notice: Notice) -> list[Said]:
        what = notice.what
        if isinstance(what, Delta):
            if not what.message_id.endswith(ANSWER):
                return []
            anew = notice.snapshot or what.offset == 0
            self._now = what.text if anew else self._now + what.text
        elif what.type == "message.completed" and what.agent == SUPERVISOR:
            if not what.data["message_id"].endswith(ANSWER):
                return []
            self._now = what.data["text"]
        else:
            return []
        # What began anew is held back until it is longer than what was sent.
        return self._send() if self._now.startswith(self._sent) else []

    def end(self, run: Run) -> list[Said]:
        """Return what of the answer was not passed on, and what it had to do without."""
        if run.result is None or run.status not in {"completed", "incomplete"}:
            return []
        self._now = run.result.output
        said = self._send() if self._now.startswith(self._sent) else self._anew()
        lacks = [f"> Missing: {part.agent}: {part.reason}" for part in run.degraded]
        if run.status == "incomplete":
            lacks.insert(0, f"> Incomplete: the run has ended early ({run.stop_reason}).")
        return [*said, Said(disarm("\n\n" + "\n".join(lacks)))] if lacks else said

    def _send(self) -> list[Said]:
        # A mark that comes in two pieces is one to who puts them together.
        before = len(disarm(self._sent))
        self._sent = self._now
        fresh = disarm(self._now)[before:]
        return [Said(fresh)] if fresh else []

    def _anew(self) -> list[Said]:
        self._sent = self._now
        return [Said(disarm(f"\n\n---\n\n{self._now}"))]


def _line(event: Event) -> str:
    """Return a line about an event; empty for those that say nothing to who waits."""
    data = event.data
    match event.type:
        case "supervisor.decision":
            names = ", ".join(each["agent"] for each in data["assignments"]) or "finish"
            return f"supervisor: {names}. {data['reason']}\n"
        case "agent.started":
            return f"{event.agent} works.\n"
        case "tool.started":
            return f"{event.agent} calls {data['tool']}.\n"
        case "agent.completed":
            return f"{event.agent} is done.\n"
        case "agent.failed":
            return f"{event.agent} failed: {data['detail']}\n"
        case "agent.retrying":
            return f"{event.agent} calls its model again.\n"
        case "cache.hit":
            return "This was worked on before.\n"
        case _:
            return ""


def describe(run: Run, approvals: list[Approval] | None = None) -> dict[str, Any]:
    """Return the run behind an answer, in the member that is ours."""
    usage = run.usage.model_dump(mode="json")
    return {
        "run_id": run.id,
        "thread_id": run.thread_id,
        "status": run.status,
        "stop_reason": run.stop_reason,
        "degraded": [part.model_dump(mode="json") for part in run.degraded],
        "approval_ids": [each.id for each in approvals or ()],
        "cost_usd": usage["cost_usd"],
    }


def usage_of(run: Run) -> dict[str, Any]:
    """Return what the run has used so far, as OpenAI counts it."""
    usage = run.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
