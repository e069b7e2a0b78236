"""Who may use a Postgres: one process that executes runs by itself, or all those of the queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, LiteralString, Self

from psycopg import AsyncConnection as Driver
from psycopg import Error as DriverError

from domain.addresses import shown_url
from domain.errors import ConfigurationError, DatabaseInUseError
from service.store.ownership import Ownership
from service.store.postgres import connect

GRACE_SECONDS: Final = 1.0
"""How long a lock is waited for: that of a process that was just killed takes a moment to go."""
CHECK_SECONDS: Final = 5.0
"""How often the connection that holds the lock is looked at, and how long one look may take."""
RETAKE_PAUSE: Final = 1.0  # seconds
UPGRADE_SECONDS: Final = 60.0
"""How long an upgrade waits for another one."""

# Advisory locks are numbers that a database's users agree on.
_OWNER_LOCK: Final = 0x7369676E616C
_UPGRADE_LOCK: Final = 0x7369676E6275
_PAUSE: Final = 0.05  # seconds
_TAKE: Final[dict[Ownership, LiteralString]] = {
    "alone": "SELECT pg_try_advisory_lock(%s)",
    "shared": "SELECT pg_try_advisory_lock_shared(%s)",
}
_HOLDER: Final = """
    SELECT coalesce(host(client_addr), 'this machine'), pid
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
    AND (classid::bigint << 32) + objid::bigint = %s AND objsubid = 1
    LIMIT 1
"""

_log = logging.getLogger("signalbox.store")


class LockOwner:
    """The right to use a Postgres, held by a connection of its own until `release`.

    The server frees the lock of a connection that ends, so a killed process frees it. A lock that
    is lost with its connection is taken again; until then each run's claim still has one owner,
    because every write names its attempt.
    """

    def __init__(self, url: str, ownership: Ownership) -> None:
        self._url = url
        self._ownership = ownership
        self._connection: Driver[Any] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def take(self) -> Self:
        """Take the database, or raise `DatabaseInUseError` where it is taken."""
        self._connection = await self._open(GRACE_SECONDS)
        self._watch = asyncio.create_task(self._keep(), name="database lock")
        return self

    async def release(self) -> None:
        """Give the database back."""
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._drop()

    async def _open(self, seconds: float) -> Driver[Any]:
        connection = await connect(self._url)
        try:
            await self._lock(connection, seconds)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _lock(self, connection: Driver[Any], seconds: float) -> None:
        if not await _try_lock(connection, _TAKE[self._ownership], _OWNER_LOCK, seconds):
            raise await self._refusal(connection)

    async def _refusal(self, connection: Driver[Any]) -> DatabaseInUseError:
        cursor = await connection.execute(_HOLDER, (_OWNER_LOCK,))
        row = await cursor.fetchone()
        where = f" ({row[0]}, connection {row[1]})" if row else ""
        shown = shown_url(self._url)
        if self._ownership == "shared":
            return DatabaseInUseError(
                f"The database {shown!r} is in use by a process that executes runs by itself{where}; "
                "stop it, or set SIGNALBOX_DISPATCH=queue for it too"
            )
        return DatabaseInUseError(
            f"The database {shown!r} is in use by another process{where}; stop it, send runs to it "
            "with `signalbox run --server`, or set SIGNALBOX_DISPATCH=queue for all of them"
        )

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(DriverError, TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                # Closing frees it too, but a moment later.
                await connection.execute("SELECT pg_advisory_unlock_all()")
        await connection.close()

    async def _keep(self) -> None:
        """Look after the lock for as long as the process has the database open."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    if self._connection:
                        await self._connection.execute("SELECT 1")
            except (DriverError, TimeoutError) as error:
                _log.warning(
                    "The lock on the database was lost and is taken again: %s",
                    error,
                    extra={"action": "database_lock_lost"},
                )
                await self._drop()
                await self._retake()

    async def _retake(self) -> None:
        said = ""
        while self._connection is None:
            try:
                self._connection = await self._open(0)
            except (ConfigurationError, DriverError) as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("%s", said, extra={"action": "database_lock_missing"})
                await asyncio.sleep(RETAKE_PAUSE)
        _log.info("The lock on the database is held again.", extra={"action": "database_lock_held"})


@asynccontextmanager
async def only_upgrade(connection: Driver[Any]) -> AsyncIterator[None]:
    """Keep other upgrades out; they wait."""
    take = _TAKE["alone"]
    # Not by waiting in the server: a statement that waits there stops CREATE INDEX CONCURRENTLY.
    if not await _try_lock(connection, take, _UPGRADE_LOCK, UPGRADE_SECONDS):
        msg = (
            f"another `signalbox db upgrade` has been at this database for {UPGRADE_SECONDS:.0f} s; "
            "wait for it, or stop it and try again"
        )
        raise DatabaseInUseError(msg)
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_UPGRADE_LOCK,))


async def _try_lock(connection: Driver[Any], take: LiteralString, key: int, seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        cursor = await connection.execute(take, (key,))
        row = await cursor.fetchone()
        if row == (True,):
            return True
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_PAUSE)
