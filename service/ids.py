"""Real time and real identifiers."""

from __future__ import annotations

from datetime import UTC, datetime

import uuid_utils


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)


class UuidIds:
    """Identifiers from UUIDv7: they sort by time of creation."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as `run_0193…`."""
        return f"{prefix}_{uuid_utils.uuid7().hex}"
