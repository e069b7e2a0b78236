"""The model calls of an outside graph: nobody can hold them back, but each is counted as it is made.

LangChain tells of them where the graph passes its config on, as LangGraph does by itself. What a graph asks past
LangChain is known from its messages, when it has ended.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    GenerationChunk,
    LLMResult,
)
from langgraph.errors import GraphBubbleUp

from agents._kit.faults import cause_of, may_be_billed
from agents._kit.metering import OutsideCall, named_model, outside_call, told_calls, unmetered_call
from agents._kit.outcomes import AssignmentContext
from domain.agent import AgentSpec
from domain.budget import PlannedCall
from domain.usage import ModelCall

COUNTED: Final = "signalbox_counted"
"""In a message's metadata: which call it answers. That is told of when it ends, wherever the message turns up."""

ID_CHARS: Final = 100

OnCall = Callable[[OutsideCall, str, datetime], None]
"""Takes a call, what tells it from all others of the graph, and when it began."""


class Hearing(Protocol):
    """Is told of a graph's calls."""

    stopped: bool
    """Whether the graph was stopped: what works on in a thread is to call no more models."""

    def begin(self, place: str, model: str) -> None:
        """A call of a model begins; `place` tells it from others that are under way."""
        ...

    def end(self, place: str, call: OutsideCall | None) -> None:
        """It has ended; `None` where nobody bills it."""
        ...


class OutsideCalls:
    """The calls that a graph makes in one segment of its run: each is booked once, when it or the graph has ended.

    `again`: there was a segment before, whose messages the graph may have.
    """

    def __init__(self, book: OnCall, *, again: bool = False) -> None:
        self._book = book
        self._again = again
        self._open: dict[str, _Begun] = {}
        self._seen: Counter[str] = Counter()
        self._closed = False
        self.stopped = False

    def begin(self, place: str, model: str) -> None:
        """Note that a call begins."""
        if not self._closed:
            self._open[place] = _Begun(model, datetime.now(UTC))

    def end(self, place: str, call: OutsideCall | None) -> None:
        """Book a call that has ended, if anybody bills it."""
        begun = self._open.pop(place, None)
        if begun and call:
            # Of providers that give all their answers one id it is no call of an earlier segment.
            self._take(call, begun.at, place if self._again and place not in call.own_id else "")

    def read(self, messages: Sequence[BaseMessage]) -> None:
        """Book the calls of which nothing but a graph's messages tells."""
        for turn, message in enumerate(told_calls(messages)):
            told = message.response_metadata.get(COUNTED) or _plain(message.id or "") in self._seen
            if not told:
                call = outside_call(message, own_id=message.id or str(turn))
                self._take(call, datetime.now(UTC))

    def close(self) -> None:
        """Book what is still under way: it was sent, and nobody will hear what it comes to. All later ones are
        those of a graph that has ended."""
        for place, begun in self._open.items():
            call = unmetered_call(begun.model, own_id=place, status="cancelled", cause="cancelled")
            self._take(call, begun.at)
        self._open.clear()
        self._closed = True

    def stop(self) -> None:
        """Close what has not ended, and have its graph call no more models."""
        if not self._closed:
            self.stopped = True
            self.close()

    def _take(self, call: OutsideCall, began: datetime, place: str = "") -> None:
        name = _plain(call.own_id)
        self._seen[name] += 1
        number = "" if self._seen[name] == 1 else str(self._seen[name])
        # Nor do they make one call of those of this segment.
        self._book(call, ".".join(filter(None, (name, _plain(place), number))), began)


def outside_calls(
    book: Callable[[PlannedCall, OutsideCall, datetime], ModelCall],
    spec: AgentSpec,
    work: AssignmentContext,
) -> OutsideCalls:
    """Return what counts the calls that an agent's graph makes for an assignment."""
    assignment = work.assignment

    def take(call: OutsideCall, own: str, began: datetime) -> None:
        planned = PlannedCall(
            run_id=work.run_id,
            attempt=work.attempt,
            # Of no attempt: a later one may find the same call among the graph's messages.
            key=f"{assignment['round']}|{assignment['path']}|{own}|0",
            agent=spec.name,
            model=call.model,
            tier=spec.tier,
            round=assignment["round"],
            input_tokens=0,
            max_tokens=0,
        )
        work.write(book(planned, call, began))

    return OutsideCalls(take, again=work.attempt > 1)


class _Begun(NamedTuple):
    model: str
    at: datetime


_opened: ContextVar[list[OutsideCalls] | None] = ContextVar(
    "signalbox_outside_opened", default=None
)


@contextmanager
def closing_outside_calls() -> Iterator[None]:
    """Book at its end what the graphs of this context have under way: LangGraph does not wait for nodes that it
    cancels, and they would come too late for a run that somebody has stopped."""
    opened: list[OutsideCalls] = []
    token = _opened.set(opened)
    try:
        yield
    finally:
        _opened.reset(token)
        for calls in opened:
            calls.stop()


