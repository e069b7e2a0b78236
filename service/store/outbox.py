"""The statements about what is sent to webhooks: written with the change that it tells of, sent after it.

Whoever sends a row claims it for a while, by a conditional write that names how often it was tried before:
of several processes one has it. A claim that was not settled lapses, and the row is sent again: at least
once, always under the same id and with the same body.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, RowMapping, bindparam, insert, null, or_, select, update

from domain.delivery import Attempt, AttemptResult, Delivery, Due, Redelivered
from domain.events import Event
from domain.ports import IdempotencyKey, RunRef
from domain.run import Run
from service.ids import UuidIds
from service.store import actions, endpoints, keys, links
from service.store.tables import runs
from service.store.webhook_tables import deliveries as rows

GIVE_UP: Final = timedelta(days=1)
"""How long a delivery is tried."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_TIME: Final = rows.c.next_at.type
_NOW: Final = bindparam("now", type_=_TIME)
_THE_ROW: Final = (rows.c.id == bindparam("delivery"), rows.c.tenant_id == bindparam("tenant"))
_UNCLAIMED: Final = or_(rows.c.claimed_until.is_(None), rows.c.claimed_until <= _NOW)

_DUE: Final = (
    select(rows.c.tenant_id, rows.c.id, rows.c.host, rows.c.attempts)
    .where(
        rows.c.status == "pending",
        rows.c.next_at <= _NOW,
        _UNCLAIMED,
        rows.c.host.not_in(bindparam("busy", expanding=True)),
        rows.c.tenant_id.not_in(bindparam("full", expanding=True)),
    )
    .order_by(rows.c.next_at, rows.c.id)
    .limit(bindparam("most"))
)
_SINCE: Final = bindparam("since", type_=_TIME)
_OVERDUE: Final = (
    select(rows.c.id).where(rows.c.status == "pending", rows.c.next_at <= _SINCE).limit(1)
)
_SENT: Final = (
    select(rows.c.id).where(rows.c.status == "pending", rows.c.claimed_until > _SINCE).limit(1)
)
_CLAIM: Final = (
    update(rows)
    .where(
        *_THE_ROW,
        rows.c.status == "pending",
        rows.c.attempts == bindparam("seen"),
        rows.c.next_at <= _NOW,
        _UNCLAIMED,
    )
    .values(
        attempts=rows.c.attempts + 1,
        tries=rows.c.tries + 1,
        claimed_until=bindparam("until", type_=_TIME),
    )
    .returning(*rows.c)
)
_KEEP_LINKS: Final = update(rows).where(*_THE_ROW).values(links=bindparam("made"))
_UNCOUNT: Final = (
    update(rows).where(*_THE_ROW).values(attempts=rows.c.attempts - 1, tries=rows.c.tries - 1)
)
_SETTLE: Final = (
    update(rows)
    .where(*_THE_ROW, rows.c.status == "pending")
    .values(
        status=bindparam("came_to"),
        next_at=bindparam("next", type_=_TIME),
        claimed_until=null(),
        last_status=bindparam("answered"),
        last_error=bindparam("fault"),
        delivered_at=bindparam("delivered", type_=_TIME),
    )
)
# Whoever reads a link may decide: it is kept for as long as it has to be sent.
_FORGET_LINKS: Final = (
    update(rows).where(*_THE_ROW, rows.c.status != "pending").values(links=null())
)
_OF_ATTEMPT: Final = rows.c.attempts == bindparam("number")
_RELEASE: Final = (
    update(rows)
    .where(rows.c.status == "pending", rows.c.claimed_until.is_not(None))
    .values(claimed_until=null(), next_at=_NOW)
)
_RELEASE_ONE: Final = _RELEASE.where(*_THE_ROW, _OF_ATTEMPT)
_DISABLE: Final = (
    update(rows)
    .where(
        rows.c.tenant_id == bindparam("tenant"),
        rows.c.endpoint == bindparam("receiver"),
        rows.c.status == "pending",
    )
    .values(
        status="disabled",
        next_at=null(),
        claimed_until=null(),
        last_error=bindparam("fault"),
        links=null(),
    )
)
_AGAIN: Final = (
    update(rows)
    .where(*_THE_ROW, rows.c.run_id == bindparam("run"))
    .values(
        status="pending",
        next_at=_NOW,
        tries=0,
        give_up_at=bindparam("until", type_=_TIME),
        delivered_at=null(),
    )
    .returning(*rows.c)
)
_OF_RUN: Final = (
    select(rows)
    .where(rows.c.run_id == bindparam("run"), rows.c.tenant_id == bindparam("tenant"))
    .order_by(rows.c.id.desc())
    .limit(bindparam("most"))
)
_BEFORE: Final = _OF_RUN.where(rows.c.id < bindparam("before"))
_TRACE_OF: Final = select(runs.c.traceparent, runs.c.retried_after).where(
    runs.c.id == bindparam("run"), runs.c.tenant_id == bindparam("tenant")
)
_ONE: Final = select(rows).where(*_THE_ROW, rows.c.run_id == bindparam("run"))

