"""A file that an agent produced, kept with its run."""

from __future__ import annotations

from typing import Final, NotRequired
from urllib.parse import quote

from typing_extensions import TypedDict

MAX_ARTIFACTS: Final = 20
"""Files that one tool call may leave."""

MAX_ARTIFACT_BYTES: Final = 20 * 1024**2
MAX_CALL_BYTES: Final = 50 * 1024**2
"""Bytes that the files of one tool call may have together."""

MAX_RUN_BYTES: Final = 256 * 1024**2
"""Bytes that a run's artifacts may have together, earlier versions of them included."""


MAX_INPUT_FILES: Final = 20
"""Files that may come with a task."""

MAX_INPUT_BYTES: Final = 5 * 1024**2
MAX_INPUTS_BYTES: Final = 10 * 1024**2
"""Bytes that the files of one task may have together."""


class Artifact(TypedDict):
    """A file an agent produced, as events and runs tell of it."""

    name: str
    """Its path in the workspace; of a file that was written again the last version counts."""
    media_type: str
    size: int
    """Bytes."""
    sha256: str
    """64 hexadecimal digits."""
    agent: str
    url: str
    """Where it is downloaded, below the server's address."""


def artifact_url(run_id: str, name: str) -> str:
    """Return where an artifact of a run is downloaded."""
    return f"/v1/runs/{run_id}/artifacts/{quote(name)}"


class InputFile(TypedDict):
    """A file that came with a run's task."""

    name: str
    size: int
    """Bytes."""
    sha256: NotRequired[str]
    """64 hexadecimal digits."""
