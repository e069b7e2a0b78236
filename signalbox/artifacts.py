"""Operations on artifacts: the files that runs produce."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import httpx

from signalbox.errors import ConfigurationError, UnexpectedAnswerError
from signalbox.flows import Answer, Close, Flow, Open, Pause, Read, Request, Work
from signalbox.models import Artifact
from signalbox.operations import Async, Sync, operation
from signalbox.paging import all_of
from signalbox.sending import Sender, path_of, refusal


class ArtifactOperations:
    """What can be done with artifacts."""

    _sender: Sender

    @operation
    def list(self, run_id: str) -> Flow[Sequence[Artifact]]:
        """Return the files that a run has produced so far, by name."""
        return all_of(self._sender, path_of("v1", "runs", run_id, "artifacts"), Artifact)

    @operation
    def read(self, run_id: str, name: str) -> Flow[bytes]:
        """Return a file's bytes."""
        pieces: list[bytes] = []
        yield from _download(self._sender, run_id, name, pieces.append, pieces.clear)
        return b"".join(pieces)

    @operation
    def download(self, run_id: str, name: str, to: Path | str) -> Flow[Path]:
        """Write a file to `to`, or below it where that is a folder; return where it is.

        It is written beside its place and moved there when it is whole, so that nobody finds half of it.
        """
        target: Path = yield Work(lambda: _target(Path(to), name))
        writing: _Writing = yield Work(lambda: _Writing(target))
        try:
            yield from _download(self._sender, run_id, name, writing.write, writing.restart)
            yield Work(writing.finish)
        except GeneratorExit:
            writing.abandon()  # nobody is there any more to carry a step out
            raise
        except Exception:
            yield Work(writing.abandon)
            raise
        return target


def _target(to: Path, name: str) -> Path:
    file = name.rpartition("/")[2]
    if not to.is_dir():
        return to
    # Agents choose names: a hidden file is one that programs act upon, such as `.envrc`.
    if not file.strip() or file.startswith(".") or not file.isprintable():
        msg = f"The artifact {name!r} has no name for a file in a folder; say which file to write."
        raise ConfigurationError(msg)
    return to / file


class _Writing:
    """A file that is being written, under a name of its own until it is whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        try:
            number, path = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except (OSError, ValueError) as error:  # a name with NUL in it
            raise _not_written(target, error) from error
        self._path = Path(path)
        self._file: BinaryIO = os.fdopen(number, "wb")

    def write(self, piece: bytes) -> None:
        try:
            self._file.write(piece)
        except OSError as error:
            raise _not_written(self._target, error) from error

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def finish(self) -> None:
        try:
            self._file.close()
            self._path.chmod(0o666 & ~_umask())
            self._path.replace(self._target)
        except OSError as error:
            raise _not_written(self._target, error) from error

    def abandon(self) -> None:
        with suppress(OSError):  # what is left in its buffer does not fit either
            self._file.close()
        self._path.unlink(missing_ok=True)


def _not_written(target: Path, error: Exception) -> ConfigurationError:
    why = (error.strerror if isinstance(error, OSError) else None) or error
    return ConfigurationError(f"{str(target)!r} cannot be written: {why}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _download(
    sender: Sender,
    run_id: str,
    name: str,
    write: Callable[[bytes], object],
    restart: Callable[[], object],
) -> Flow[None]:
    """Pass a file on piece by piece; from its beginning again where the connection is lost."""
    path = f"{path_of('v1', 'runs', run_id, 'artifacts')}{_path(name)}"
    failures = 0
    while True:
        failures += 1
        last = failures >= sender.retries.attempts
        try:
            answer = yield from _pass_on(Request(method="GET", path=path), name, write)
        except httpx.RequestError as error:
            if last:
                raise sender.unreachable(error) from error
            seconds: float | None = sender.retries.pause(failures)
        else:
            if answer.success:
                return
            seconds = sender.again_after(answer, failures)
            if last or seconds is None:
                raise refusal(answer)
        yield Close()
        yield Work(restart)
        yield Pause(seconds or 0.0)


def _pass_on(request: Request, name: str, write: Callable[[bytes], object]) -> Flow[Answer]:
    """Pass one answer on, if it is the file; return it, with what it says where it is not."""
    answer: Answer = yield Open(request)
    if not answer.success:
        content = b""
        while piece := (yield Read()):
            content += piece
        return replace(answer, content=content)
    digest = hashlib.sha256()
    while piece := (yield Read()):
        digest.update(piece)
        yield Work(partial(write, piece))
    yield Close()
    told = answer.headers.get("etag", "").strip('"')
    if told and told != digest.hexdigest():
        msg = f"The artifact {name!r} has arrived with other bytes than the server has. Download it again."
        raise UnexpectedAnswerError(msg)
    return answer


def _path(name: str) -> str:
    if not name:
        msg = "The artifact's name is empty."
        raise ConfigurationError(msg)
    return "".join(path_of(step) if step else "/" for step in name.split("/"))


class Artifacts(ArtifactOperations, Sync):
    """Artifacts, waited for."""


class AsyncArtifacts(ArtifactOperations, Async):
    """Artifacts, awaited."""
