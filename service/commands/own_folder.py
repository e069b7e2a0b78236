"""A folder for as long as a command lasts, also where the command is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOCK: Final = ".in-use"
"""Held by the command that the folder is of. The system lets go of it when that ends, however it ends."""


@contextmanager
def own_folder(prefix: str) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards, with those that commands have left which were killed."""
    _sweep(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        part = folder / f"{LOCK}.new"
        with part.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            part.rename(folder / LOCK)  # never there without being held
            yield folder


def _sweep(prefix: str) -> None:
    """Remove what nobody uses. A folder without a lock was to be kept, or is only just being made."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # Where everybody may write, others may put links, and folders of their own.
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            number = os.open(folder / LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(number)
