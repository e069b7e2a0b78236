"""The fake model server in a thread of its own, so that a plain test can script it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.e2e.processes import BOUND
from tests.fakes.model_server import FakeModelServer, ModelRequest, Reply, Rule, When

Answer = TypeVar("Answer")


class Models:
    """A fake model server that a test without an event loop starts, scripts and asks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        # Processes start while an answer is held back.
        self.server = FakeModelServer(patience=BOUND)
        self._await(self.server.__aenter__())

    def _await(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(BOUND)

    @property
    def base_url(self) -> str:
        """Return what the product takes as OPENAI_BASE_URL."""
        return self.server.base_url

    @property
    def requests(self) -> list[ModelRequest]:
        """Return every request so far."""
        return list(self.server.requests)

    def add(self, *rules: Rule) -> None:
        """Add rules; the first that matches answers."""
        self.server.add(*rules)

    def gate(self, name: str) -> Callable[[], None]:
        """Make a gate; calling what is returned opens it."""
        event = self.server.event(name)
        return lambda: self._await(_set(event))

    def asked(
        self, *, system: str | None = None, user: str | None = None, schema: bool | None = None
    ) -> int:
        """Return how many requests there were of a kind."""
        when = When(system=system, user=user, schema=schema)
        return sum(when.matches(request) for request in self.requests)

    def close(self) -> None:
        """Stop the server and its thread."""
        self._await(self.server.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()


class Hanging:
    """The first answer of a kind never comes, the ones after it do; says when it was asked for."""

    def __init__(self, when: When, reply: Reply) -> None:
        self._asked = threading.Event()
        self.rules = (
            Rule(when=when, reply=self._hang, times=1),
            Rule(when=when, reply=reply, optional=True),
        )

    def _hang(self, _: ModelRequest) -> Reply:
        self._asked.set()
        return Reply(fault="hang")

    def wait(self) -> None:
        """Wait until the answer is being waited for."""
        assert self._asked.wait(BOUND), "the model was not asked"


def agent(name: str) -> str:
    """Return what an agent's system prompt says and nobody else's."""
    return rf"\AYou are the {name} "


async def _set(event: asyncio.Event) -> None:
    event.set()
