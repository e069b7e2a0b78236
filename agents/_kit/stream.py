"""Whose message a model call writes, and the way its tokens take to whoever follows the run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk
from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from agents._kit.cleaning import clean_text

STREAM_KEY: Final = "signalbox_stream"

OnPiece = Callable[[str, str, int, str], None]
"""Takes the agent, the message's id, the characters before the piece, and the piece."""


class StreamOwner(TypedDict):
    """The agent that speaks, in which run, and how the ids of its messages are made."""

    run_id: str
    agent: str
    prefix: str
    numbering: Literal["turn", "own", "none"]
    """`turn`: the count of earlier answers follows the prefix · `own`: the message's own id does,
    as in an outside graph, whose calls nobody counts · `none`: the prefix is the id."""


def owned(config: RunnableConfig, owner: StreamOwner) -> RunnableConfig:
    """Return the config under which model calls belong to `owner`."""
    return {**config, "metadata": {**config.get("metadata", {}), STREAM_KEY: owner}}


def message_id_of(owner: StreamOwner, messages: Sequence[BaseMessage], own_id: str | None) -> str:
    """Return the id of the message that answers `messages`: the same when the call is made again."""
    if owner["numbering"] == "turn":
        return f"{owner['prefix']}{count_turns(messages)}"
    return f"{owner['prefix']}{own_id}" if owner["numbering"] == "own" else owner["prefix"]


def count_turns(messages: Sequence[BaseMessage]) -> int:
    """Return how many answers a conversation holds."""
    return sum(isinstance(message, AIMessage) for message in messages)


_pieces: ContextVar[list[str] | None] = ContextVar("signalbox_pieces", default=None)


@contextmanager
def taking_pieces() -> Iterator[list[str]]:
    """Yield a list that gets the pieces of the answers that are streamed in this context."""
    pieces: list[str] = []
    token = _pieces.set(pieces)
    try:
        yield pieces
    finally:
        _pieces.reset(token)


class TokenRelay(BaseCallbackHandler):
    """Passes tokens on as they come, to whoever listens to their run.

    It hangs on the models, not on the graph: LangGraph's own `messages` mode costs 50 µs a token in
    queues and copies, and a callback on the graph is asked at every node.
    """

    run_inline = True

    def __init__(self) -> None:
        self._listeners: dict[str, OnPiece] = {}
        self._writing: dict[UUID, _Writing] = {}

    @contextmanager
    def listening(self, run_id: str, on_piece: OnPiece) -> Iterator[None]:
        """Pass a run's tokens to `on_piece` for as long as the context lasts."""
        self._listeners[run_id] = on_piece
        try:
            yield
        finally:
            if self._listeners.get(run_id) is on_piece:
                del self._listeners[run_id]

    def say(self, owner: StreamOwner, message_id: str, before: int, piece: str) -> None:
        """Pass on a piece of a message that is written elsewhere, with how many characters came before."""
        listener = self._listeners.get(owner["run_id"])
        text = clean_text(piece)
        if listener and text:
            listener(owner["agent"], message_id, before, text)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - the base class's signature
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002 - the base class's signature
    ) -> None:
        """Note whose message begins, if it is one that clients see."""
        owner: StreamOwner | None = (metadata or {}).get(STREAM_KEY)
        listener = self._listeners.get(owner["run_id"]) if owner else None
        if owner and listener:
            self._writing[run_id] = _Writing(owner, messages[0], listener)

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],  # noqa: ARG002 - the chunk has it
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,  # noqa: ARG002 - the base class's signature
    ) -> None:
        """Pass a token on."""
        pieces = _pieces.get()
        if pieces is not None and isinstance(chunk, ChatGenerationChunk) and chunk.message.text:
            pieces.append(str(chunk.message.text))
        writing = self._writing.get(run_id)
        if writing and isinstance(chunk, ChatGenerationChunk):
            text = clean_text(chunk.message.text)
            if text:
                writing.take(text, chunk.message.id)

    def on_llm_end(self, response: object, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Forget the message."""
        self._writing.pop(run_id, None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Forget the message."""
        self._writing.pop(run_id, None)

    # That it has these two is what makes LangChain stream a model under `ainvoke`.

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:  # noqa: ARG002 - LangChain's protocol
        """Return the output as it is."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:  # noqa: ARG002 - LangChain's protocol
        """Return the output as it is."""
        return output


class _Writing:
    """A message that is being written, and how much of it was passed on."""

    __slots__ = ("_listener", "_message_id", "_messages", "_owner", "_sent")

    def __init__(self, owner: StreamOwner, messages: list[BaseMessage], listener: OnPiece) -> None:
        self._owner = owner
        self._messages = messages
        self._listener = listener
        self._message_id = ""
        self._sent = 0

    def take(self, text: str, own_id: str | None) -> None:
        if not self._message_id:
            self._message_id = message_id_of(self._owner, self._messages, own_id)
        self._listener(self._owner["agent"], self._message_id, self._sent, text)
        self._sent += len(text)
