"""Tavily's web search: with a key, else in its mode without one; whatever fails is said in a sentence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import httpx
from tavily import AsyncTavilyClient
from tavily.errors import (
    BadRequestError,
    ForbiddenError,
    InvalidAPIKeyError,
    TavilyKeylessLimitError,
    UsageLimitExceededError,
)
from tavily.errors import TimeoutError as TavilyTimeoutError
from typing_extensions import override

BASE_URL: Final = "https://api.tavily.com"
SEARCH_SECONDS: Final = 15.0
"""One search, all of it."""
CONNECT_SECONDS: Final = 4.0
PAUSE_SECONDS: Final = 60.0
"""After a search that got no answer, none is tried for so long: an offline machine waits once."""
MAX_ANSWER_BYTES: Final = 1_000_000

Mode = Literal["key", "keyless"]

_NO_RESULTS: Final = "the search service answered with something else than results."

_log = logging.getLogger("signalbox.search")


class WebHit(NamedTuple):
    """One result, as the service sent it."""

    title: str
    url: str
    text: str
    date: str
    """Empty where it is not known."""


class Searched(NamedTuple):
    """What a search found; `None` where it could not be made, and in `notes` why."""

    hits: list[WebHit] | None
    notes: list[str]


class _Failed(NamedTuple):
    """Why a search was not made, and what else cannot be tried for a while."""

    why: str
    pauses: Literal["nothing", "mode", "service"] = "nothing"


class _TooLongError(httpx.TransportError):
    """The answer is longer, or packed in another way, than an answer should be."""


@dataclass
class _Pause:
    """Until when something is not tried, and why."""

    until: float
    why: str


class TavilySearch:
    """Searches the web through Tavily, or another server that speaks its protocol."""

    def __init__(
        self,
        *,
        key: str | None = None,
        keyless: bool = True,
        base_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.modes: Final[tuple[Mode, ...]] = (
            *(("key",) if key else ()),
            *(("keyless",) if keyless else ()),
        )
        self._key: Final = key
        self._base_url: Final = base_url or BASE_URL
        self._clock: Final = clock
        self._clients: Final[dict[Mode, httpx.AsyncClient]] = {}
        self._opening: Final = asyncio.Lock()
        self._pauses: Final[dict[Mode, _Pause]] = {}

    async def search(self, query: str, limit: int) -> Searched:
        """Return what was found. Never raises for what a server or a network does."""
        notes: list[str] = []
        for mode in self.modes:
            paused = self._pauses.get(mode)
            if paused is not None and self._clock() < paused.until:
                found: list[WebHit] | _Failed = _Failed(paused.why)
            else:
                found = await self._try(mode, query, limit)
            if not isinstance(found, _Failed):
                return Searched(found, notes)
            self._note(mode, found)
            if found.why not in notes:
                notes.append(found.why)
        return Searched(None, notes)

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    def _note(self, mode: Mode, failed: _Failed) -> None:
        if failed.pauses == "nothing":
            return
        _log.warning(
            "The web could not be searched: %s",
            failed.why,
            extra={"action": "search_paused", "mode": mode},
        )
        pause = _Pause(self._clock() + PAUSE_SECONDS, failed.why)
        # One server answers both: where it is not reached, there is no use in knocking twice.
        for each in self.modes if failed.pauses == "service" else (mode,):
            self._pauses[each] = pause

    async def _try(self, mode: Mode, query: str, limit: int) -> list[WebHit] | _Failed:
        try:
            async with asyncio.timeout(SEARCH_SECONDS):
                client = await self._client(mode)
                answer: Any = await client.search(
                    query, max_results=limit, timeout=SEARCH_SECONDS, include_answer=False
                )
        except _TooLongError:
            return _Failed("the search service sent more than a search should.")
        except (TimeoutError, TavilyTimeoutError, httpx.TransportError):
            return _Failed("the search service could not be reached.", "service")
        except (TavilyKeylessLimitError, UsageLimitExceededError):
            return _Failed(_limited(mode), "mode")
        except (InvalidAPIKeyError, ForbiddenError) as error:
            return _refused(mode, error)
        except BadRequestError:
            return _Failed("the search service did not accept the query.")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return _Failed("the search service answered with an error.", "mode")
        except (AttributeError, TypeError):
            # The library takes it for granted that an answer is an object with a list in it.
            return _Failed(_NO_RESULTS, "mode")
        return _read(answer, limit)

    async def _client(self, mode: Mode) -> AsyncTavilyClient:
        async with self._opening:
            if mode not in self._clients:
                # The certificates are read from files.
                self._clients[mode] = await asyncio.to_thread(_open_client, mode)
        # An empty key, unlike none, is not looked up in the environment.
        key = (self._key or "") if mode == "key" else ""
        return AsyncTavilyClient(
            api_key=key,
            api_base_url=self._base_url,
            client=self._clients[mode],
            client_source="signalbox",
        )


class _Bounded(httpx.AsyncBaseTransport):
    """A transport that connects or gives up soon, and lets no answer grow without end."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {**timeouts, "connect": CONNECT_SECONDS}
        response = await self._inner.handle_async_request(request)
        stream = response.stream
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise _TooLongError("packed")
        if isinstance(stream, httpx.AsyncByteStream):
            response.stream = _Counted(stream)
        return response

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise _TooLongError("too long")
            yield part

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


def _open_client(mode: Mode) -> httpx.AsyncClient:
    headers = {"accept-encoding": "identity"}
    if mode == "keyless":
        # The library says so only with a client of its own, which would follow proxies and read any length.
        headers["x-tavily-access-mode"] = "keyless"
    return httpx.AsyncClient(
        transport=_Bounded(httpx.AsyncHTTPTransport(trust_env=False)),
        headers=headers,
        trust_env=False,
    )


def _limited(mode: Mode) -> str:
    if mode == "key":
        return "the search service's limit for TAVILY_API_KEY is reached."
    return (
        "the search service's limit for searches without a key is reached; TAVILY_API_KEY sets one."
    )


def _refused(mode: Mode, error: InvalidAPIKeyError | ForbiddenError) -> _Failed:
    if mode == "keyless":
        return _Failed("the search service does not answer without a key.", "mode")
    if isinstance(error, ForbiddenError):
        return _Failed("the search service refuses TAVILY_API_KEY, or its plan is used up.", "mode")
    return _Failed("the search service does not know the key in TAVILY_API_KEY.")


def _read(answer: object, limit: int) -> list[WebHit] | _Failed:
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        return _Failed(_NO_RESULTS, "mode")
    hits = [
        WebHit(
            title=_text(one.get("title")),
            url=_text(one.get("url")),
            text=_text(one.get("content")),
            date=_text(one.get("published_date")),
        )
        for one in results[:limit]
        if isinstance(one, dict)
    ]
    return [hit for hit in hits if hit.url]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
