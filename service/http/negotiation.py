"""Reads the headers and parameters in which a client says what it wants."""

from __future__ import annotations

import hashlib
import re
from typing import Final, Literal

import orjson
from pydantic import BaseModel
from starlette.requests import Request

from domain.caller import LOCAL_CALLER, CallerIdentity
from domain.errors import CallerError
from domain.ports import IdempotencyKey

JSON: Final = "application/json"
SSE: Final = "text/event-stream"

LAST_SEQ: Final = 2**31 - 1
"""The largest number an event can have: what a column of integers holds."""

_PREFER_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,15})(?:$|[,;\s])")
_SEQ: Final = re.compile(r"[0-9]{1,15}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def wanted_format(request: Request) -> Literal["json", "sse"]:
    """Return what the client accepts; raises `not-acceptable` where it is neither."""
    accept = request.headers.get("accept", "")
    ranges = dict(_range(part) for part in accept.split(",") if part.strip())
    if not ranges:
        return "json"
    if ranges.get(SSE, 0) > 0 and ranges[SSE] >= _quality(
        ranges, JSON, "application/*", exact=True
    ):
        return "sse"
    if _quality(ranges, JSON, "application/*") > 0 or ranges.get("application/problem+json", 0) > 0:
        return "json"
    if _quality(ranges, SSE, "text/*") > 0:
        return "sse"
    msg = f"Accept: {accept[:100]} cannot be met. Accept {JSON} or {SSE}."
    raise CallerError("not-acceptable", msg)


def _range(part: str) -> tuple[str, float]:
    media, _, rest = part.partition(";")
    quality = re.search(r"q=([0-9.]+)", rest)
    try:
        return media.strip().lower(), float(quality[1]) if quality else 1.0
    except ValueError:
        return media.strip().lower(), 0.0


def _quality(ranges: dict[str, float], media: str, family: str, *, exact: bool = False) -> float:
    if media in ranges or exact:
        return ranges.get(media, 0.0)
    return ranges.get(family, ranges.get("*/*", 0.0))


def wait_seconds(request: Request, wait: float | None, cap: float) -> float | None:
    """Return how long the client wants to wait, capped; `None` where it does not. `?wait` wins."""
    if wait is None:
        prefer = _PREFER_WAIT.search(request.headers.get("prefer", ""))
        if not prefer:
            return None
        wait = float(prefer[1])
    return min(wait, cap)


def start_cursor(request: Request, after: str | None) -> int:
    """Return the number of the event to go on after; the `Last-Event-ID` header wins."""
    given = [value for value in (request.headers.get("last-event-id"), after) if value]
    for value in given:
        if not _SEQ.fullmatch(value):
            msg = f"The cursor {value[:80]!r} is not an event number. Send the id of the last event you saw."
            raise CallerError("malformed-cursor", msg)
    return min(int(given[0]), LAST_SEQ) if given else 0


def idempotency_key(request: Request) -> str | None:
    """Return the `Idempotency-Key`, checked."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        msg = "Idempotency-Key: send 1 to 255 visible ASCII characters."
        raise CallerError("invalid-parameter", msg)
    return key


def idempotency_of(request: Request, body: BaseModel) -> IdempotencyKey | None:
    """Return the promise that a request makes with its `Idempotency-Key`, if it has one."""
    key = idempotency_key(request)
    if key is None:
        return None
    document = orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(document).hexdigest()
    return IdempotencyKey(scope=_scope(request), key=key, digest=digest)


def _scope(request: Request) -> str:
    """Return whose key it is, and for what. The local caller's have only ever been named by the path."""
    caller: CallerIdentity = request.scope["caller"]
    path: str = request.scope["path"]
    return path if caller.id == LOCAL_CALLER.id else f"{caller.id} {path}"
