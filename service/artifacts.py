"""The files that runs have produced: which there are, and their bytes."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from domain.artifact import Artifact
from domain.errors import CallerError
from domain.ports import ArtifactStore, RunRef
from tools.beneath import FILE

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class OpenArtifact(NamedTuple):
    """An artifact and its file, open at the beginning; whoever gets it closes it, off the loop."""

    artifact: Artifact
    file: BinaryIO


class ArtifactService:
    """The artifacts of runs, for one tenant at a time."""

    def __init__(self, store: ArtifactStore, shelves: Path) -> None:
        self._store = store
        self._shelves = shelves

    async def of_run(self, ref: RunRef) -> list[Artifact]:
        """Return a run's artifacts by name, also while it executes."""
        return await self._store.of_run(ref)

    async def open(self, ref: RunRef, name: str) -> OpenArtifact:
        """Return an artifact with its file, or raise `not-found`."""
        artifact = await self._store.find(ref, name)
        if artifact is None:
            msg = (
                f"The run has no artifact {name[:80]!r}. "
                f"GET /v1/runs/{ref.run_id}/artifacts lists those it has."
            )
            raise CallerError("not-found", msg, run_id=ref.run_id)
        file = await asyncio.to_thread(_open, self._shelves / ref.tenant_id / ref.run_id, artifact)
        if file is None:
            msg = (
                f"The run has produced {name[:80]!r}, but the file is not on this server: it was removed, "
                "or lies on the machine that executed the run. Ask the operator for the artifacts below "
                "SIGNALBOX_DATA_DIR."
            )
            raise CallerError("not-found", msg, run_id=ref.run_id)
        return OpenArtifact(artifact, file)


def _open(shelf: Path, artifact: Artifact) -> BinaryIO | None:
    """Open a file of a shelf; `None` where it is not there, or is not what it was."""
    if not _SHA256.fullmatch(artifact["sha256"]):
        return None
    try:
        file = os.fdopen(os.open(shelf / artifact["sha256"], FILE), "rb")
    except OSError:
        return None
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size != artifact["size"]:
        file.close()
        return None
    return file
