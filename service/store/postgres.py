"""A Postgres server as the store's database, for any number of processes."""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Concatenate, Final

from psycopg import AsyncConnection as Driver
from psycopg import Error as DriverError
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.addresses import shown_url
from domain.errors import ConfigurationError
from service.store.columns import to_json
from service.store.database import P, T

CONNECT_SECONDS: Final = 5
RECONNECT_SECONDS: Final = 5.0
"""How long a piece of work waits for a server that is restarting."""
POOL_SECONDS: Final = 10.0
"""How long a piece of work waits for a connection that others have."""

TRANSACTION_SECONDS: Final = 30
"""How long a transaction may take: one of a process that was frozen amid statements it sends together does not
count as idle, and would keep its locks."""
_BOUNDED_SINCE: Final = 170_000
"""The first version of the server that can be told so."""

_RETRY_PAUSE: Final = 0.1  # seconds

_log = logging.getLogger("signalbox.store")

# The server ends the transaction of a process that is frozen, so that its locks block nobody, and
# forgets a machine that is gone. Sent when connecting: that costs no statement.
_OPTIONS: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        # What takes turns rests on it: a claim has to see what was committed while it waited.
        "default_transaction_isolation": r"read\ committed",
        "idle_in_transaction_session_timeout": "5s",
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
    }.items()
)
_READ_ONLY: Final = " -c default_transaction_read_only=on"
_DEFAULTS: Final[dict[str, str | int]] = {
    "application_name": "signalbox",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}


def conninfo(url: str) -> str:
    """Return what libpq, and so every pool of psycopg, takes for a `postgresql://` URL.

    What the URL itself sets wins over what is set here for every connection.
    """
    try:
        given: dict[str, Any] = conninfo_to_dict(url)
    except ProgrammingError:
        given = {"dbname": "?@"}
    # An unescaped password ends up in pieces elsewhere; the driver's messages would show them.
    if any("@" in str(given.get(name, ""))[1:] for name in ("dbname", "host", "port")):
        msg = (
            f"SIGNALBOX_DATABASE_URL is {shown_url(url)!r}, which cannot be read; write it as "
            "postgresql://user:password@host:5432/name, with %40 for @ and %2F for / in a password"
        )
        raise ConfigurationError(msg) from None
    options = f"{_OPTIONS} {given.pop('options', '')}".strip()
    return make_conninfo(**{**_DEFAULTS, **given, "options": options})


async def connect(url: str) -> Driver[Any]:
    """Return a connection of its own in autocommit; raises `ConfigurationError` in one line."""
    try:
        connection = await Driver.connect(conninfo(url), autocommit=True)
    except DriverError as error:
        raise unusable(url, one_line(error), _remedy(str(error))) from None
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        await connection.close()
        remedy = "make one with `createdb --encoding=UTF8 --template=template0`"
        raise unusable(url, f"its encoding is {encoding}", remedy)
    return connection


async def bound_transactions(connection: Driver[Any]) -> None:
    """Have the server end a session whose transaction takes too long, where it knows how."""
    if connection.info.server_version >= _BOUNDED_SINCE:
        await connection.execute(f"SET transaction_timeout = '{TRANSACTION_SECONDS}s'")


def unusable(url: str, reason: str, remedy: str) -> ConfigurationError:
    """Return the error, in one line, of a database that cannot be used."""
    msg = f"SIGNALBOX_DATABASE_URL is {shown_url(url)!r}, which cannot be used ({reason}); {remedy}"
    return ConfigurationError(msg)


def one_line(error: BaseException) -> str:
    """Return what an error of the driver says, in one line."""
    return " ".join(str(error).split())[:300]


def _remedy(reason: str) -> str:
    if "authentication failed" in reason or "no password supplied" in reason:
        return "correct the user and the password in it"
    if "database" in reason and "does not exist" in reason:
        return "make the database with `createdb`, or correct the name in it"
    if "does not exist" in reason:
        return "correct the user in it"
    if "connection slots" in reason or "too many" in reason:
        return "raise max_connections of the server, or lower SIGNALBOX_DATABASE_POOL"
    return "start the server, or correct the host and the port in it"


