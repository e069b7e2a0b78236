"""The statements about feedback, and the store over them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select

from domain.errors import CallerError
from domain.feedback import MOST_OF_A_RUN, Feedback, Given
from domain.ports import IdempotencyKey, RunRef
from service.store import keys
from service.store.actions import hold
from service.store.database import Database
from service.store.naming import named
from service.store.tables import feedback

_OF_RUN: Final = select(feedback).where(
    feedback.c.run_id == bindparam("run"), feedback.c.tenant_id == bindparam("tenant")
)
_PAGE: Final = (
    _OF_RUN.where(feedback.c.id > bindparam("after", type_=feedback.c.id.type))
    .order_by(feedback.c.id)
    .limit(bindparam("most"))
)
_SENT_WITH: Final = (
    _OF_RUN.where(feedback.c.sent_with == bindparam("of_request"))
    # The same key may have come again after its time.
    .order_by(feedback.c.id.desc())
    .limit(1)
)
_COUNT: Final = select(func.count()).where(
    feedback.c.run_id == bindparam("run"), feedback.c.tenant_id == bindparam("tenant")
)


class SqlFeedbackStore:
    """Keeps what callers think of runs; it goes with its run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, new: Feedback, *, idempotency: IdempotencyKey | None) -> Given:
        """Keep a piece, once for each key; raises `CallerError` where the run is gone or has too much."""
        return await self._database.write(add, new, idempotency)

    async def of_run(self, ref: RunRef, *, after: str, limit: int) -> list[Feedback]:
        """Return pieces of feedback on a run, in the order of their ids."""
        return await self._database.read(_page, ref, after, limit)


def add(connection: Connection, new: Feedback, key: IdempotencyKey | None) -> Given:
    """Insert a piece, or find the one that an earlier request has made."""
    ref = RunRef(new.tenant_id, new.run_id)
    # Held, so that of requests at once no two see the same number of pieces.
    if hold(connection, ref) is None:
        raise CallerError("not-found", f"The run {new.run_id!r} is not there any more.")
    if key is not None and not keys.take(connection, ref, key, new.created_at):
        keys.check_key(connection, ref.tenant_id, key)
        made = connection.execute(_SENT_WITH, {**named(ref), "of_request": key.key})
        return Given(_feedback_from(made.mappings().one()), replayed=True)
    if connection.execute(_COUNT, named(ref)).scalar_one() >= MOST_OF_A_RUN:
        msg = f"The run {new.run_id} has {MOST_OF_A_RUN} pieces of feedback, and may not have more."
        raise CallerError("validation-error", msg, run_id=new.run_id)
    row: dict[str, Any] = {
        "id": new.id,
        "run_id": new.run_id,
        "tenant_id": new.tenant_id,
        "key": new.key,
        "score": new.score,
        "comment": new.comment,
        "caller_id": new.by,
        "sent_with": key.key if key else None,
        "created_at": new.created_at,
    }
    connection.execute(insert(feedback), row)
    return Given(new, replayed=False)


def _page(connection: Connection, ref: RunRef, after: str, limit: int) -> list[Feedback]:
    values = {**named(ref), "after": after, "most": limit}
    return [_feedback_from(row) for row in connection.execute(_PAGE, values).mappings()]


def _feedback_from(row: RowMapping) -> Feedback:
    return Feedback.model_validate({**row, "by": row["caller_id"]})
