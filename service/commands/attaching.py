"""What comes along with a run of the command line: its task, files and schema, read with a bound."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from domain.artifact import MAX_INPUT_BYTES
from domain.errors import ConfigurationError

STDIN: Final = "-"

MAX_TASK_BYTES: Final = 1024**2
"""Far more than any task may have; the server says how long one may be."""


def read_task(task: str) -> str:
    """Return the task, from stdin where it is `-`; raises `ConfigurationError` where none comes."""
    if task != STDIN:
        return task
    if sys.stdin is None:
        raise ConfigurationError("TASK -: stdin is closed; a task is read from there.")
    data = sys.stdin.buffer.read(MAX_TASK_BYTES + 1)
    if len(data) > MAX_TASK_BYTES:
        raise ConfigurationError(f"TASK -: stdin has more than {MAX_TASK_BYTES} bytes.")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"TASK -: what comes on stdin is no UTF-8 ({error}).") from error
    if not text:
        raise ConfigurationError("TASK -: nothing came on stdin; a task is read from there.")
    return text


def read_files(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Return files as the body of a run has them; raises `ConfigurationError` where one cannot be sent."""
    names = [path.name for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigurationError(f"--file: {twice!r} is the name of two files; rename one.")
    return [
        {
            "name": path.name,
            "content_base64": base64.b64encode(_read_file("--file", path)).decode(),
        }
        for path in paths
    ]


def read_schema(path: Path) -> dict[str, Any]:
    """Return the schema that a file has; raises `ConfigurationError` where there is none in it."""
    try:
        schema = json.loads(_read_file("--schema", path))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--schema {path}: this is no JSON ({error}).") from error
    if not isinstance(schema, dict):
        raise ConfigurationError(f"--schema {path}: a schema is a JSON object.")
    return schema


def _read_file(option: str, path: Path) -> bytes:
    """Return what a file has. One that is too large is not read: it may be of any size."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{option} {path}: it cannot be read ({error.strerror})."
        ) from error
    if len(data) > MAX_INPUT_BYTES:
        raise ConfigurationError(f"{option} {path}: it has more than {MAX_INPUT_BYTES} bytes.")
    return data