WANTS_NOTHING: Final = (
    "The endpoint has answered 410 Gone, so nothing is sent there. Once it takes messages again, have one "
    "of them delivered again."
)

FORGOTTEN: Final = "The endpoint was forgotten, and its secret with it, so nothing is sent there."


def post(connection: Connection, run: Run, told: Sequence[Event]) -> None:
    """Write what a run's webhook is to be sent of these events."""
    if run.webhook is None:
        return
    for event in told:
        if run.webhook.wants(event.type):
            connection.execute(insert(rows), _row(connection, run, run.webhook.url, event))


def _row(connection: Connection, run: Run, url: str, event: Event) -> dict[str, Any]:
    data: dict[str, Any] = {"run": run.model_dump(mode="json")}
    if event.type == "run.requires_action":
        ids = list(actions.pending(connection, RunRef(run.tenant_id, run.id)))
        asked = actions.approvals_of(connection, run.tenant_id, ids)
        data["approvals"] = [actions.shown(each) for each in asked]
    at = event.ts.isoformat().replace("+00:00", "Z")
    return {
        "id": UuidIds().new("whd"),
        "run_id": run.id,
        "tenant_id": run.tenant_id,
        "type": event.type,
        "url": url,
        "endpoint": url.partition("?")[0],
        "host": host_of(url),
        "status": "pending",
        "payload": {"type": event.type, "timestamp": at, "data": data},
        "next_at": event.ts,
        "give_up_at": event.ts + GIVE_UP,
        "created_at": event.ts,
    }


