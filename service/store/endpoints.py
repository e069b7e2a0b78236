"""The statements about those who receive webhooks: their secrets, and whether they want anything."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, update

from domain.delivery import Endpoint
from domain.errors import CallerError
from domain.problems import Pointer
from service.store.conflicts import add_endpoint
from service.store.webhook_tables import webhook_endpoints as rows

OVERLAP: Final = timedelta(hours=24)
"""How long messages are signed with the secret before as well, after a new one was made."""

MOST_ENDPOINTS: Final = 1_000
"""Of one tenant: they are kept for good."""

_SECRET_BYTES: Final = 32

_THE_ENDPOINT: Final = (
    rows.c.tenant_id == bindparam("tenant"),
    rows.c.url == bindparam("endpoint"),
)
_FIND: Final = select(rows).where(*_THE_ENDPOINT)
_LIST: Final = select(rows).where(rows.c.tenant_id == bindparam("tenant")).order_by(rows.c.url)
_COUNT: Final = select(func.count()).where(rows.c.tenant_id == bindparam("tenant"))
_FORGET: Final = delete(rows).where(*_THE_ENDPOINT)
_SHOW: Final = (
    update(rows)
    .where(*_THE_ENDPOINT, rows.c.shown_at.is_(None))
    .values(shown_at=bindparam("now", type_=rows.c.shown_at.type))
    .returning(rows.c.secret)
)
_ROTATE: Final = (
    update(rows)
    .where(*_THE_ENDPOINT)
    .values(
        previous_secret=rows.c.secret,
        previous_until=bindparam("until", type_=rows.c.previous_until.type),
        secret=bindparam("new"),
        shown_at=bindparam("now", type_=rows.c.shown_at.type),
    )
    .returning(rows.c.secret)
)
_DISABLE: Final = (
    update(rows)
    .where(*_THE_ENDPOINT)
    .values(disabled_at=bindparam("now", type_=rows.c.disabled_at.type))
)
_ENABLE: Final = update(rows).where(*_THE_ENDPOINT).values(disabled_at=None)


def new_secret() -> str:
    """Return a secret as Standard Webhooks write them."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def find(connection: Connection, tenant_id: str, endpoint: str) -> Endpoint | None:
    """Return an endpoint, or `None`."""
    row = connection.execute(_FIND, _name(tenant_id, endpoint)).mappings().one_or_none()
    return None if row is None else Endpoint(**row)


def ensure(connection: Connection, tenant_id: str, endpoint: str, now: datetime) -> Endpoint:
    """Return an endpoint; it is made where there is none, and room for it."""
    found = find(connection, tenant_id, endpoint)
    if found is not None:
        return found
    if connection.execute(_COUNT, {"tenant": tenant_id}).scalar_one() >= MOST_ENDPOINTS:
        detail = (
            f"is the {MOST_ENDPOINTS + 1}st endpoint, and there may be {MOST_ENDPOINTS}. Take one that was named "
            "before: what differs from run to run goes into the query. `signalbox webhooks forget` makes room"
        )
        raise CallerError(
            "validation-error",
            f"/webhook/url: {detail}.",
            errors=[Pointer(pointer="/webhook/url", detail=detail)],
        )
    row = {"tenant_id": tenant_id, "url": endpoint, "secret": new_secret(), "created_at": now}
    add_endpoint(connection, row)
    return Endpoint(**connection.execute(_FIND, _name(tenant_id, endpoint)).mappings().one())


def show(connection: Connection, tenant_id: str, endpoint: str, now: datetime) -> str | None:
    """Return the secret to the first who asks, and `None` from then on."""
    values = {**_name(tenant_id, endpoint), "now": now}
    return connection.execute(_SHOW, values).scalar_one_or_none()


def rotate(connection: Connection, tenant_id: str, endpoint: str, now: datetime) -> str | None:
    """Return a new secret; the one before is used beside it for a while. `None` where there is none."""
    values = {
        **_name(tenant_id, endpoint),
        "new": new_secret(),
        "until": now + OVERLAP,
        "now": now,
    }
    return connection.execute(_ROTATE, values).scalar_one_or_none()


def disable(connection: Connection, tenant_id: str, endpoint: str, now: datetime) -> None:
    """Note that an endpoint wants nothing more."""
    connection.execute(_DISABLE, {**_name(tenant_id, endpoint), "now": now})


def enable(connection: Connection, tenant_id: str, endpoint: str) -> bool:
    """Send to an endpoint again; `False` where there is none."""
    return connection.execute(_ENABLE, _name(tenant_id, endpoint)).rowcount > 0


def forget(connection: Connection, tenant_id: str, endpoint: str) -> bool:
    """Forget an endpoint and its secret; `False` where there is none."""
    return connection.execute(_FORGET, _name(tenant_id, endpoint)).rowcount > 0


def list_all(connection: Connection, tenant_id: str) -> list[Endpoint]:
    """Return a tenant's endpoints by url."""
    found = connection.execute(_LIST, {"tenant": tenant_id}).mappings()
    return [Endpoint(**row) for row in found]


def _name(tenant_id: str, endpoint: str) -> dict[str, Any]:
    return {"tenant": tenant_id, "endpoint": endpoint}
