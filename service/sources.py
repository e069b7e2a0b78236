"""What the tools of a run have answered, as the run keeps it: the text behind a citation."""

from __future__ import annotations

import asyncio
from pathlib import Path

from domain.errors import CallerError
from domain.ports import RunRef
from tools.sources import read_text


class SourceService:
    """The texts that runs rest on, for one tenant at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, ref: RunRef, sha256: str) -> str:
        """Return a text by its hash, or raise `not-found`."""
        folder = self._root / ref.tenant_id / ref.run_id
        text = await asyncio.to_thread(read_text, folder, sha256)
        if text is None:
            msg = (
                f"The run keeps no source {sha256[:80]!r} on this server. The citations of its result have the "
                "hashes of those it read; they lie below SIGNALBOX_DATA_DIR of the machine that executed it."
            )
            raise CallerError("not-found", msg, run_id=ref.run_id)
        return text
