"""A thread that does what is put into its queue: nobody waits for it, it holds little, and it ends in time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

MOST: Final = 2_000
"""Items that wait; what comes beyond them is dropped."""

AT_ONCE: Final = 100

LINGER_SECONDS: Final = 0.25
"""How long more items are waited for, so that a few of them go out together."""

TRIES: Final = 3
"""How often the same items are tried before they are dropped."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Between tries the thread pauses, twice as long each time until something succeeds."""

AWAY_SECONDS: Final = 5.0
"""After so long without success whoever the items are for is taken to be away."""


class Background(Generic[Item]):
    """The queue with its thread. The thread ends with the process, whatever it is doing.

    `do` takes items off the front of its list as they are done; where it raises, the rest is tried again. It
    returns in how many seconds it wants to be called though there be nothing to do, or `None`; after a failure
    it is called so too. `on_failure` is called in the thread with what was raised.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[list[Item]], float | None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._do = do
        self._on_failure = on_failure
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._pause = FIRST_PAUSE
        self._trying_since: float | None = None
        """Since when nothing has succeeded, though it was tried."""
        self.dropped = 0
        """Items that were not done."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; `do` is called once though there be nothing to do."""
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Return whether whatever comes next would be dropped."""
        return len(self._items) >= MOST

    @property
    def is_away(self) -> bool:
        """Return whether nothing has succeeded for some seconds: what comes next may well be dropped."""
        since = self._trying_since
        return since is not None and monotonic() - since > AWAY_SECONDS

    def put(self, item: Item) -> None:
        """Leave an item, or drop it where there is no room."""
        with self._changed:
            if self.is_full or self._stopping:
                self.dropped += 1
                return
            self._items.append(item)
            if len(self._items) in {1, AT_ONCE}:
                self._changed.notify()

    def stop(self, seconds: float) -> int:
        """Have the thread do what waits, for so long; return how many items are dropped then."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            self.dropped += len(self._items)
            self._items.clear()
            return self.dropped

    def _run(self) -> None:
        again: float | None = 0.0
        while True:
            items = self._take(again)
            if not items and self._stopping:
                return
            again = self._try(items)

    def _take(self, seconds: float | None) -> list[Item]:
        """Return the next items; none when the time is over, or where everything was done and it ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._stopping, seconds)
            if self._items:
                self._changed.wait_for(
                    lambda: self._stopping or len(self._items) >= AT_ONCE, LINGER_SECONDS
                )
            return [self._items.popleft() for _ in range(min(len(self._items), AT_ONCE))]

    def _try(self, items: list[Item]) -> float | None:
        if self._trying_since is None:
            self._trying_since = monotonic()
        for _ in range(TRIES):
            try:
                again = self._do(items)
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on
                self._on_failure(error)
                if self._is_stopped_within(self._pause):
                    break
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            else:
                self._pause, self._trying_since = FIRST_PAUSE, None
                return again
        with self._changed:
            self.dropped += len(items)
            if self._stopping:
                # Who could not be reached now will not be in the moment that is left.
                self.dropped += len(self._items)
                self._items.clear()
        return self._pause

    def _is_stopped_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, seconds)