class PostgresDatabase:
    """A Postgres: a pool of connections that write, and beside it one of connections that read.

    Readers start no transaction: a read is one exchange with the server instead of three, and never
    waits for a connection behind writers. Both pools together hold `pool_size` connections.
    A caller that is cancelled meanwhile leaves a transaction that is done or undone as a whole.
    `bounded`: no transaction takes longer than `TRANSACTION_SECONDS`, as that of an upgrade may.
    """

    def __init__(self, url: str, *, pool_size: int = 10, bounded: bool = True) -> None:
        info = conninfo(url)
        options = conninfo_to_dict(info)["options"]
        readers = max(1, pool_size // 3)
        self.conninfo: Final = info
        """What a pool of psycopg takes to reach the same database."""
        self._writers = _make_engine(info, max(1, pool_size - readers), bounded=bounded)
        self._readers = _make_engine(
            make_conninfo(info, options=f"{options}{_READ_ONLY}"),
            readers,
            isolation_level="AUTOCOMMIT",
        )

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in a transaction that may write; an exception undoes all of it."""
        return await _transact(self._writers, work, *args, **kwargs)

    async def write_through(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same, and wait for the disk also where the server is set not to."""
        return await _transact(self._writers, partial(_synchronous, work), *args, **kwargs)

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do work that only reads; each statement sees what is committed when it starts."""
        return await _transact(self._readers, work, *args, **kwargs)

    async def close(self) -> None:
        """Close the connections."""
        await self._writers.dispose()
        await self._readers.dispose()


class _UndoneError(OperationalError):
    """The connection was lost in a transaction that was not to be committed yet."""


async def _transact(
    engine: AsyncEngine,
    work: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    try:
        return await _attempt(engine, work, *args, **kwargs)
    except _UndoneError as error:
        _log.warning(
            "The connection to the database was lost; the transaction is done again: %s",
            error.orig,
            extra={"action": "transaction_repeated"},
        )
    return await _attempt(engine, work, *args, **kwargs)


def _synchronous(
    work: Callable[Concatenate[Connection, P], T],
    connection: Connection,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
    return work(connection, *args, **kwargs)


async def _attempt(
    engine: AsyncEngine,
    work: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    async with _connected(engine) as connection, connection.begin():
        try:
            return await connection.run_sync(work, *args, **kwargs)
        except DBAPIError as error:
            if not error.connection_invalidated or error.orig is None:
                raise
            # The COMMIT was not sent: nothing of it stands, so all of it may be done again.
            raise _UndoneError(
                error.statement,
                None,
                error.orig,
                hide_parameters=True,
                connection_invalidated=True,
            ) from error


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection; a server that is restarting is waited for."""
    async with AsyncExitStack() as stack:
        yield await _enter(stack, engine)


async def _enter(stack: AsyncExitStack, engine: AsyncEngine) -> AsyncConnection:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RECONNECT_SECONDS
    while True:
        try:
            return await stack.enter_async_context(engine.connect())
        except OperationalError:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(_RETRY_PAUSE)


def _make_engine(info: str, size: int, *, bounded: bool = False, **options: Any) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=partial(_open, info, bounded=bounded),
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        # A failing statement would put its values, tasks among them, into the log.
        hide_parameters=True,
        json_serializer=to_json,
        **options,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


async def _open(info: str, *, bounded: bool) -> Driver[Any]:
    """Connect; where the caller is cancelled meanwhile, the connection is closed once it is there.

    A connection in the making that is merely dropped stays open until garbage is collected.
    """
    opening = asyncio.create_task(_prepared(info, bounded=bounded), name="database connection")
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unused)
        raise


async def _prepared(info: str, *, bounded: bool) -> Driver[Any]:
    connection = await Driver.connect(info)
    if bounded:
        try:
            await bound_transactions(connection)
            await connection.commit()
        except BaseException:
            connection.pgconn.finish()
            raise
    return connection


def _close_unused(opening: asyncio.Task[Driver[Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().pgconn.finish()


def _refuse_closed(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Have a connection replaced that the server has closed.

    An idle connection has something to read only where it has been closed. To ask the server
    instead would be one more exchange for every transaction.
    """
    driver: Driver[Any] = connection.driver_connection
    poll = select.poll()
    if not driver.closed:
        poll.register(driver.fileno(), select.POLLIN)
    if driver.closed or poll.poll(0):
        msg = "the server has closed this connection"
        raise DisconnectionError(msg)
