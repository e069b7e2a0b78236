"""The jobs of the queue: one row in Postgres for every segment that is to be executed."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, Final, cast

import psycopg
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job, JobInserted, Status
from procrastinate.manager import JobManager, NotificationCallback
from sqlalchemy import Connection

from domain.ports import RunRef
from domain.run import Engine
from monitoring.logs import Seldom
from service.store.watch import engine_of

QUEUES: Final[dict[Engine, str]] = {"model": "runs", "offline": "runs-offline"}
"""A queue for each engine: a process that has no model must not be handed a model's runs, nor the
other way round; it could only end them."""

SEGMENT: Final = "signalbox.segment"
"""The task's name in the database: workers of another version have to know it."""

FETCH_SECONDS: Final = 1.0
"""How often a worker looks for jobs unasked: one that is tried again does not announce itself."""
ABORT_SECONDS: Final = 3600.0
"""How often procrastinate's own cancellations are looked for: ours are rows of `runs`."""
HEARTBEAT_SECONDS: Final = 0.5
"""How often a worker gives a sign of life at least. Not by its own `takeover_seconds` alone: whoever
watches it may have a shorter one."""
HEARTBEATS: Final = 4
"""Signs of life within the time after which its runs are taken over."""
STALLED_SECONDS: Final = 60.0
"""How long the row of a silent worker stays at least: without it all it works on counts as left."""
AGAIN_SECONDS: Final = 2.0
"""Pause before a segment that could not even be recorded is tried again."""
LONGEST_AGAIN_SECONDS: Final = 300.0
"""`AGAIN_SECONDS` doubles with every try up to this: each try may pay for model calls again."""
SAY_SECONDS: Final = 30.0
"""How often at most the log says that the database is away."""
CONNECT_SECONDS: Final = 10.0
"""How long the queue waits for a connection of its own."""

_log = logging.getLogger("signalbox.queue")

Work = Callable[[RunRef], Awaitable[None]]

# It says at every job what our own log says with more sense.
logging.getLogger("procrastinate").setLevel(logging.ERROR)


class SegmentQueue:
    """Puts jobs into Postgres and, in a worker, takes them out.

    A job's lock is its run: the queue never gives two workers jobs of one run, unless one of them
    has shown no sign of life. That alone decides who may claim a run.
    """

    def __init__(
        self, conninfo: str, *, engine: Engine, pool_size: int, takeover_seconds: float
    ) -> None:
        self.engine: Final[Engine] = engine
        self.name: Final = QUEUES[engine]
        self.takeover_seconds: Final = takeover_seconds
        self._work: Work | None = None
        self._app = App(
            connector=PsycopgConnector(
                conninfo=conninfo, min_size=1, max_size=pool_size, timeout=CONNECT_SECONDS
            )
        )
        self._manager = _PatientManager(self._app.connector)
        self._app.job_manager = self._manager
        self._app.task(name=SEGMENT, retry=_Again())(self._segment)

    async def _segment(self, tenant_id: str, run_id: str, **_of_a_newer_version: Any) -> None:
        if self._work is None:
            msg = "this process puts jobs into the queue and takes none out"
            raise RuntimeError(msg)
        await self._work(RunRef(tenant_id, run_id))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep the queue's own connections open for as long as the context lasts."""
        async with self._app.open_async():
            yield

    def put(self, connection: Connection, ref: RunRef) -> None:
        """Put a job into the transaction of a connection: it is there when what it is for is."""
        queue = QUEUES[engine_of(connection, ref)]

        async def put(driver: Any) -> None:  # noqa: ANN401 - the driver's own connection
            entry = self._app.configure_task(
                SEGMENT, queue=queue, lock=ref.run_id, connection=driver
            )
            await entry.defer_async(tenant_id=ref.tenant_id, run_id=ref.run_id)

        driver = cast("Any", connection.connection.dbapi_connection)
        driver.run_async(put)

    async def put_now(self, ref: RunRef, *, queue: str | None = None) -> None:
        """Put a job into a queue, our own where none is named, in a transaction of its own."""
        queue = queue or self.name
        entry = self._app.configure_task(SEGMENT, queue=queue, lock=ref.run_id)
        await entry.defer_async(tenant_id=ref.tenant_id, run_id=ref.run_id)

    def look_again_after(self, ref: RunRef) -> None:
        """Have the worker look for more at the end of the run's entry: another one of it may be there.

        The queue hands out one entry of a run at a time, and does not announce the next one again."""
        self._manager.look_again.add(ref.run_id)

    async def work(self, work: Work, *, concurrency: int, grace_seconds: float) -> None:
        """Take jobs out until cancelled; then wait for those that run, at most `grace_seconds`."""
        self._work = work
        await self._app.run_worker_async(
            queues=[self.name],
            name="signalbox",
            concurrency=concurrency,
            fetch_job_polling_interval=FETCH_SECONDS,
            abort_job_polling_interval=ABORT_SECONDS,
            shutdown_graceful_timeout=grace_seconds,
            delete_jobs=DeleteJobCondition.ALWAYS,
            install_signal_handlers=False,
            update_heartbeat_interval=min(self.takeover_seconds / HEARTBEATS, HEARTBEAT_SECONDS),
            stalled_worker_timeout=max(self.takeover_seconds * 2, STALLED_SECONDS),
        )

    async def take_over(self) -> int:
        """Put the jobs of workers that show no sign of life back into the queue; return how many.

        As new jobs: a worker that was only frozen ends its old one, which is no longer there, and
        not the one that another worker has by then.
        """
        manager = self._app.job_manager
        stalled = await manager.get_stalled_jobs(
            task_name=SEGMENT, seconds_since_heartbeat=self.takeover_seconds
        )
        count = 0
        for job in stalled:
            if await self._end(job):
                ref = RunRef(str(job.task_kwargs["tenant_id"]), str(job.lock))
                await self.put_now(ref, queue=job.queue)
                count += 1
        return count

    async def _end(self, entry: Job) -> bool:
        """End a job; return whether it was still there: another process may have been quicker."""
        try:
            await self._app.job_manager.finish_job_by_id_async(
                cast("int", entry.id), status=Status.FAILED, delete_job=True
            )
        except ConnectorException as error:
            if _is_away(error):
                raise
            return False
        return True


