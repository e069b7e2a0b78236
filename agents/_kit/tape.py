"""The one place where what comes from outside reaches a run: model answers, results of tools, waits.

Usually it is as live as can be. A recorder (`agents/_kit/recorder.py`) writes down what passes here, a
replayer (`agents/_kit/replayer.py`) gives it back, and neither a model nor a tool is asked then.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

from agents._kit.acting import Ran
from agents._kit.candidates import Request
from agents._kit.outcomes import AssignmentContext
from domain.secrets import Scrubber

Invoke = Callable[[BaseChatModel, list[Any]], Awaitable[AIMessage]]
"""Calls the model that it is given with the messages that it is sent."""


class Asked(NamedTuple):
    """One try of a model call."""

    request: Request
    number: int
    """Which try of the segment, over all models."""
    model_name: str
    """`provider:model`."""
    messages: list[BaseMessage]
    """What the model is sent of the request's."""


class Used(NamedTuple):
    """One run of a tool."""

    call_id: str
    name: str
    args: dict[str, Any]
    context: AssignmentContext

    @property
    def sources(self) -> Path:
        """Return where the run's sources are kept."""
        return self.context.sources


class Tape(Protocol):
    """What stands between a run and the outside."""

    async def call(self, asked: Asked, model: BaseChatModel, invoke: Invoke) -> AIMessage:
        """Return a model's answer; raises as the model does."""
        ...

    async def tool(self, used: Used, run: Callable[[], Awaitable[Ran]]) -> Ran:
        """Return what came of a tool's call."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when the next try may be made."""
        ...


class LiveTape:
    """Asks models, runs tools and waits."""

    async def call(self, asked: Asked, model: BaseChatModel, invoke: Invoke) -> AIMessage:
        """Return a model's answer."""
        return await invoke(model, asked.messages)

    async def tool(self, used: Used, run: Callable[[], Awaitable[Ran]]) -> Ran:
        """Return what came of a tool's call."""
        del used
        return await run()

    async def wait(self, seconds: float) -> None:
        """Wait so many seconds."""
        await asyncio.sleep(seconds)


LIVE: Final = LiveTape()


def spot(request: Request) -> str:
    """Return which call of its run a request is, whichever segment makes it: its key without the attempt."""
    return request.key.rpartition("|")[0]


def digests(asked: Asked, scrubber: Scrubber) -> dict[str, str]:
    """Return a digest of each part of what is asked, without secrets: they are not in a recording."""
    system = [m.text for m in asked.messages if isinstance(m, SystemMessage)]
    rest = [_plain(m) for m in asked.messages if not isinstance(m, SystemMessage)]
    request = asked.request
    return {
        "system": digest(system, scrubber),
        "messages": digest(rest, scrubber),
        "tools": digest(list(request.tools), scrubber),
        "schema": digest(request.schema, scrubber),
    }


def digest(value: Any, scrubber: Scrubber) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of a JSON value without its secrets."""
    text = json.dumps(scrubber.scrub_value(value), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(message: BaseMessage) -> Mapping[str, Any]:
    """Return what a model reads of a message; providers' ids of calls are not what it is about."""
    plain: dict[str, Any] = {"type": message.type, "text": message.text}
    if isinstance(message, AIMessage):
        plain["calls"] = [[call["name"], call["args"]] for call in message.tool_calls]
    if isinstance(message, ToolMessage):
        plain |= {"name": message.name, "status": message.status}
    return plain


def team_digest(parts: Sequence[Any]) -> str:
    """Return a digest of what an agent is made of."""
    return digest(list(parts), Scrubber())
