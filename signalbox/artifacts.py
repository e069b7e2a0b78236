"""Operations on artifacts: the files that runs produce."""

from __future__ import annotations

import errno
import hashlib
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import BinaryIO

import httpx

from signalbox.bounds import Content
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
        held = _Held(self._sender.answer_bytes)
        yield from _download(self._sender, run_id, name, held.write, held.restart)
        return held.content.value()

    @operation
    def download(self, run_id: str, name: str, to: Path | str) -> Flow[Path]:
        """Write a file to `to`, or below it where that is a folder; return where it is.

        It is written beside its place and moved there when it is whole, so that nobody finds half of it.
        """
        target: Path = yield Work(lambda: _target(Path(to), name))
        writing = _Writing(target)
        try:
            yield Work(writing.begin)
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


class _Held:
    """A file that is kept in memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.content = Content(most, inf)

    def write(self, piece: bytes) -> None:
        self.content.add(piece)

    def restart(self) -> None:
        self.content = Content(self._most, inf)


class _Writing:
    """A file that is being written, under a name of its own until it is whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        # Its bytes count with its name, of which a file system takes 255.
        self._path = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None

    def begin(self) -> None:
        try:
            _refuse_device(self._target)
            # Not `tempfile`, after which the rights would have to be set as the user's umask says: to ask for that
            # one has to change it, for every thread of the process.
            self._file = self._path.open("xb")
        except (OSError, ValueError) as error:  # a name with NUL in it
            raise _not_written(self._target, error) from error

    def write(self, piece: bytes) -> None:
        try:
            self._begun.write(piece)
        except OSError as error:
            raise _not_written(self._target, error) from error

    def restart(self) -> None:
        self._begun.seek(0)
        self._begun.truncate()

    def finish(self) -> None:
        try:
            self._begun.close()
            self._path.replace(self._target)
        except OSError as error:
            raise _not_written(self._target, error) from error

    def abandon(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # what is left in its buffer does not fit either
            self._file.close()
        self._path.unlink(missing_ok=True)

    @property
    def _begun(self) -> BinaryIO:
        if self._file is None:
            msg = "nothing is being written"
            raise ValueError(msg)
        return self._file


def _refuse_device(target: Path) -> None:
    if target.exists() and not target.is_file():
        raise OSError(errno.EEXIST, "it is there, and is no file")


def _not_written(target: Path, error: Exception) -> ConfigurationError:
    why = (error.strerror if isinstance(error, OSError) else None) or error
    return ConfigurationError(f"{str(target)!r} cannot be written: {why}.")


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
            answer = yield from _pass_on(sender, Request(method="GET", path=path), name, write)
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


def _pass_on(
    sender: Sender, request: Request, name: str, write: Callable[[bytes], object]
) -> Flow[Answer]:
    """Pass one answer on, if it is the file; return it, with what it says where it is not."""
    answer: Answer = yield Open(request)
    if not answer.success:
        content = yield from sender.rest()
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