_heard: ContextVar[OutsideCalls | None] = ContextVar("signalbox_outside_calls", default=None)


@contextmanager
def counting(calls: OutsideCalls | None) -> Iterator[None]:
    """Have the calls of a graph that works in this context counted; those under way at its end too. One that fails,
    or takes too long, is stopped."""
    opened = _opened.get()
    if calls and opened is not None:
        opened.append(calls)
    token = _heard.set(calls)
    try:
        yield
    except GraphBubbleUp:
        raise  # it asks somebody, and goes on later
    except BaseException:
        if calls:
            calls.stop()
        raise
    finally:
        _heard.reset(token)
        if calls:
            calls.close()


def counted_here() -> OutsideCalls | None:
    """Return who counts the calls of this context."""
    return _heard.get()


@dataclass(slots=True)
class _Asked:
    """A call that is under way."""

    number: int
    model: str
    answers: bool = False
    """Whether the first piece of its answer has come."""


class OutsideHandler(BaseCallbackHandler):
    """Hears of a graph's calls from LangChain, in whatever thread they are made, and tells of them in the loop's."""

    run_inline = True

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._loop = asyncio.get_running_loop()
        self._open: dict[UUID, _Asked] = {}
        self._numbers = count(1)
        self._own = uuid4().hex

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - the base class's signature
        messages: list[list[BaseMessage]],  # noqa: ARG002
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Note that a model is called."""
        self._begin(run_id, metadata or {})

    def on_llm_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - the base class's signature
        prompts: list[str],  # noqa: ARG002
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Note that a model is called that completes texts."""
        self._begin(run_id, metadata or {})

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],  # noqa: ARG002 - the base class's signature
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Mark the first piece of an answer: a graph may put the pieces together itself."""
        asked = self._open.get(run_id)
        if asked and not asked.answers:
            asked.answers = True
            if isinstance(chunk, ChatGenerationChunk):
                chunk.message.response_metadata.setdefault(COUNTED, self._mark(asked))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """Tell what a call came to. What LangChain had in a cache of its own was not made; what a model has
        another one answer, and passes on as it is, is that one's call."""
        asked = self._open.pop(run_id, None)
        if asked is None:
            return
        message = _message_of(response)
        call = outside_call(message, own_id=message.id or str(run_id), model=asked.model)
        used: Mapping[str, Any] = message.usage_metadata or {}
        reused = used.get("total_cost") == 0
        if reused:
            # The cache has it too, with the mark of the call that was made.
            message.response_metadata.setdefault(COUNTED, self._mark(asked))
        unpaid = reused or self._passed_on(message.response_metadata, asked)
        self._tell(self._hearing.end, str(run_id), None if unpaid else call)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """Tell that a call has failed, or that nobody wants to hear the rest of its answer."""
        asked = self._open.pop(run_id, None)
        if asked is None:
            return
        billed = may_be_billed(error) and not self._passed_on(vars(error), asked)
        stopped = isinstance(error, (asyncio.CancelledError, GeneratorExit))
        call = unmetered_call(
            asked.model,
            own_id=str(run_id),
            status="cancelled" if stopped else "failed",
            cause="cancelled" if stopped else cause_of(error),
        )
        self._tell(self._hearing.end, str(run_id), call if billed else None)

    def _begin(self, run_id: UUID, about: dict[str, Any]) -> None:
        if self._hearing.stopped:
            self.raise_error = True  # else LangChain would call the model nevertheless
            msg = "This graph was stopped, so it calls no more models."
            raise RuntimeError(msg)
        model = named_model(about.get("ls_provider"), about.get("ls_model_name"))
        self._open[run_id] = _Asked(next(self._numbers), model)
        self._tell(self._hearing.begin, str(run_id), model)

    def _mark(self, asked: _Asked) -> str:
        return f"{self._own}.{asked.number}"

    def _passed_on(self, about: dict[str, Any], asked: _Asked) -> bool:
        """Return whether what a call has come to is what one has come to that began after it; else mark it."""
        own, _, number = str(about.get(COUNTED, "")).partition(".")
        if own == self._own and int(number) > asked.number:
            return True
        about[COUNTED] = self._mark(asked)
        return False

    def _tell(self, tell: Callable[..., None], *args: Any) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            tell(*args)
        else:
            # In order, and before the node's own end, which takes the same way.
            self._loop.call_soon_threadsafe(tell, *args)


def _message_of(response: LLMResult) -> AIMessage:
    """Return a call's answer; one without a word of what was used for a model that completes texts."""
    first = response.generations[0][0] if response.generations and response.generations[0] else None
    if isinstance(first, ChatGeneration) and isinstance(first.message, AIMessage):
        return first.message
    return AIMessage(first.text if first else "")


def _plain(own_id: str) -> str:
    """Return an id as it may stand in the ledger's key, whatever its provider makes of it."""
    return re.sub(r"[^\w.-]", "_", own_id, flags=re.ASCII)[:ID_CHARS]
