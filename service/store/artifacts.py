"""The statements about artifacts, and the store over them. The files themselves are on the run's shelf."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Integer, RowMapping, bindparam, select, update

from domain.artifact import Artifact
from domain.events import EventDraft
from domain.ports import RunRef
from domain.run import RunResult
from service.store.conflicts import replace_artifacts
from service.store.database import Database
from service.store.naming import THE_RUN, named
from service.store.rows import artifact_from, artifact_row
from service.store.tables import artifacts, runs

_OF_RUN: Final = select(artifacts).where(
    artifacts.c.run_id == bindparam("run"), artifacts.c.tenant_id == bindparam("tenant")
)
_NAMED: Final = _OF_RUN.where(artifacts.c.name == bindparam("named"))
_COUNT: Final = (
    update(runs)
    .where(*THE_RUN)
    .values(artifacts=runs.c.artifacts + bindparam("more", type_=Integer))
)
_TELL: Final = update(runs).where(*THE_RUN).values(result=bindparam("came_to")).returning(*runs.c)


def keep(
    connection: Connection, ref: RunRef, drafts: Sequence[EventDraft], now: datetime
) -> list[str]:
    """Write down the artifacts of which events tell; return their names.

    The caller holds the run's row, so the last one to write is the last one in the log as well.
    """
    rows = {
        draft.data["artifact"]["name"]: artifact_row(ref, draft, now)
        for draft in drafts
        if draft.type == "artifact.created"
    }
    if rows:
        replace_artifacts(connection, list(rows.values()))
        connection.execute(_COUNT, {**named(ref), "more": len(rows)})
    return list(rows)


def tell(
    connection: Connection,
    ref: RunRef,
    ended: RowMapping,
    drafts: Sequence[EventDraft],
    now: datetime,
) -> RowMapping:
    """Put a run's artifacts, those of its last events too, into the result that it has just ended with.

    `ended`: its row, which is returned as it is where the run has none. Where there is no other result,
    the artifacts are one.
    """
    if not keep(connection, ref, drafts, now) and not ended["artifacts"]:
        return ended
    result = ended["result"] or RunResult(output="").model_dump(mode="json")
    came_to = {**result, "artifacts": of_run(connection, ref)}
    return connection.execute(_TELL, {**named(ref), "came_to": came_to}).mappings().one()


def of_run(connection: Connection, ref: RunRef) -> list[Artifact]:
    """Return a run's artifacts by name."""
    found = connection.execute(_OF_RUN, named(ref)).mappings()
    # Not by the database, of which each has an order of its own.
    return sorted((artifact_from(row) for row in found), key=lambda artifact: artifact["name"])


def find(connection: Connection, ref: RunRef, name: str) -> Artifact | None:
    """Return one artifact of a run."""
    found = connection.execute(_NAMED, {**named(ref), "named": name}).mappings().one_or_none()
    return None if found is None else artifact_from(found)


class SqlArtifactStore:
    """`domain.ports.ArtifactStore` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_run(self, ref: RunRef) -> list[Artifact]:
        """Return a run's artifacts by name."""
        return await self._database.read(of_run, ref)

    async def find(self, ref: RunRef, name: str) -> Artifact | None:
        """Return one artifact of a run, or `None`."""
        return await self._database.read(find, ref, name)
