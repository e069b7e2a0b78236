"""The statement by which a caller cancels a run, and that the same request again does not do it twice."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from domain.events import EventDraft
from domain.ports import Ended, IdempotencyKey, RunRef
from domain.run import Ending
from service.store import changes, keys
from service.store.threads import Turns


def cancel(
    connection: Connection,
    ref: RunRef,
    ending: Ending,
    draft: EventDraft,
    now: datetime,
    turns: Turns,
    key: IdempotencyKey | None,
) -> Ended | None:
    """End an active run as cancelled; `None` where it is not active, whose key stays free, or where
    another request has the key."""
    # The key first, as for a new run: of two requests at once the second waits here.
    if key is not None and not keys.take(connection, ref, key, now):
        return None
    done = changes.cancel(connection, ref, ending, draft, now, turns)
    if done is None and key is not None:
        keys.give_back(connection, ref.tenant_id, key)
    return done
