"""One process per SQLite file (who may use a Postgres is in `advisory.py`).

A claim there is safe only because nobody else can write."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from filelock import FileLock, Timeout

from domain.errors import ConfigurationError, DatabaseInUseError

Ownership = Literal["alone", "shared"]
"""`alone` keeps every other process out; `shared`, on Postgres, only those that want to be alone."""


class FileOwner:
    """The right to use a database file, held until `release` or the end of the process.

    The kernel holds the lock for an open file, so a killed process frees it, and a second owner in
    the same process is refused like one in another.
    """

    def __init__(self, path: Path) -> None:
        path = path.resolve()  # one file has one lock, whatever names lead to it
        self._path = path
        self._pid = path.with_name(f"{path.name}.pid")
        # Not per thread: it may be taken in one and released in another.
        self._lock = FileLock(f"{path}.lock", thread_local=False)

    def take(self) -> Self:
        """Take the file, or raise `ConfigurationError` at once where it is taken."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise self._refusal() from None
        except OSError as error:
            msg = (
                f"SIGNALBOX_DATABASE_URL names {str(self._path)!r}, which cannot be locked "
                f"({error.strerror}); name a file in a folder this user may write"
            )
            raise ConfigurationError(msg) from error
        self.announce("")
        return self

    def announce(self, url: str) -> None:
        """Leave word of who owns the file and, where it serves an API, at which address."""
        self._pid.write_text(f"{os.getpid()}\n{url}", encoding="ascii")

    def release(self) -> None:
        """Give the file back."""
        if self._lock.is_locked:
            self._pid.unlink(missing_ok=True)
            self._lock.release()

    def _refusal(self) -> DatabaseInUseError:
        holder, url = "", ""
        # The holder may be between its lock and its pid, or on its way out.
        with suppress(OSError, ValueError):
            pid, _, url = self._pid.read_text(encoding="ascii").partition("\n")
            holder = f" (pid {int(pid)})"
        return DatabaseInUseError(
            f"The database {str(self._path)!r} is in use by another process{holder}; stop it, "
            "send runs to it with `signalbox run --server`, or set another SIGNALBOX_DATABASE_URL",
            url=url or None,
        )
