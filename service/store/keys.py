"""The statements about idempotency keys: which request a key stands for, and what that has made."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, select

from domain.errors import CallerError
from domain.ports import Created, IdempotencyKey, RunRef
from domain.problems import Code
from service.store import queries
from service.store.conflicts import take_key
from service.store.tables import idempotency

KEY_LIFE: Final = timedelta(hours=48)
"""How long an idempotency key stands for the run it made; afterwards it may make another."""

_KNOWN_KEY: Final = select(idempotency.c.digest, idempotency.c.run_id).where(
    idempotency.c.tenant_id == bindparam("tenant"),
    idempotency.c.scope == bindparam("scope"),
    idempotency.c.key == bindparam("key"),
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
    return take_key(connection, record)


def replay(connection: Connection, tenant_id: str, key: IdempotencyKey) -> Created:
    """Return the run that a known key has made."""
    run_id = check_key(connection, tenant_id, key)
    run = queries.get(connection, RunRef(tenant_id, run_id))
    if run is None:  # a record goes with its run
        msg = f"idempotency key {key.key!r} names run {run_id!r}, which is not there"
        raise LookupError(msg)
    return Created(run, replayed=True)


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
