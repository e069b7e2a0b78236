"""The statements about idempotency keys: which request a key stands for, and what that has made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_

from domain.errors import CallerError
from domain.ports import Created, IdempotencyKey, RunRef
from domain.problems import Code
from domain.run import Run
from service.store import queries
from service.store.conflicts import take_key
from service.store.tables import erased_keys, idempotency

KEY_LIFE: Final = timedelta(hours=48)
"""How long an idempotency key stands for the run it made; afterwards it may make another."""

_KNOWN_KEY: Final = select(idempotency.c.digest, idempotency.c.run_id).where(
    idempotency.c.tenant_id == bindparam("tenant"),
    idempotency.c.scope == bindparam("scope"),
    idempotency.c.key == bindparam("key"),
)
_GIVE_BACK: Final = delete(idempotency).where(
    idempotency.c.tenant_id == bindparam("tenant"),
    idempotency.c.scope == bindparam("scope"),
    idempotency.c.key == bindparam("key"),
)
_OF_RUNS: Final = select(idempotency).where(
    idempotency.c.run_id.in_(bindparam("ids", expanding=True))
)
_ERASED: Final = select(erased_keys.c.digest).where(
    erased_keys.c.tenant_id == bindparam("tenant"),
    erased_keys.c.digest == bindparam("digest"),
    erased_keys.c.created_at > bindparam("expired", type_=erased_keys.c.created_at.type),
)


def take(connection: Connection, ref: RunRef, key: IdempotencyKey, now: datetime) -> bool:
    """Take an idempotency key for a request about a run; `False` where one has taken it before."""
    record = {
        "tenant_id": ref.tenant_id,
        "scope": key.scope,
        "key": key.key,
        "digest": key.digest,
        "run_id": ref.run_id,
        "created_at": now,
        "expired": now - KEY_LIFE,
    }
    if not take_key(connection, record):
        return False
    erased = {
        "tenant": ref.tenant_id,
        "digest": _digest(key.scope, key.key),
        "expired": now - KEY_LIFE,
    }
    if connection.execute(_ERASED, erased).first():
        code: Code = "run-deleted"
        msg = (
            f"The run that the idempotency key {key.key!r} has made was deleted, and nothing was made anew. "
            "Send a new key to have it done again."
        )
        raise CallerError(code, msg)
    return True


def give_back(connection: Connection, tenant_id: str, key: IdempotencyKey) -> None:
    """Forget a key that was just taken for a request of which nothing came."""
    values = {"tenant": tenant_id, "scope": key.scope, "key": key.key}
    connection.execute(_GIVE_BACK, values)


def forget(connection: Connection, run_ids: Sequence[str]) -> None:
    """Keep of the keys of runs that are about to be deleted only what tells that they were used."""
    rows: list[dict[str, Any]] = [
        {
            "tenant_id": row.tenant_id,
            "digest": _digest(row.scope, row.key),
            "created_at": row.created_at,
        }
        for row in connection.execute(_OF_RUNS, {"ids": list(run_ids)})
    ]
    if rows:
        # One that was used again after its time may be there from the run before.
        place = tuple_(erased_keys.c.tenant_id, erased_keys.c.digest)
        before = [(row["tenant_id"], row["digest"]) for row in rows]
        connection.execute(delete(erased_keys).where(place.in_(before)))
        connection.execute(insert(erased_keys), rows)


def _digest(scope: str, key: str) -> str:
    return hashlib.sha256(f"{scope} {key}".encode()).hexdigest()


def replay(connection: Connection, tenant_id: str, key: IdempotencyKey) -> Created:
    """Return the run that a known key has made."""
    run_id = check_key(connection, tenant_id, key)
    run = queries.get(connection, RunRef(tenant_id, run_id))
    if run is None:  # a record goes with its run
        msg = f"idempotency key {key.key!r} names run {run_id!r}, which is not there"
        raise LookupError(msg)
    return Created(run, replayed=True)


def made_by(connection: Connection, tenant_id: str, key: IdempotencyKey) -> Run | None:
    """Return the run that a key stands for, where it is known."""
    values = {"tenant": tenant_id, "scope": key.scope, "key": key.key}
    known = connection.execute(_KNOWN_KEY, values).first()
    return replay(connection, tenant_id, key).run if known else None


def check_key(connection: Connection, tenant_id: str, key: IdempotencyKey) -> str:
    """Return the id of the run that a known key stands for; refuse the key with another body."""
    values = {"tenant": tenant_id, "scope": key.scope, "key": key.key}
    known = connection.execute(_KNOWN_KEY, values).one()
    if known.digest != key.digest:
        code: Code = "idempotency-key-reuse"
        msg = (
            f"The idempotency key {key.key!r} was used with another body; "
            "send a new key, or the same body again."
        )
        raise CallerError(code, msg, run_id=known.run_id)
    return str(known.run_id)
