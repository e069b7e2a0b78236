"""A client that follows the rules of docs/events.md to the letter and complains when they are broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from tests.fakes.running import Event, Product, read_frames
from tests.integration.team_script import SECONDS

VOIDING = frozenset({"agent.retrying", "run.resumed"})


class ClientView:
    """What a client knows after the frames it has taken."""

    def __init__(self) -> None:
        self.frames: list[Event] = []
        self.open: dict[str, str] = {}
        """Text of messages that are being written."""
        self.messages: dict[str, str] = {}
        self.lossy = False
        """Whether it reads so slowly that deltas may be left out between a message's parts and its end."""
        self.unheard: set[str] = set()
        """Messages that were whole before any part of them came."""

    @property
    def seqs(self) -> list[int]:
        """Return the numbers of the stored events seen, in order."""
        return [int(frame["_id"]) for frame in self.frames if frame["_id"] is not None]

    def of(self, *types: str) -> list[Event]:
        """Return the frames of some types."""
        return [frame for frame in self.frames if frame["type"] in types]

    def take(self, frame: Event) -> None:
        """Read one frame."""
        self.frames.append(frame)
        type_, data = frame["type"], frame["data"]
        assert frame["_event"] == type_
        if type_ == "message.delta":
            text = self.open.get(data["message_id"], "")
            assert data["offset"] == len(text), (frame, text)
            self.open[data["message_id"]] = text + data["text"]
        elif type_ == "message.snapshot":
            self.open[data["message_id"]] = data["text"]
        elif type_ == "message.completed":
            self._complete(data)
        elif type_ in VOIDING:
            self.open.clear()

    def _complete(self, data: dict[str, Any]) -> None:
        message_id = data["message_id"]
        assert message_id not in self.messages, f"{message_id} was completed twice"
        if message_id in self.open:
            text = self.open.pop(message_id)
            assert text == data["text"] or (self.lossy and data["text"].startswith(text))
        else:
            self.unheard.add(message_id)
        self.messages[message_id] = data["text"]


class Following:
    """A client on an event stream, read step by step."""

    def __init__(self, frames: AsyncIterator[Event]) -> None:
        self._frames = frames
        self.view = ClientView()

    async def until(self, seen: Callable[[ClientView], object]) -> ClientView:
        """Read until something was seen."""
        async with asyncio.timeout(SECONDS):
            while not seen(self.view):
                self.view.take(await anext(self._frames))
        return self.view

    async def end(self) -> ClientView:
        """Read until the server ends the stream."""
        async with asyncio.timeout(2 * SECONDS):
            async for frame in self._frames:
                self.view.take(frame)
        return self.view


@asynccontextmanager
async def following(
    product: Product, run_id: str, *, query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[Following]:
    """Open a run's event stream for as long as the context lasts."""
    frames = product.frames(f"/v1/runs/{run_id}/events{query}", headers=headers)
    async with aclosing(frames):  # type: ignore[type-var]  # an async generator
        yield Following(frames)


@asynccontextmanager
async def creating(product: Product, **body: Any) -> AsyncIterator[Following]:
    """Create a run with its event stream open from the start."""
    headers = {"accept": "text/event-stream"}
    async with product.client.stream("POST", "/v1/runs", json=body, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        frames = read_frames(response)
        async with aclosing(frames):  # type: ignore[type-var]  # an async generator
            yield Following(frames)


async def followed(product: Product, run_id: str, **how: Any) -> ClientView:
    """Return what a client has seen when a stream has ended."""
    async with following(product, run_id, **how) as stream:
        return await stream.end()


async def wire(product: Product, run_id: str) -> str:
    """Return the bytes of an ended run's stream, as text."""
    headers = {"accept": "text/event-stream"}
    response = await product.client.get(f"/v1/runs/{run_id}/events", headers=headers)
    assert response.status_code == 200, response.text
    return response.content.decode()