def host_of(url: str) -> str:
    """Return the `host:port` of a url."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 443)}"


def due(
    connection: Connection,
    now: datetime,
    busy: Collection[str],
    full: Collection[str],
    limit: int,
) -> list[Due]:
    """Return what is to be sent now, the longest due first."""
    values = {"now": now, "busy": list(busy), "full": list(full), "most": limit}
    return [Due(*row) for row in connection.execute(_DUE, values)]


def overdue(connection: Connection, before: datetime) -> bool:
    """Return whether something was due before a time, and nobody has begun to send anything since."""
    late, sent = (
        connection.execute(each, {"since": before}).first() is not None
        for each in (_OVERDUE, _SENT)
    )
    return late and not sent


def claim(
    connection: Connection, one: Due, now: datetime, until: datetime, base_url: str | None
) -> Attempt | None:
    """Take a delivery to send it; a question gets the links under which it is decided."""
    values = {**_name(one.tenant_id, one.id), "seen": one.attempts, "now": now, "until": until}
    row = connection.execute(_CLAIM, values).mappings().one_or_none()
    if row is None:
        return None
    endpoint = endpoints.find(connection, row["tenant_id"], row["endpoint"])
    if endpoint is None or endpoint.disabled_at is not None:
        connection.execute(_UNCOUNT, _name(row["tenant_id"], row["id"]))
        fault = FORGOTTEN if endpoint is None else WANTS_NOTHING
        _disable(connection, row["tenant_id"], row["endpoint"], fault)
        return None
    run = connection.execute(_TRACE_OF, {"run": row["run_id"], "tenant": row["tenant_id"]}).one()
    return Attempt(
        tenant_id=row["tenant_id"],
        id=row["id"],
        run_id=row["run_id"],
        url=row["url"],
        body=_body(connection, row, now, base_url),
        secrets=endpoint.secrets(now),
        number=row["attempts"],
        tries=row["tries"],
        give_up_at=row["give_up_at"],
        traceparent=run.traceparent,
        retried_after=run.retried_after,
    )


def _body(connection: Connection, row: RowMapping, now: datetime, base_url: str | None) -> str:
    """Return the body of a delivery: the same at each attempt."""
    payload: dict[str, Any] = row["payload"]
    if row["type"] == "run.requires_action":
        made = row["links"]
        if made is None:
            made = links.for_delivery(connection, dict(row), base_url, now)
            keep = {**_name(row["tenant_id"], row["id"]), "made": made}
            connection.execute(_KEEP_LINKS, keep)
        data = payload["data"]
        asked = [{**each, **made[each["id"]]} for each in data["approvals"]]
        payload = {**payload, "data": {**data, "approvals": asked}}
    return json.dumps(payload, separators=(",", ":"))


def settle(connection: Connection, attempt: Attempt, result: AttemptResult, now: datetime) -> None:
    """Record what an attempt came to; one whose claim another has taken over only tells of success."""
    values = {
        **_name(attempt.tenant_id, attempt.id),
        "came_to": result.status,
        "next": result.next_at,
        "answered": result.last_status,
        "fault": result.last_error,
        "delivered": now if result.status == "delivered" else None,
    }
    statement = _SETTLE
    if result.status != "delivered":
        statement = _SETTLE.where(_OF_ATTEMPT)
        values["number"] = attempt.number
    endpoint = attempt.url.partition("?")[0]
    if result.status == "disabled":
        # Before any delivery: two that are told so at once wait for each other here, and not in a circle.
        endpoints.disable(connection, attempt.tenant_id, endpoint, now)
    connection.execute(statement, values)
    connection.execute(_FORGET_LINKS, _name(attempt.tenant_id, attempt.id))
    if result.status == "disabled":
        _disable(connection, attempt.tenant_id, endpoint, WANTS_NOTHING)


def _disable(connection: Connection, tenant_id: str, endpoint: str, fault: str) -> None:
    values = {"tenant": tenant_id, "receiver": endpoint, "fault": fault}
    connection.execute(_DISABLE, values)


def release(connection: Connection, attempts: Sequence[Attempt] | None, now: datetime) -> None:
    """Give claims back; with `None` all of them."""
    if attempts is None:
        connection.execute(_RELEASE, {"now": now})
        return
    for each in attempts:
        values = {**_name(each.tenant_id, each.id), "number": each.number, "now": now}
        connection.execute(_RELEASE_ONE, values)


def of_run(connection: Connection, ref: RunRef, limit: int, before: str | None) -> list[Delivery]:
    """Return deliveries of a run, newest first, and one more than asked for."""
    values: dict[str, Any] = {"run": ref.run_id, "tenant": ref.tenant_id, "most": limit + 1}
    if before is None:
        found = connection.execute(_OF_RUN, values)
    else:
        found = connection.execute(_BEFORE, {**values, "before": before})
    return [delivery_from(row) for row in found.mappings()]


def again(
    connection: Connection,
    ref: RunRef,
    delivery_id: str,
    key: IdempotencyKey | None,
    now: datetime,
) -> Redelivered | None:
    """Have a delivery sent again."""
    values = {**_name(ref.tenant_id, delivery_id), "run": ref.run_id}
    found = connection.execute(_ONE, values).mappings().one_or_none()
    if found is None:
        return None
    if key is not None and not keys.take(connection, ref, key, now):
        keys.check_key(connection, ref.tenant_id, key)
        return Redelivered(delivery_from(found), replayed=True)
    if found["status"] == "disabled":
        endpoints.enable(connection, ref.tenant_id, found["endpoint"])
    values = {**values, "now": now, "until": now + GIVE_UP}
    row = connection.execute(_AGAIN, values).mappings().one()
    return Redelivered(delivery_from(row), replayed=False)


def delivery_from(row: RowMapping) -> Delivery:
    """Return a row as clients see it."""
    return Delivery(
        id=row["id"],
        run_id=row["run_id"],
        type=row["type"],
        url=_without_query(row["url"]),
        status=row["status"],
        attempts=row["attempts"],
        next_attempt_at=row["next_at"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        created_at=row["created_at"],
        delivered_at=row["delivered_at"],
    )


def _without_query(url: str) -> str:
    """Return a url without its query: that may hold a secret, and whoever sees the run would see it."""
    endpoint, mark, _ = url.partition("?")
    return f"{endpoint}?…" if mark else endpoint


def _name(tenant_id: str, delivery_id: str) -> dict[str, Any]:
    return {"tenant": tenant_id, "delivery": delivery_id}
