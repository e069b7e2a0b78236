"""The local documents: an index that is built when first needed and rebuilt when they change."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import secrets
import sqlite3
import sys
import time
from pathlib import Path
from typing import Final

from domain.errors import ToolFailedError
from tools.corpus import folder_documents
from tools.index import SCHEMA_VERSION, Hit, read_fingerprint, search_index
from tools.process import Command, run_command

__all__ = ["Hit", "Knowledge"]

BUILD_SECONDS: Final = 120.0
MAX_HITS: Final = 20

_ROOT: Final = Path(__file__).resolve().parent.parent
"""Where `tools` can be imported from, whatever folder the service was started in."""

_log = logging.getLogger("signalbox.knowledge")


class Knowledge:
    """Search over an operator's folder, or without one over Python's and its packages'."""

    def __init__(self, index_path: Path, folder: Path | None) -> None:
        self._index_path = index_path.absolute()
        self._folder = folder.absolute() if folder is not None else None
        self._building = asyncio.Lock()

    async def search(self, query: str, limit: int = 5) -> list[Hit]:
        """Return the best excerpts that answer a query; the first search builds the index."""
        await self._ensure_fresh()
        bounded = max(1, min(limit, MAX_HITS))
        try:
            return await asyncio.to_thread(search_index, self._index_path, query, bounded)
        except sqlite3.Error as error:
            fields = {"action": "index_not_searched"}
            _log.warning("The local documents cannot be searched.", exc_info=True, extra=fields)
            message = "The local documents cannot be searched just now."
            raise ToolFailedError(message) from error

    async def _ensure_fresh(self) -> None:
        if await self._is_fresh():
            return
        async with self._building:
            # Another search may have built it while this one waited.
            if not await self._is_fresh():
                await self._build()

    async def _is_fresh(self) -> bool:
        return await asyncio.to_thread(
            lambda: read_fingerprint(self._index_path) == fingerprint(self._folder)
        )

    async def _build(self) -> None:
        started = time.monotonic()
        # Two processes may build at once: each has its own file, and the rename is atomic.
        unfinished = self._index_path.with_name(
            f".{self._index_path.name}.{secrets.token_hex(6)}.part"
        )
        try:
            await asyncio.to_thread(_make_parent, unfinished)
            wanted = await asyncio.to_thread(fingerprint, self._folder)
            await _build_apart(unfinished, self._folder, wanted)
            await asyncio.to_thread(unfinished.replace, self._index_path)
        except OSError as error:
            message = f"The index of the local documents cannot be written: {error.strerror}."
            raise ToolFailedError(message) from error
        finally:
            # A second cancellation must not leave the file behind.
            await asyncio.shield(asyncio.to_thread(_remove, unfinished))
        _log.info(
            "The index of the local documents is built.",
            extra={"action": "index_built", "seconds": round(time.monotonic() - started, 1)},
        )


def fingerprint(folder: Path | None) -> str:
    """Return what an index has to have been built from in order to be fresh."""
    if folder is None:
        return f"schema {SCHEMA_VERSION}, Python {sys.version}"
    listed = [(one.name, one.size, one.modified_ns) for one in folder_documents(folder)]
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return f"schema {SCHEMA_VERSION}, {folder}, {digest}"


def _make_parent(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


async def _build_apart(index: Path, folder: Path | None, wanted: str) -> None:
    """Build in a process of its own: minutes of parsing would stall the event loop's process."""
    # `-P`: a file named like a standard module in the folder of the start must not be imported.
    argv = [sys.executable, "-P", "-X", "utf8", "-m", "tools.corpus"]
    argv += ["--index", str(index), "--fingerprint", wanted]
    argv += ["--folder", str(folder)] if folder is not None else []
    command = Command(
        argv=argv,
        folder=_ROOT,
        environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)},
        wall_seconds=BUILD_SECONDS,
    )
    try:
        finished = await run_command(command)
    except TimeoutError:
        message = f"Building the index took longer than {BUILD_SECONDS:g} s and was stopped."
        raise ToolFailedError(message) from None
    if finished.status != 0:
        fields = {"action": "index_not_built"}
        _log.error("The index could not be built: %s", finished.stderr[-2_000:], extra=fields)
        message = f"The index of the local documents could not be built (exit {finished.status})."
        raise ToolFailedError(message)
