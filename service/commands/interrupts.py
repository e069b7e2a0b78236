"""What Ctrl-C means while a run is followed: the first asks for its end, the second leaves it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts() -> Iterator[asyncio.Event]:
    """Yield what the first Ctrl-C sets. The second cancels the task that has entered this; a third ends the process
    where it stands."""
    asked = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may handle signals
        return
    loop, work = asyncio.get_running_loop(), asyncio.current_task()
    before = signal.getsignal(signal.SIGINT)

    def take() -> None:
        if not asked.is_set():
            asked.set()
            return
        loop.remove_signal_handler(signal.SIGINT)
        if work:
            work.cancel()

    loop.add_signal_handler(signal.SIGINT, take)
    try:
        yield asked
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
