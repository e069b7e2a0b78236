"""What a server says of an error (RFC 9457)."""

from __future__ import annotations

from signalbox.models.base import Model


class Pointer(Model):
    """One fault of a body: where (a JSON pointer) and what."""

    pointer: str
    detail: str


class Problem(Model):
    """What went wrong, as the server tells it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    instance: str | None = None
    run_id: str | None = None
    request_id: str | None = None
    errors: list[Pointer] | None = None
