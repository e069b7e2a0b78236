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
from service.http.openai_chat.conversation import MARK, disarm
from service.notices import Notice
from service.services import Services

ANSWER: Final = ".supervisor.answer"


@dataclass(frozen=True)
class Progress:
    """A line about how far the run is."""

    text: str


@dataclass(frozen=True)
class Said:
    """A piece of the answer; `anew` where it takes the place of all that was said before."""

    text: str
    anew: bool = False


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
        self._sent: list[str] = []
        self._chars = 0
        self._at: int | None = 0
        """How much of what was sent is there again in the message that is being written, begun anew where a
        call was made again; `None` where it reads differently."""
        self._tail = ""
        """The end of what was sent: a mark that comes in two pieces is one to who puts them together."""

    def take(self, notice: Notice) -> list[Said]:
        what = notice.what
        if isinstance(what, Delta):
            if not what.message_id.endswith(ANSWER):
                return []
            if notice.snapshot or what.offset == 0:
                self._at = 0
            return self._go_on(what.text)
        if what.type == "message.completed" and what.agent == SUPERVISOR:
            if not what.data["message_id"].endswith(ANSWER):
                return []
            self._at = 0
            return self._go_on(what.data["text"])
        return []

    def end(self, run: Run) -> list[Said]:
        """Return what of the answer was not passed on, and what it had to do without."""
        if run.result is None or run.status not in {"completed", "incomplete"}:
            return []
        self._at = 0
        said = self._go_on(run.result.output)
        if self._at != self._chars:
            said = [Said(disarm(run.result.output), anew=True)]
        lacks = lacks_of(run)
        return [*said, Said(lacks)] if lacks else said

    def _go_on(self, text: str) -> list[Said]:
        """Return what a piece adds; what began anew is held back until it is longer than what was sent."""
        if self._at is None:
            return []
        again = min(self._chars - self._at, len(text))
        if again:
            self._sent = ["".join(self._sent)]
            if self._sent[0][self._at : self._at + again] != text[:again]:
                self._at = None
                return []
        self._at += len(text)
        return self._send(text[again:])

    def _send(self, text: str) -> list[Said]:
        if not text:
            return []
        self._sent.append(text)
        self._chars += len(text)
        fresh = disarm(self._tail + text)[len(self._tail) :]
        self._tail = (self._tail + text)[1 - len(MARK) :]
        return [Said(fresh)]


def whole(run: Run) -> str:
    """Return the answer of a run that has ended with one, and what it had to do without."""
    return disarm(run.result.output) + lacks_of(run) if run.result else ""


def lacks_of(run: Run) -> str:
    """Return what stands below an answer that lacks something."""
    lacks = [f"> Missing: {part.agent}: {part.reason}" for part in run.degraded]
    if run.status == "incomplete":
        lacks.insert(0, f"> Incomplete: the run has ended early ({run.stop_reason}).")
    return disarm("\n\n" + "\n".join(lacks)) if lacks else ""


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
