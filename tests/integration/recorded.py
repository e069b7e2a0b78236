"""Records runs as `signalbox run --record` does and replays them, both within the test's own loop."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sse_starlette.sse import AppStatus

from service.commands.deciding import Approve
from service.commands.replaying import replay_run
from service.commands.run import Manner, run_task
from service.recordings import read_recording, replay_settings
from service.settings import read_settings

Out = pytest.CaptureFixture[str]


class Said(NamedTuple):
    """What a command came to."""

    code: int
    stdout: str
    stderr: str

    @property
    def run(self) -> dict[str, Any]:
        """Return the run that it printed."""
        run: dict[str, Any] = json.loads(self.stdout)
        return run


async def record(
    file: Path,
    task: str,
    out: Out,
    *,
    approve: Approve = "auto",
    body: dict[str, Any] | None = None,
    **overrides: Any,
) -> Said:
    """Run a task and record it."""
    knowledge = file.parent / "knowledge"
    if file.parent.is_dir():
        knowledge.mkdir(exist_ok=True)  # empty: the large index takes seconds to build
    values: dict[str, Any] = {
        "database_url": "memory://",
        "data_dir": file.parent / "data",
        "knowledge_dir": knowledge if knowledge.is_dir() else None,
        "sandbox": "off",
        "search_keyless": False,
        "validation": "off",
        "model_timeout": 5,
        "_env_file": None,
        **overrides,
    }
    out.readouterr()
    AppStatus.should_exit = False  # a server that has stopped leaves it set for the process
    code = await run_task(
        read_settings(**values),
        {"task": task, **(body or {})},
        Manner(approve=approve, record=file),
    )
    return Said(code, *out.readouterr())


async def replay(file: Path, out: Out, *, check: bool = True, loose: bool = False) -> Said:
    """Replay a recording, as if no model had ever been configured."""
    recording = read_recording(file, loose=loose)
    out.readouterr()
    AppStatus.should_exit = False
    with tempfile.TemporaryDirectory() as folder:
        values = replay_settings(recording.header, Path(folder))
        settings = read_settings(**values, _env_file=None)
        code = await replay_run(settings, recording, file, check=check, loose=loose, quiet=False)
    return Said(code, *out.readouterr())


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a recording."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def write_lines(file: Path, lines: list[dict[str, Any]], *, sealed: bool = True) -> None:
    """Write a recording anew; where it is not `sealed` it shows that it was changed."""
    *texts, end = [json.dumps(line) + "\n" for line in lines]
    if sealed:
        digest = hashlib.sha256("".join(texts).encode()).hexdigest()
        end = json.dumps({**lines[-1], "lines": len(texts), "sha256": digest}) + "\n"
    file.write_text("".join([*texts, end]))
