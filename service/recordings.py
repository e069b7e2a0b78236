"""The file of a recording: written whole or not at all, read with every line checked."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from pydantic import TypeAdapter, ValidationError

from domain.errors import ConfigurationError
from domain.recording import (
    MAX_BYTES,
    SCHEMA,
    CallLine,
    EndLine,
    EventLine,
    Header,
    Line,
    PinLine,
    Recording,
    ToolLine,
)
from service.settings import Settings

SETTINGS: Final = frozenset(
    {
        "validation",
        "gates",
        "budgets",
        "http_allow",
        "max_rounds",
        "approval_seconds",
        "approval_on_expiry",
        "model_max_output",
    }
)
"""What decides beside models and tools what a run does."""

_READ: Final = ("gates", "budgets", "http_allow")

_LINE: Final[TypeAdapter[Line]] = TypeAdapter(Line)


class TooLargeError(Exception):
    """What was recorded is more than a recording may be."""


class Target:
    """Where a recording is to be. What is there stays until the new one is whole."""

    def __init__(self, path: Path) -> None:
        """Make sure that it can be written; raises `ConfigurationError` where it cannot. Blocks."""
        self.path: Final = path
        self._part: Final = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")
        try:
            if path.exists() and not path.is_file():
                raise ConfigurationError(f"--record {path}: it is there, and is no file.")
            # Where it cannot be written, the run is not to be paid for.
            self._file: Final = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"--record {path}: it cannot be written ({why}).") from error

    def write(self, lines: Sequence[Line]) -> None:
        """Put the whole recording in its place; raises `TooLargeError` or `OSError`. Blocks."""
        data = b"".join(_encoded(lines))
        if len(data) > MAX_BYTES:
            raise TooLargeError
        with os.fdopen(os.dup(self._file), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._part.rename(self.path)

    def close(self) -> None:
        """Leave nothing half-written. Blocks."""
        os.close(self._file)
        self._part.unlink(missing_ok=True)


def _encoded(lines: Iterable[Line]) -> Iterator[bytes]:
    for line in lines:
        # Half a surrogate pair, which a model may say, is no UTF-8.
        yield line.model_dump_json().encode("utf-8", "replace") + b"\n"


def end_line(lines: Sequence[Line], run: dict[str, Any] | None) -> EndLine:
    """Return the line that ends a recording."""
    digest = hashlib.sha256(b"".join(_encoded(lines))).hexdigest()
    return EndLine(run=run, lines=len(lines), sha256=digest)


def read_recording(path: Path, *, loose: bool = False) -> Recording:
    """Return a recording; raises `ConfigurationError` in one line where it is none, or was changed (which
    `loose` allows). Blocks."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path}: it cannot be read ({why}).") from error
    if len(data) > MAX_BYTES:
        _refuse(path, f"it has more than {MAX_BYTES} bytes, which no recording has")
    texts = data.splitlines(keepends=True)
    lines = [_read_line(path, number, text) for number, text in enumerate(texts, 1)]
    header, end = (lines[0], lines[-1]) if lines else (None, None)
    if not isinstance(header, Header):
        _refuse(path, "it does not begin like a recording of `signalbox run --record`")
    if not isinstance(end, EndLine):
        _refuse(path, "it is cut off: its last line is missing")
    body = lines[1:-1]
    if any(isinstance(line, (Header, EndLine)) for line in body):
        _refuse(path, "it has a first or a last line in its midst")
    digest = hashlib.sha256(b"".join(texts[:-1])).hexdigest()
    if not loose and (end.lines, end.sha256) != (len(lines) - 1, digest):
        _refuse(path, "it was changed after it was recorded; --loose replays it all the same")
    return Recording(
        header=header,
        calls=tuple(line for line in body if isinstance(line, CallLine)),
        tools=tuple(line for line in body if isinstance(line, ToolLine)),
        pins=tuple(line for line in body if isinstance(line, PinLine)),
        events=tuple(line.event for line in body if isinstance(line, EventLine)),
        run=end.run,
    )


def _read_line(path: Path, number: int, text: bytes) -> Line:
    try:
        line = _LINE.validate_json(text)
    except ValidationError as error:
        if number == 1:
            _refuse_other_form(path, text)
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        _refuse(path, f"line {number} is none of a recording ({where or 'JSON'}: {fault['msg']})")
    if isinstance(line, Header) and line.schema_version != SCHEMA:
        _refuse_form(path, line.schema_version, line.product)
    return line


def _refuse_other_form(path: Path, text: bytes) -> None:
    """Say of a first line that cannot be read that another version has made it, where it says so itself."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return
    made = line.get("schema_version", SCHEMA) if isinstance(line, dict) else SCHEMA
    if isinstance(made, int) and made != SCHEMA and line.get("kind") == "recording":
        _refuse_form(path, made, str(line.get("product"))[:80])


def _refuse_form(path: Path, made: int, product: str) -> NoReturn:
    why = f"it has the form {made}, and this version of Signalbox reads {SCHEMA}; it was made by {product}"
    _refuse(path, why)


def _refuse(path: Path, why: str) -> NoReturn:
    raise ConfigurationError(f"{path} cannot be replayed: {why}.")


def replay_settings(header: Header, folder: Path) -> dict[str, Any]:
    """Return the settings of a replay: those that were recorded, in a folder of its own, and no keys."""
    tiers, fields = header.tiers or {}, Settings.model_fields
    if any(isinstance(header.settings.get(name), str) for name in _READ):
        # As a setting it would name a file of this machine.
        raise ConfigurationError(f"A recording has {', '.join(_READ)} as JSON, not as text.")
    return {
        **{name: header.settings.get(name, fields[name].default) for name in SETTINGS},
        "search_keyless": bool(header.settings.get("search_keyless")),
        "env": "development",
        "database_url": "memory://",
        "dispatch": "local",
        "data_dir": folder,
        "sandbox": "off",
        "cache_seconds": 0,
        "output_dir": None,
        "prices": None,
        "oidc": None,
        "public_url": None,
        "openai_api_key": None,
        "openai_base_url": None,
        "tavily_api_key": None,
        "langsmith_tracing": False,
        **{f"model_{tier}": tiers.get(tier) for tier in ("fast", "standard", "deep")},
    }
