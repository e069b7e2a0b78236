"""What a model is sent of a conversation that is becoming too long for it; what is kept stays whole.

What is left out follows from the messages alone, and once left out it stays out: a call's prompt begins with that
of the call before it, to the byte, until the next piece is cleared, so that providers' caches hit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from agents._kit.bounds import message_bytes
from agents._kit.metering import answered_by
from agents._kit.prompts import NOTE_CHARS, fair_limit, head_and_tail, shorten_prompt

BYTES_A_TOKEN: Final = 3
"""Of English prose a token has more than four, of code and tables about three."""

MESSAGE_TOKENS: Final = 8
MOST_DENSE: Final = 4.0
"""A provider that counts more than so many times our estimate is not believed."""

KEPT_TURNS: Final = 2
"""The results of so many last turns are never cleared, only cut where there is no other way."""

AFTER_CLEARING: Final = 0.5
"""The part of the room that is to be in use after a clearing: it is not to happen at each turn."""

LEAST_CHARS: Final = 600
"""Shorter texts are neither cleared nor cut: that would win nothing."""

SOURCES_SHOWN: Final = 8
TITLE_CHARS: Final = 40


@dataclass(frozen=True)
class View:
    """What is sent."""

    messages: list[BaseMessage]
    tokens: int
    """About how many it has, with its tools and schema."""


def estimate(bytes_: int) -> int:
    """Return about how many tokens so many bytes are."""
    return bytes_ // BYTES_A_TOKEN


def view(
    messages: Sequence[BaseMessage],
    room: int,
    *,
    model: str,
    about: int = 0,
    repeatable: Collection[str] = (),
) -> View:
    """Return the conversation as a model (`provider:model`) is sent it, within so many tokens if it can be.

    `about` are the tokens of tools and schema, `repeatable` the tools that may be called again for their result.
    Earlier calls are gone through first: what was left out of them stays out.
    """
    fitting = _Fitting(messages, about, repeatable)
    for place, message in enumerate(messages):
        answered = answered_by(message) if isinstance(message, AIMessage) else None
        if answered is None or answered["model"] != model:
            continue
        then = answered.get("room", room)
        fitting.fit(place, then)
        room = min(room, then)
        fitting.weigh(place, message)
    fitting.fit(len(messages), room)
    return View(fitting.shown, fitting.tokens(len(messages)))


class _Fitting:
    """A conversation that is made to fit, call after call."""

    def __init__(
        self, messages: Sequence[BaseMessage], about: int, repeatable: Collection[str]
    ) -> None:
        self._whole = messages
        self._about = about
        self._repeatable = repeatable
        self._dense = 1.0
        self._cleared: set[int] = set()
        self.shown: list[BaseMessage] = list(messages)
        self._sizes = [_size(message) for message in messages]

    def tokens(self, end: int) -> int:
        """Return about how many tokens a prompt of the messages before `end` has."""
        return int(self._dense * (self._about + sum(self._sizes[:end])))

    def weigh(self, place: int, message: BaseMessage) -> None:
        """Learn from what the provider has counted how dense the texts are."""
        usage = message.usage_metadata if isinstance(message, AIMessage) else None
        plain = self._about + sum(self._sizes[:place])
        if usage and plain:
            self._dense = max(self._dense, min(usage["input_tokens"] / plain, MOST_DENSE))

    def fit(self, end: int, room: int) -> None:
        """Leave out what has to be of the messages before `end`."""
        if self.tokens(end) <= room:
            return
        old = self._old(end)
        for place in range(old):
            message = self._whole[place]
            if not isinstance(message, ToolMessage) or place in self._cleared:
                continue
            if len(message.text) > LEAST_CHARS:
                self._cleared.add(place)
                self._show(place, _cleared(message, self._repeatable))
            if self.tokens(end) <= room * AFTER_CLEARING:
                return
        results = [p for p in range(end) if isinstance(self._whole[p], ToolMessage)]
        self._cut([p for p in results if p not in self._cleared], end, room)
        self._cut([p for p in range(old) if isinstance(self._whole[p], AIMessage)], end, room)
        self._cut([p for p in range(end) if isinstance(self._whole[p], HumanMessage)], end, room)

    def _old(self, end: int) -> int:
        """Return where the turns begin whose results are kept."""
        turns = [place for place in range(end) if isinstance(self._whole[place], AIMessage)]
        return turns[-KEPT_TURNS] if len(turns) >= KEPT_TURNS else 0

    def _cut(self, places: Sequence[int], end: int, room: int) -> None:
        """Cut the longest of some messages, all to the same length, until the prompt fits."""
        if self.tokens(end) <= room or not places:
            return
        others = self.tokens(end) - int(self._dense * sum(self._sizes[p] for p in places))
        sizes = [int(self._dense * self._sizes[p]) for p in places]
        limit = max(1, fair_limit(sizes, max(sizes), room - others))
        for place, size in zip(places, sizes, strict=True):
            if size > limit:
                # Always from the whole text: what was cut before is cut anew, not twice.
                whole = self._whole[place]
                self._show(place, _shorter(whole, limit / (self._dense * _size(whole))))

    def _show(self, place: int, message: BaseMessage) -> None:
        size = _size(message)
        if size < self._sizes[place]:
            self.shown[place] = message
            self._sizes[place] = size


def _size(message: BaseMessage) -> int:
    return MESSAGE_TOKENS + estimate(message_bytes(message))


def _cleared(message: ToolMessage, repeatable: Collection[str]) -> ToolMessage:
    """Return a result with one line in its place."""
    name = message.name or "the tool"
    again = (
        f"call {name} again if you still need it"
        if name in repeatable
        else "the call was carried out: do not make it again only to read this"
    )
    line = f"[This result of {len(message.text)} characters was cleared to save space; {again}.{_sources(message)}]"
    return message.model_copy(update={"content": line, "artifact": None})


def _sources(message: ToolMessage) -> str:
    """Return the sources of a result: what the agent has noted of it may still name them."""
    found = message.artifact.get("citations", []) if isinstance(message.artifact, dict) else []
    named = [f"[{c['number']}] {c['title'][:TITLE_CHARS]}" for c in found[:SOURCES_SHOWN]]
    return " ".join([" Its sources were:", *named]).replace("\n", " ") if named else ""


def _shorter(message: BaseMessage, part: float) -> BaseMessage:
    """Return a message with its text, or the texts that it gave to tools, cut to a part of their length."""

    def cut(text: str) -> str:
        return head_and_tail(text, max(LEAST_CHARS, int(len(text) * part) - NOTE_CHARS))

    if isinstance(message, AIMessage):
        calls = [{**call, "args": _within(call["args"], cut)} for call in message.tool_calls]
        return message.model_copy(update={"tool_calls": calls})
    if not isinstance(message.content, str):
        return message
    text = message.content
    asked = isinstance(message, HumanMessage)
    shorter = shorten_prompt(text, int(len(text) * part)) if asked else cut(text)
    return message.model_copy(update={"content": shorter})


def _within(value: Any, cut: Callable[[str], str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, dict):
        return {name: _within(each, cut) for name, each in value.items()}
    return [_within(each, cut) for each in value] if isinstance(value, list) else value
