"""Saves the files of a run to a folder: below it whatever they are called, and over nothing that is there."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

import httpx

from domain.artifact import MAX_ARTIFACT_BYTES, artifact_url
from domain.errors import ConfigurationError
from domain.unseen import shows
from service.commands.client import fetched, refused
from service.commands.progress import Progress
from signalbox.models import Artifact
from signalbox.paging import Page

MOST_TRIES: Final = 1_000
"""Names that are tried for one file."""

LONGEST_PART: Final = 60
"""Characters of a part of a name; a file system takes 255 bytes."""

_ODD: Final = re.compile(r'[<>:"|?*\\]')


class _NotSavedError(Exception):
    """A file is not saved; says why."""


def prepare(folder: Path) -> Path:
    """Make the folder that files will be saved to; raises `ConfigurationError` where nothing can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out {folder}: it cannot be made ({error.strerror}).") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"--out {folder}: nothing can be written there.")
    return folder.resolve()


async def save_artifacts(
    client: httpx.AsyncClient, run_id: str, folder: Path, progress: Progress
) -> bool:
    """Save every file of a run, and say where; return whether all are there."""
    page = await fetched(client.get(f"/v1/runs/{quote(run_id, safe='')}/artifacts"), Page[Artifact])
    well = True
    for artifact in page["data"]:
        name = artifact["name"]
        try:
            # Not the address that the server names: a key is for this server alone.
            data = await _download(client, artifact_url(run_id, name))
            path = await asyncio.to_thread(_place, data, name, folder)
        except (OSError, UnicodeEncodeError, _NotSavedError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            progress.insist(f"not saved: {name}: {why}")
            well = False
        else:
            progress.say("signalbox", f"saved {path}")
    return well


async def _download(client: httpx.AsyncClient, url: str) -> bytes:
    data = bytearray()
    async with client.stream("GET", url) as response:
        if not response.is_success:
            await response.aread()
            raise refused(response)
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) > MAX_ARTIFACT_BYTES:
                raise _NotSavedError(f"it has more than {MAX_ARTIFACT_BYTES} bytes")
    return bytes(data)


def _place(data: bytes, name: str, folder: Path) -> Path:
    """Write a file under its name, or the first like it that nothing has; what is there already is left."""
    for path in _names(folder, name):
        if not path.parent.resolve().is_relative_to(folder):
            raise _NotSavedError("a link leads out of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(path, data)
        except FileExistsError:
            if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
                continue
        return path
    raise _NotSavedError(f"{MOST_TRIES} files have that name")


def _write(path: Path, data: bytes) -> None:
    file = path.open("xb")  # follows no link
    try:
        with file:
            file.write(data)
    except OSError:
        path.unlink(missing_ok=True)  # a part of it is worse than nothing
        raise


def _names(folder: Path, name: str) -> Iterator[Path]:
    path = folder / safe_name(name)
    yield path
    for number in range(2, MOST_TRIES + 1):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def safe_name(name: str) -> PurePosixPath:
    """Return the name of a run's file as a path below a folder: no part leads upwards, is hidden, or has what a
    terminal or a file system would make something else of."""
    parts = [
        _ODD.sub("_", "".join(c if shows(c) else "_" for c in part)).strip(" .")
        for part in name.replace("\\", "/").split("/")
    ]
    return PurePosixPath(*([_short(part) for part in parts if part] or ["file"]))


def _short(part: str) -> str:
    stem, dot, ending = part.rpartition(".")
    if len(part) <= LONGEST_PART:
        return part
    kept = f"{dot}{ending}" if stem and len(ending) < LONGEST_PART // 2 else ""
    return part[: LONGEST_PART - len(kept)] + kept
