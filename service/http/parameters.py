"""The parameters that routes share, each described as it is read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import BeforeValidator, WithJsonSchema

from service.http.fields import KEPT

RUN: Final = r"^run_[0-9a-f]{32}$"
THREAD: Final = r"^[^\x00]+$"
APPROVAL: Final = r"^apr_[0-9a-f]{32}$"
ACTION: Final = r"^act_[0-9a-f]{32}$"
DELIVERY: Final = r"^whd_[0-9a-f]{32}$"
CHECKPOINT: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
SHA256: Final = r"^[0-9a-f]{64}$"
SEQ: Final = r"^[0-9]{0,15}$"
"""The number of an event; empty for the beginning."""

ABOUT: Final = {
    "run_id": "The id of a run.",
    "thread_id": "The id of a thread: runs that follow up on one another.",
    "approval_id": "The id of an approval, a question to a person.",
    "action_id": "The id of an action: that of its approval with `act_` before it, as `Run.actions` has it.",
    "delivery_id": "The id of a delivery, as the run's list of them has it.",
    "sha256": "The digest of a stored page, as a citation has it.",
    "name": "The name of a file, as the run's list of artifacts has it.",
    "status": "Only those that stand so now.",
    "tag": "Only runs with this tag.",
    "created_after": "Only runs made after this time; without a zone it is UTC.",
    "limit": "How many rows a page has at most.",
    "cursor": "`next_cursor` of the page before, as it was; without it the first page.",
    "after": "The number (`seq`) of the last event that is known; what follows it is sent.",
    "types": "Only events of these types: patterns such as `run.*`, with commas between.",
    "tokens": "Whether a stream has the pieces of messages as they are written.",
}
"""What a description says of a parameter whose route says nothing of its own."""

_DIMENSION: Final = r" *(?:day|agent|model|key) *"
GROUPS: Final = rf"^{_DIMENSION}(?:,{_DIMENSION})*$"

_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}.*)?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]+")


def described_by(pattern: str) -> dict[str, Any]:
    """Return what a description says of a text that the handler checks itself."""
    return {"pattern": pattern}


def _is_moment(value: object) -> object:
    # Pydantic would take a number for seconds since 1970.
    if isinstance(value, str) and not _MOMENT.fullmatch(value):
        msg = "must be a time such as 2026-11-29T06:42:37Z"
        raise ValueError(msg)
    return value


def _is_day(value: object) -> object:
    if isinstance(value, str) and not _DAY.fullmatch(value):
        msg = "must be a day such as 2026-11-29"
        raise ValueError(msg)
    return value


def _is_whole(value: object) -> object:
    # Pydantic would take `1_0` and ` 1.0 `.
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        msg = "must be a whole number such as 20"
        raise ValueError(msg)
    return value


PLAIN: Final = BeforeValidator(_is_whole)
"""A number as anybody would write it."""

RunId = Annotated[str, Path(json_schema_extra=described_by(RUN))]
ThreadId = Annotated[str, Path(json_schema_extra=described_by(THREAD))]
ApprovalId = Annotated[str, Path(json_schema_extra=described_by(APPROVAL))]
ActionId = Annotated[str, Path(json_schema_extra=described_by(ACTION))]
DeliveryId = Annotated[str, Path(json_schema_extra=described_by(DELIVERY))]

CheckpointCursor = Annotated[
    str | None, Query(max_length=64, json_schema_extra=described_by(CHECKPOINT))
]
RunCursor = Annotated[str | None, Query(json_schema_extra=described_by(RUN))]
ApprovalCursor = Annotated[
    str | None, Query(max_length=64, json_schema_extra=described_by(APPROVAL))
]
DeliveryCursor = Annotated[
    str | None, Query(max_length=64, json_schema_extra=described_by(DELIVERY))
]
Filter = Annotated[str | None, Query(max_length=64, json_schema_extra=described_by(KEPT))]
Group = Annotated[str, WithJsonSchema({"type": "string", "pattern": GROUPS})]
Moment = Annotated[datetime | None, BeforeValidator(_is_moment)]
Day = Annotated[date | None, BeforeValidator(_is_day)]


def in_utc(time: datetime) -> datetime:
    """Return a time in UTC, which it is where it names no zone; raises `OverflowError`."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
