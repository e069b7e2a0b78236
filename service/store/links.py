"""The statements about links: made when a question is sent, used up by the decision that is made there."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from domain.links import Link
from domain.ports import RunRef
from service.secrets import hash_of
from service.store import actions, queries
from service.store.database import Database
from service.store.naming import THE_RUN
from service.store.tables import runs
from service.store.webhook_tables import approval_links as rows

LIFE: Final = timedelta(days=7)
"""How long a link can be used at most; no longer than its approval in any case."""

PATH: Final = "/approve/"

_TOKEN_BYTES: Final = 32

_WEBHOOK: Final = select(runs.c.webhook).where(*THE_RUN)
_FIND: Final = select(rows).where(rows.c.token_hash == bindparam("token"))
_USE: Final = (
    update(rows)
    .where(
        rows.c.token_hash == bindparam("token"),
        rows.c.tenant_id == bindparam("tenant"),
        rows.c.approval_id == bindparam("approval"),
        rows.c.used_at.is_(None),
        rows.c.expires_at > bindparam("now", type_=rows.c.expires_at.type),
    )
    .values(used_at=bindparam("now", type_=rows.c.used_at.type))
)

NO_ADDRESS: Final = (
    "SIGNALBOX_PUBLIC_URL is not set, so there is no page to decide on; decide through the API."
)
FOR_ANOTHER: Final = (
    "Somebody else than the one who created the run has to decide, and a link does not tell who holds it; "
    "decide through the API."
)
MAY_NOT_DECIDE: Final = (
    "The key that created the run lacks the scope approvals:decide, which a link would lend it; "
    "decide through the API."
)
CLOSED: Final = "It was closed before this was sent."


def for_delivery(
    connection: Connection, delivery: Mapping[str, Any], base_url: str | None, now: datetime
) -> dict[str, Any]:
    """Return what the message about questions says of a page for each of them, by approval."""
    asked = [each["id"] for each in delivery["payload"]["data"]["approvals"]]
    found = actions.by_ids(connection, delivery["tenant_id"], asked)
    return {
        each: _for_approval(connection, delivery, found.get(each), base_url, now) for each in asked
    }


def _for_approval(
    connection: Connection,
    delivery: Mapping[str, Any],
    row: actions.Row | None,
    base_url: str | None,
    now: datetime,
) -> dict[str, Any]:
    until = now + LIFE
    if row is not None and row["expires_at"] is not None:
        until = min(until, row["expires_at"])
    if row is None or row["approval"] != "pending" or until <= now:
        return {"link": None, "no_link": CLOSED}
    if row["decided_by"] == "other":
        return {"link": None, "no_link": FOR_ANOTHER}
    if not _may_decide(connection, row):
        return {"link": None, "no_link": MAY_NOT_DECIDE}
    if base_url is None:
        return {"link": None, "no_link": NO_ADDRESS}
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    made = {
        "token_hash": hash_of(token),
        "tenant_id": row["tenant_id"],
        "run_id": row["run_id"],
        "approval_id": row["id"],
        "delivery_id": delivery["id"],
        "args_digest": row["args_digest"],
        "created_at": now,
        "expires_at": until,
    }
    connection.execute(insert(rows), made)
    shown = until.isoformat().replace("+00:00", "Z")
    return {"link": {"url": f"{base_url}{PATH}{token}", "expires_at": shown}, "no_link": None}


def _may_decide(connection: Connection, row: actions.Row) -> bool:
    values = {"run": row["run_id"], "tenant": row["tenant_id"]}
    webhook = connection.execute(_WEBHOOK, values).scalar_one()
    return bool(webhook and webhook.get("decides"))


def use(
    connection: Connection, tenant_id: str, approval_id: str, token_hash: str, now: datetime
) -> bool:
    """Use a link up; `False` where it was used, is over, or is about something else."""
    values = {"token": token_hash, "tenant": tenant_id, "approval": approval_id, "now": now}
    return connection.execute(_USE, values).rowcount == 1


def _find(connection: Connection, token_hash: str) -> Link | None:
    row = connection.execute(_FIND, {"token": token_hash}).mappings().one_or_none()
    if row is None:
        return None
    [approval] = actions.approvals_of(connection, row["tenant_id"], [row["approval_id"]])
    run = queries.get(connection, RunRef(row["tenant_id"], row["run_id"]))
    if run is None:
        return None
    return Link(
        token_hash=row["token_hash"],
        tenant_id=row["tenant_id"],
        delivery_id=row["delivery_id"],
        args_digest=row["args_digest"],
        expires_at=row["expires_at"],
        used_at=row["used_at"],
        approval=approval,
        run=run,
    )


class SqlLinkStore:
    """`domain.links.LinkStore` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, token_hash: str) -> Link | None:
        """Return a link with its approval and run as they stand, or `None`."""
        return await self._database.read(_find, token_hash)