class _PatientManager(JobManager):
    """Procrastinate's work on its tables, so that a worker outlives a database that is away.

    As it is, a worker stops at the first statement that fails, waits for its segments, and a job whose
    end could not be written stays begun for as long as the worker lives.
    """

    def __init__(self, connector: BaseConnector) -> None:
        super().__init__(connector)
        self._seldom = Seldom(SAY_SECONDS)
        self._notify: NotificationCallback | None = None
        self._seen_at = -math.inf
        self.look_again: set[str] = set()
        """Locks at whose release there may be something to fetch."""

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Return a job, or `None` where there is none that can be had now.

        After a silence, the database's or one's own, a sign of life comes first: a job of a worker that
        seems dead is given to another one at once, and two would be at it."""
        try:
            if perf_counter() - self._seen_at > HEARTBEAT_SECONDS:
                await self._give_sign(worker_id)
            return await super().fetch_job(queues, worker_id)
        except ConnectorException as error:
            if not _is_away(error):
                raise  # the worker's own row is gone, say: it has to start again
            self._say_away("take jobs")
            return None

    async def update_heartbeat(self, worker_id: int) -> None:
        """Give a sign of life, if there is anybody to give it to."""
        try:
            await self._give_sign(worker_id)
        except ConnectorException as error:
            if not _is_away(error):
                raise
            self._say_away("give a sign of life")

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen for new jobs, again and again."""
        self._notify = on_notification
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=queues)
            except ConnectorException:
                self._say_away("listen for jobs")
            await asyncio.sleep(FETCH_SECONDS)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001 - the base class's signature
        """End a job, as soon as that can be written."""
        await self._insist(partial(super().finish_job, job, status, delete_job))
        if job.lock in self.look_again:
            self.look_again.discard(job.lock)
            if self._notify:
                again = JobInserted(type="job_inserted", job_id=job.id or 0)
                await self._notify(channel="", notification=again)

    async def retry_job(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Put a job back to be tried again, as soon as that can be written."""
        await self._insist(partial(super().retry_job, job, *args, **kwargs))

    async def _give_sign(self, worker_id: int) -> None:
        before = perf_counter()
        await super().update_heartbeat(worker_id)
        self._seen_at = before

    def _say_away(self, what: str) -> None:
        if self._seldom.is_due(what):
            _log.warning("The database is away; cannot %s.", what, extra={"action": "queue_away"})

    async def _insist(self, write: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await write()
            except ConnectorException as error:
                if not _is_away(error):
                    return None  # it was taken over while this process showed no sign of life
                self._say_away("end a job")
            await asyncio.sleep(FETCH_SECONDS)


def _is_away(error: ConnectorException) -> bool:
    """Return whether the database could not be reached, rather than refused what it was told."""
    away = (psycopg.OperationalError, psycopg.InternalError, psycopg.InterfaceError)
    return isinstance(error.__cause__, away) and not isinstance(
        error.__cause__, psycopg.errors.RaiseException
    )


class _Again(BaseRetryStrategy):
    """Tries a segment again that could not be recorded, ever more seldom, and for ever."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when; never for one that was stopped, which is handed back as a new job."""
        if isinstance(exception, asyncio.CancelledError):
            return None
        pause = min(AGAIN_SECONDS * 2 ** min(job.attempts, 10), LONGEST_AGAIN_SECONDS)
        return RetryDecision(retry_in={"seconds": int(pause)})
