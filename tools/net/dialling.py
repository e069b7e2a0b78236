"""The way from a host's name to a connection: looked up once, checked, and connected to as checked.

Whoever answers for the name cannot answer otherwise the second time, for there is none.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Final

import httpcore

from domain.errors import ToolFailedError
from tools.net.addresses import NotPublicError, is_public, refuse_private
from tools.net.targets import spell_address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a name, for a port. Raises `OSError` where there are none."""

LOOKUPS: Final = 8
"""Names that are looked up at the same time; a name server that never answers holds up no others."""

MAX_ADDRESSES: Final = 4
"""Of one name that are tried."""


@cache
def _lookups() -> ThreadPoolExecutor:
    # Not the loop's own threads: files wait for those.
    return ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")


async def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system knows for a name. Raises `OSError`."""
    found = await asyncio.get_running_loop().run_in_executor(
        _lookups(), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return [str(each[4][0]) for each in found]


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses, and to whatever the operator vouches for.

    It has no way to the Unix sockets of this machine.
    """

    def __init__(self, vouched: Collection[str], resolve: Resolve) -> None:
        self._vouched = vouched
        self._resolve = resolve
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers; refuse it if one of them is not public."""
        failure: Exception = httpcore.ConnectError("The name has no address.")
        try:
            async with asyncio.timeout(timeout):
                for address in await self._addresses(host, port):
                    try:
                        return await self._plain.connect_tcp(
                            address, port, timeout, local_address, socket_options
                        )
                    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                        failure = error
        except TimeoutError:
            failure = httpcore.ConnectTimeout("No address of the host answered in time.")
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore does between tries."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses to try. Raises `NotPublicError` where one of them is none that may be."""
        vouched = spell_address(host, port) in self._vouched
        if not vouched:
            refuse_private(host, port)
        with suppress(ValueError):
            return [ipaddress.ip_address(host).compressed]
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):
            message = f"No address could be found for {host}; nothing was sent."
            raise ToolFailedError(message) from None
        if not vouched and not all(is_public(each) for each in found):
            # Which address it is stays here: it would tell of the network behind this server.
            message = (
                f"{host} leads to an address that is not public; nothing was connected and nothing "
                "was sent. Take another host."
            )
            raise NotPublicError(message)
        return found[:MAX_ADDRESSES]
