"""Speaks to a running server: where it is, which key it wants, and what its refusals mean in a sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from domain.errors import ConfigurationError, RunFailedError
from domain.run import TERMINAL
from service.commands.exits import ServerAwayError
from service.settings import Settings

TIMEOUT: Final = httpx.Timeout(10.0, read=60.0)
"""The server pings every ten seconds, so a silent minute means that it is gone."""

MOST_FAILURES: Final = 6
"""Connections in a row that may end without a new event before a stream is given up."""

LONGEST_PAUSE: Final = 8.0
"""Seconds between two of them, at the most; the first comes after half of one."""

Show = Callable[[dict[str, Any]], None]


@asynccontextmanager
async def client_of(settings: Settings, url: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a server: the one named, or the one that these settings would start on this machine.

    Raises `ConfigurationError` for an address or key that cannot be, `ServerAwayError` where nobody answers.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else None
    async with connected(url or _own_url(settings), key) as client:
        yield client


@asynccontextmanager
async def connected(url: str, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the server at an address; raises as `client_of` does."""
    base_url = url.rstrip("/")
    try:
        # No proxies from the environment: the server is on this machine or named by the user.
        async with httpx.AsyncClient(
            base_url=base_url, headers=authorised(key), timeout=TIMEOUT, trust_env=False
        ) as client:
            yield client
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        msg = (
            f"--server {base_url!r} is no address of a server; one looks like http://127.0.0.1:8080"
        )
        raise ConfigurationError(msg) from error
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        msg = (
            f"The server at {base_url} cannot be reached ({why}). Start one with `signalbox serve`, or say with "
            "--server where it is."
        )
        raise ServerAwayError(msg) from error


def authorised(key: str | None) -> dict[str, str]:
    """Return the headers that show a key; raises `ConfigurationError` for what can be none."""
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError("SIGNALBOX_API_KEY: a key has visible ASCII characters only.")
    return {"authorization": f"Bearer {key}"}


def _own_url(settings: Settings) -> str:
    host = settings.host if settings.host not in {"0.0.0.0", "::", ""} else "127.0.0.1"  # noqa: S104 - read, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def fetched(answer: Awaitable[httpx.Response]) -> Any:  # noqa: ANN401 - JSON
    """Return the document of an answer; raises `RunFailedError` with what a refusal says."""
    response = await answer
    if response.is_success:
        return response.json()
    raise refused(response)


def refused(response: httpx.Response) -> RunFailedError:
    """Return what a refusal says, whose body has been read."""
    try:
        problem: dict[str, Any] = response.json()
        remedy = " SIGNALBOX_API_KEY names yours." if problem["code"] == "unauthenticated" else ""
        return RunFailedError(f"{problem['title']}: {problem['detail']}{remedy}")
    except (ValueError, KeyError, TypeError):
        return RunFailedError(f"The server answered HTTP {response.status_code}.")


async def read_to_end(
    client: httpx.AsyncClient, run_id: str, show: Show, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Show a run's events as they come until it has ended; return it. A stream that breaks off is taken up
    again behind the last event, and that is told; raises `httpx.HTTPError` where the server stays away."""
    last, failures = 0, 0
    while True:
        before = last
        try:
            async for event in events_of(client, run_id, after=last):
                last = event.get("seq") or last
                show(event)
        except httpx.TransportError:
            if last == before and failures + 1 >= MOST_FAILURES:
                raise  # says why nobody answers
        failures = 0 if last > before else failures + 1
        run = await _look(client, run_id)
        if run is not None and run["status"] in TERMINAL:
            return run
        if failures >= MOST_FAILURES:
            msg = f"The stream of {run_id} broke off {failures} times without anything new. The run may go on."
            raise ServerAwayError(msg)
        pause = min(LONGEST_PAUSE, 0.5 * 2**failures)
        tell("The stream broke off; it is taken up again.")
        await asyncio.sleep(pause)


async def _look(client: httpx.AsyncClient, run_id: str) -> dict[str, Any] | None:
    """Return the run, `None` where nobody answers at the moment."""
    try:
        run: dict[str, Any] = await fetched(client.get(f"/v1/runs/{run_id}"))
    except httpx.TransportError:
        return None
    return run


async def events_of(
    client: httpx.AsyncClient, run_id: str, *, after: int = 0
) -> AsyncIterator[dict[str, Any]]:
    """Yield a run's events as they come until the stream ends; raises `RunFailedError` where there is none."""
    headers = {"accept": "text/event-stream", "last-event-id": str(after)}
    async with client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
        if not response.is_success:
            await response.aread()
            raise refused(response)
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))
