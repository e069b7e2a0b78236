"""Gives a run back what was recorded of another one: no model is called, no tool is run, nothing is waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    messages_from_dict,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnableSequence
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, TypeAdapter, ValidationError

from agents._kit.acting import Ran
from agents._kit.chains import Candidate
from agents._kit.faults import made_again
from agents._kit.recorder import pin_spot
from agents._kit.stream import TokenRelay
from agents._kit.tape import Asked, Invoke, Used, digest, digests, spot
from domain.agent import Citation
from domain.errors import ModelCallError, ToolFailedError
from domain.recording import CallLine, PinLine, Recording, ToolLine
from domain.run import RunContext
from domain.secrets import Scrubber
from domain.tool import Pinned
from tools.sources import keep_text

MOST_FAULTS: Final = 50
"""Differences that are kept; after the first the others mostly follow from it."""

_CITATIONS: Final[TypeAdapter[list[Citation]]] = TypeAdapter(
    list[Citation], config=ConfigDict(strict=True)
)

_Said = TypeVar("_Said", AIMessage, ToolMessage)
_Kept = TypeVar("_Kept", CallLine, ToolLine, PinLine)


class Replayer:
    """`agents._kit.tape.Tape` that gives back a recording, each answer to who asks for it, whenever it asks."""

    def __init__(self, recording: Recording, scrubber: Scrubber, *, loose: bool = False) -> None:
        self._calls = _by_spot(recording.calls)
        self._tools = _by_spot(recording.tools)
        self._pins = _by_spot(recording.pins)
        self._scrubber: Final = scrubber
        self._broken_off: Final = recording.broken_off
        self.loose: Final = loose
        self._asked: Final[Counter[tuple[str, str]]] = Counter()
        self.relay: TokenRelay | None = None
        """Through which answers are told piece by piece."""
        self.faults: Final[list[str]] = []
        """What was asked for that the recording does not have."""
        self.differences: Final[list[str]] = []
        """What was answered although it was asked otherwise."""

    async def call(self, asked: Asked, model: BaseChatModel, invoke: Invoke) -> AIMessage:
        """Return a recorded answer, or raise as its model did; raises `ModelCallError` where there is none."""
        del model
        at = spot(asked.request)
        kept = self._next("call", at, self._calls)
        who = f"the model call {at} of {asked.request.agent}"
        if kept is None:
            raise ModelCallError(
                self._fault(f"{who}, number {self._asked['call', at]}, is not in it")
            )
        now = digests(asked, self._scrubber)
        other = [name for name in now if now[name] != kept.digests.get(name)]
        if other:
            self._differ(f"{who} is asked with other {_and(other)} than was recorded")
        elif asked.model_name != kept.model:
            self._differ(f"{who} goes to {asked.model_name}, and went to {kept.model}")
        if kept.fault:
            raise made_again(kept.fault)
        if kept.message is None and self._broken_off:
            raise ModelCallError(self._fault(f"the answer to {who}: the run was broken off"))
        if kept.message is None:
            raise TimeoutError  # stopped from outside: by a limit of time
        replay = _Answering(
            answer=self._message(kept.message, AIMessage, who),
            pieces=kept.pieces,
            callbacks=[self.relay] if self.relay and kept.pieces else None,
        )
        return await invoke(replay, asked.messages)

    async def tool(self, used: Used, run: Callable[[], Awaitable[Ran]]) -> Ran:
        """Return a recorded result; the tool is not run, whatever it is."""
        del run
        kept = self._next("tool", used.call_id, self._tools)
        who = f"the tool call {used.call_id} of {used.name}"
        if kept is None or kept.tool != used.name:
            raise ModelCallError(self._fault(f"{who} is not in it"))
        if kept.digest != digest(used.args, self._scrubber):
            self._differ(f"{who} is made with other arguments than was recorded")
        message = self._message(kept.message, ToolMessage, who)
        await asyncio.to_thread(_keep_texts, message, kept.texts, used.sources)
        return Ran(message, kept.took)

    async def wait(self, seconds: float) -> None:
        """Return at once."""
        del seconds

    async def pin(self, name: str, args: Mapping[str, Any], context: RunContext) -> Pinned:
        """Return what a call was nailed down to."""
        at = pin_spot(name, context)
        kept = self._next("pin", at, self._pins)
        if kept is None or kept.digest != digest(dict(args), self._scrubber):
            raise ToolFailedError(self._fault(f"what the call {at} is about is not in it"))
        if kept.value is None:
            raise ToolFailedError(kept.refusal or "")
        return Pinned(value=kept.value, about=kept.about or "")

    def unused(self) -> list[str]:
        """Return the recorded calls that nobody has asked for."""
        return [
            f"the {kind} call {at}, number {number}"
            for kind, kept in (("model", self._calls), ("tool", self._tools))
            for at, lines in kept.items()
            for number in range(
                self._asked["call" if kind == "model" else kind, at] + 1, len(lines) + 1
            )
        ]

    def _message(self, kept: dict[str, Any] | None, kind: type[_Said], who: str) -> _Said:
        try:
            message = messages_from_dict([kept or {}])[0]
        except (ValueError, KeyError, TypeError, AttributeError):
            message = None
        if not isinstance(message, kind) or not _has_citations(message):
            raise ModelCallError(self._fault(f"{who} has no answer that could be given"))
        return message

    def _next(self, kind: str, at: str, kept: Mapping[str, Sequence[_Kept]]) -> _Kept | None:
        self._asked[kind, at] += 1
        lines = kept.get(at, ())
        number = self._asked[kind, at]
        return lines[number - 1] if number <= len(lines) else None

    def _differ(self, what: str) -> None:
        """Note a difference; raises `ModelCallError` where none is allowed."""
        if len(self.differences) < MOST_FAULTS:
            self.differences.append(what)
        if not self.loose:
            raise ModelCallError(f"The recording does not fit: {what}.")

    def _fault(self, what: str) -> str:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(what)
        return f"The recording does not fit: {what}."


class ReplayClients:
    """`agents._kit.clients.OpensModels` without any provider."""

    def talking(self, candidate: Candidate, variable: str) -> BaseChatModel:
        """Return a model that never answers by itself."""
        del candidate, variable
        return _Answering()

    def deciding(self, candidate: Candidate, variable: str) -> BaseChatModel:
        """Return a model that never answers by itself."""
        del candidate, variable
        return _Answering()

    async def aclose(self) -> None:
        """Hold nothing open, so that there is nothing to close."""


class _Answering(BaseChatModel):
    """Answers once, as it was told to."""

    answer: BaseMessage | None = None
    pieces: tuple[str, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "signalbox-replay"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, AIMessage]:
        """Return the model as it is: what it answers is settled."""
        del tools, tool_choice, kwargs
        return self

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        """Return the model as it is, its message under `raw`."""
        del schema, include_raw, kwargs
        return RunnableSequence(self, RunnableLambda(_as_raw))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del messages, stop, run_manager, kwargs
        return self._result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del messages, stop, kwargs
        if run_manager:
            for piece in self.pieces:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
                await run_manager.on_llm_new_token(piece, chunk=chunk)
        return self._result()

    def _result(self) -> ChatResult:
        if self.answer is None:
            raise ModelCallError("There is no model: this is the replay of a recording.")
        return ChatResult(generations=[ChatGeneration(message=self.answer)])


def _as_raw(message: BaseMessage) -> dict[str, BaseMessage]:
    return {"raw": message}


def _by_spot(lines: Iterable[_Kept]) -> dict[str, list[_Kept]]:
    found: dict[str, list[_Kept]] = {}
    for line in lines:
        found.setdefault(line.at, []).append(line)
    return {at: sorted(kept, key=lambda line: line.number) for at, kept in found.items()}


def _has_citations(message: AIMessage | ToolMessage) -> bool:
    """Return whether what a message names as its sources is that: a recording may have been changed by hand."""
    left = message.artifact if isinstance(message, ToolMessage) else None
    try:
        _CITATIONS.validate_python(left.get("citations", []) if isinstance(left, dict) else [])
    except ValidationError:
        return False
    return True


def _keep_texts(message: ToolMessage, texts: Mapping[str, str], folder: Path) -> None:
    """Keep what a call has kept of its sources: answers are checked against it. Blocks."""
    left = message.artifact if isinstance(message.artifact, dict) else {}
    kept = {sha256: keep_text(folder, text) for sha256, text in texts.items()}
    for citation in left.get("citations", []):
        # Without its secrets it is another text.
        if isinstance(citation, dict) and kept.get(citation.get("sha256", "")):
            citation["sha256"] = kept[citation["sha256"]]


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
