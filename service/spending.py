"""What was spent: the cost ledger as a caller asks for it, page by page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from domain.errors import CallerError
from domain.ports import Clock
from domain.spending import (
    DIMENSIONS,
    Dimension,
    SpendingGroup,
    SpendingLedger,
    SpendingQuery,
)
from domain.usage import UsageShare, add_shares

USUAL_DAYS: Final = 30
"""How many days are summed where nobody says how many, today among them."""


@dataclass(frozen=True, kw_only=True)
class SpendingAsked:
    """What a caller wants to know; what is not said is the usual."""

    since: date | None = None
    until: date | None = None
    group_by: Sequence[str] = ()
    """Names of dimensions, each alone or several with commas between them."""
    limit: int = 100
    cursor: str | None = None


class SpendingPage(NamedTuple):
    """A page of groups, and the sum of all pages."""

    query: SpendingQuery
    groups: list[SpendingGroup]
    next_cursor: str | None
    total: UsageShare


class SpendingService:
    """Sums model calls, for one tenant at a time."""

    def __init__(self, ledger: SpendingLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def page(self, tenant_id: str, asked: SpendingAsked) -> SpendingPage:
        """Return a page; raises `CallerError` where what is asked for cannot be."""
        query = self._query(asked)
        found = await self._ledger.groups(tenant_id, query)
        shown = found[: query.limit]
        if query.after is None and shown == found:
            total = add_shares(group.share for group in shown)
            return SpendingPage(query, shown, None, total)
        cursor = None if shown == found else _cursor(query, shown[-1].values)
        return SpendingPage(query, shown, cursor, await self._ledger.total(tenant_id, query))

    def _query(self, asked: SpendingAsked) -> SpendingQuery:
        if asked.cursor is not None:
            return _go_on(asked, asked.cursor)
        until = asked.until or max(self._clock.now().date(), asked.since or date.min)
        since = asked.since or _days_before(until, USUAL_DAYS - 1)
        if since > until:
            msg = f"from: {since} is after to, {until}. Both days count; write the earlier one as from."
            raise CallerError("invalid-parameter", msg)
        group_by = _dimensions(asked.group_by) or ("day",)
        return SpendingQuery(since=since, until=until, group_by=group_by, limit=asked.limit)


def _days_before(day: date, days: int) -> date:
    return date.min if day - date.min < timedelta(days=days) else day - timedelta(days=days)


def _dimensions(written: Sequence[str]) -> tuple[Dimension, ...]:
    """Return what to group by, each once, in the order in which it was named."""
    names = [name.strip() for text in written for name in text.split(",")]
    found: dict[Dimension, None] = {}
    for name in names:
        known = next((each for each in DIMENSIONS if each == name), None)
        if known is None:
            msg = f"group_by: {name[:80]!r} is not one of {', '.join(DIMENSIONS)}; several may be given."
            raise CallerError("invalid-parameter", msg)
        found[known] = None
    return tuple(found)


def _cursor(query: SpendingQuery, values: tuple[str, ...]) -> str:
    """Return where a page ends. The days go with it: those that nobody named would be others tomorrow."""
    about = [*query.group_by], query.since.isoformat(), query.until.isoformat(), [*values]
    return base64.urlsafe_b64encode(json.dumps(about).encode()).decode().rstrip("=")


def _go_on(asked: SpendingAsked, cursor: str) -> SpendingQuery:
    try:
        query = _read(cursor)
    except (ValueError, TypeError, RecursionError):
        msg = f"The cursor {cursor[:80]!r} is not one of this list. Send next_cursor as it came."
        raise CallerError("malformed-cursor", msg) from None
    group_by = _dimensions(asked.group_by) or query.group_by
    given = (asked.since or query.since, asked.until or query.until, group_by)
    if given != (query.since, query.until, query.group_by):
        msg = (
            f"The cursor goes on with from={query.since}, to={query.until} and "
            f"group_by={','.join(query.group_by)}. Send these again, or leave them out."
        )
        raise CallerError("malformed-cursor", msg)
    return replace(query, limit=asked.limit)


def _read(cursor: str) -> SpendingQuery:
    text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    told: Any = json.loads(text)
    names, since, until, values = told
    group_by = tuple(each for name in names for each in DIMENSIONS if each == name)
    fits = len(values) == len(names) == len(group_by) == len(set(group_by)) > 0
    if not fits or not all(isinstance(value, str) and "\x00" not in value for value in values):
        raise ValueError
    "".join(values).encode()  # half a surrogate pair is no text
    return SpendingQuery(
        since=date.fromisoformat(since),
        until=date.fromisoformat(until),
        group_by=group_by,
        after=tuple(values),
    )
