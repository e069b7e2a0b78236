"""The connections of a client: of one process and, where it awaits, of one loop. Elsewhere others are opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

import httpx

from signalbox.errors import ConfigurationError

SHOWN_KEY: Final = "The API key goes to {} as it is: whoever carries it can read it. Use https."

_OWN_NAMES: Final = (".internal", ".local", ".localhost", ".lan", ".home.arpa", ".svc")


NO_PROXY: Final = (ValueError, ImportError, httpx.InvalidURL)
"""What httpx raises where a proxy of the environment has a scheme that it does not know."""


class _OfOneProcess:
    """What cannot be handed to another process, and tells its key to none."""

    def __reduce__(self) -> NoReturn:
        msg = "A client is of one process. Make another one there."
        raise TypeError(msg)


class Connections(_OfOneProcess):
    """Connections of a client that waits; its threads share them."""

    def __init__(self, url: httpx.URL, given: httpx.Client | None) -> None:
        self._given: Final = given
        self._options: Final = options_for(url)
        self._closed = False
        self._of_processes: dict[int, httpx.Client] = {}
        if given is None:
            self.http()

    def http(self) -> httpx.Client:
        """Return those of this process; raises `ConfigurationError` where they are closed."""
        if self._closed or (self._given and self._given.is_closed):
            raise _closed()
        if self._given:
            return self._given
        # After a fork both processes would read from one connection, each what the other was answered.
        found = self._of_processes.get(os.getpid())
        return found or self._of_processes.setdefault(os.getpid(), self._opened())

    def _opened(self) -> httpx.Client:
        try:
            return httpx.Client(**self._options)
        except NO_PROXY as error:
            raise bad_proxy(error) from None

    def close(self) -> None:
        """Close them; the user's own stay open."""
        self._closed = True
        own = self._of_processes.pop(os.getpid(), None)
        if own:
            own.close()


class AsyncConnections(_OfOneProcess):
    """Connections of a client that awaits."""

    def __init__(self, url: httpx.URL, given: httpx.AsyncClient | None) -> None:
        self._given: Final = given
        self._options: Final = options_for(url)
        self._closed = False
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            WeakKeyDictionary()
        )

    def http(self) -> httpx.AsyncClient:
        """Return those of the running loop; raises `ConfigurationError` where they are closed."""
        if self._closed or (self._given and self._given.is_closed):
            raise _closed()
        if self._given:
            return self._given
        # A connection of another loop cannot be used, and where that has ended not even closed.
        loop = asyncio.get_running_loop()
        found = self._of_loops.get(loop)
        return found or self._of_loops.setdefault(loop, self._opened())

    def _opened(self) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(**self._options)
        except NO_PROXY as error:
            raise bad_proxy(error) from None

    async def aclose(self) -> None:
        """Close those of the running loop; the user's own stay open."""
        self._closed = True
        own = self._of_loops.pop(asyncio.get_running_loop(), None)
        if own:
            await own.aclose()


def options_for(url: httpx.URL) -> Mapping[str, Any]:
    """Return what httpx is told about a server: proxies of the environment are meant for those elsewhere."""
    # Certificates are read from a file, which takes a while: not where none is ever looked at.
    elsewhere = not is_here(url.host)
    return {"trust_env": elsewhere, "verify": elsewhere or url.scheme == "https"}


def bad_proxy(error: Exception) -> ConfigurationError:
    """Return what is raised where a proxy cannot be one."""
    # What it is called may have a password in it.
    kind = type(error).__name__
    msg = f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is no proxy that can be used ({kind}). Mend or unset it."
    return ConfigurationError(msg)


def is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shows_key(url: httpx.URL) -> bool:
    """Return whether a key goes there as it is, over networks that are perhaps somebody else's."""
    if url.scheme == "https" or is_here(url.host):
        return False
    try:
        return not ip_address(url.host).is_private
    except ValueError:
        # A name without a dot, or with one of these ends, is given out by a network of one's own.
        return "." in url.host and not url.host.endswith(_OWN_NAMES)


def _closed() -> ConfigurationError:
    return ConfigurationError("This client is closed. Make another one.")
