"""Whether the providers of models answer, as far as this process has seen: nobody is asked for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

LAST_CALLS: Final = 3
"""How many calls of a provider have to have failed, one after the other."""

SEEN_SECONDS: Final = 600.0
"""For how long a call says anything about now."""


class _Seen(NamedTuple):
    at: float
    answered: bool


class Outages:
    """Remembers the last calls of each provider."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, deque[_Seen]] = {}

    def note(self, provider: str, *, answered: bool) -> None:
        """Note a call that was made, and whether its provider answered as it should."""
        calls = self._seen.setdefault(provider, deque(maxlen=LAST_CALLS))
        calls.append(_Seen(self._clock(), answered))

    def failing(self) -> list[str]:
        """Return the providers whose last calls have all failed, not long ago."""
        since = self._clock() - SEEN_SECONDS
        return sorted(
            provider
            for provider, calls in self._seen.items()
            if len(calls) == LAST_CALLS
            and calls[0].at >= since
            and not any(call.answered for call in calls)
        )
