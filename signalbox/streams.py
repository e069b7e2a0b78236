"""A run's events to iterate over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import NamedTuple, Self

from signalbox.flows import Flow
from signalbox.models import Event
from signalbox.transcript import Transcript


class Following(NamedTuple):
    """The flow of a stream, and what is put together from it."""

    flow: Flow[None]
    transcript: Transcript


class _Said:
    """What was said in the events that were taken."""

    _transcript: Transcript

    @property
    def text(self) -> str:
        """Return the run's answer as far as it is written; text that turns out to be void is dropped."""
        return self._transcript.text

    @property
    def messages(self) -> dict[str, str]:
        """Return what every agent has said, by `message_id`."""
        return self._transcript.messages


class EventStream(_Said):
    """The events of a run, until it ends. As a context manager it lets go of the connection at once."""

    def __init__(self, items: Iterator[Event], transcript: Transcript) -> None:
        self._items = items
        self._transcript = transcript

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; the run goes on."""
        close = getattr(self._items, "close", None)
        if close:
            close()


class AsyncEventStream(_Said):
    """The same, to iterate over with `async for`."""

    def __init__(self, items: AsyncIterator[Event], transcript: Transcript) -> None:
        self._items = items
        self._transcript = transcript

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection; the run goes on."""
        aclose = getattr(self._items, "aclose", None)
        if aclose:
            await aclose()
