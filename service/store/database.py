"""Runs a piece of work against the database, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.engine import BEGIN_OPTION

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """An engine and the two ways of using it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{BEGIN_OPTION: ""})
        # SQLite has one writer. Waiting here is fair and costs nothing; waiting in the file's lock
        # is polling, and holds a connection meanwhile.
        self._turn: AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        )

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in a transaction that may write; an exception undoes all of it."""
        async with self._turn, self.engine.connect() as connection:
            return await connection.run_sync(_in_transaction, work, *args, **kwargs)

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do work that only reads; each statement sees what is committed when it starts."""
        async with self._reader.connect() as connection:
            return await connection.run_sync(work, *args, **kwargs)


def _in_transaction(
    connection: Connection,
    work: Callable[Concatenate[Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    with connection.begin():
        return work(connection, *args, **kwargs)
