"""How long to wait before a model is called again."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from agents._kit.faults import causes

MAX_DELAY_SECONDS: Final = 20.0
"""The longest wait of our own choice between two tries."""


def delay_before(error: BaseException, tries: int, *, first: float) -> float:
    """Return the seconds to wait after so many tries: as many as the provider says, else exponentially more
    each time, with jitter so that those who failed together do not come back together."""
    told = told_delay(error)
    if told is not None:
        return told
    jitter = random.uniform(0, first / 2)  # noqa: S311 - no secret
    return min(first * 2.0 ** (tries - 1) + jitter, MAX_DELAY_SECONDS)


def told_delay(error: BaseException) -> float | None:
    """Return what a provider's Retry-After says, in seconds or as a date; `None` where it says nothing."""
    found = (getattr(getattr(cause, "response", None), "headers", None) for cause in causes(error))
    headers: Mapping[str, str] = next(filter(None, found), {})
    told = str(headers.get("retry-after", "")).strip()
    try:
        seconds = float(told)
    except ValueError:
        return _until(told)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
