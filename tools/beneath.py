"""Opens what lies beneath a folder, and nothing outside of it, whatever links a program has put there.

Where the kernel has `openat2` it resolves a path as a whole and refuses every link; elsewhere each
component is opened from the one before it, with links refused one by one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_OPENAT2: Final = 437
"""The number of the system call, the same on every architecture that got it with Linux 5.6."""

_MACHINES: Final = frozenset({"x86_64", "aarch64"})
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_HERE: Final = -100
"""`AT_FDCWD`: the folder that the process is in."""

_REFUSED: Final = frozenset({errno.ENOSYS, errno.EPERM})
"""How an old kernel answers, and a filter of system calls such as that of a container."""


class _How(ctypes.Structure):
    """The kernel's `struct open_how`."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class Beneath:
    """An open folder, and the way to what is in it. Paths are given as their components.

    Every method raises `OSError`: `ELOOP` or `ENOTDIR` where a component is a link.
    """

    def __init__(self, fd: int, *, walk: bool = False) -> None:
        self._fd = fd
        self._by_kernel = not walk and has_openat2()

    def open(self, parts: Sequence[str], flags: int = FILE) -> int:
        """Return the descriptor of something that is there; the caller closes it."""
        if self._by_kernel:
            return _openat2(self._fd, "/".join(parts), flags)
        parent = self._walk(parts[:-1], create=None)
        try:
            return os.open(parts[-1], flags, dir_fd=parent)
        finally:
            os.close(parent)

    def open_folder(self, parts: Sequence[str], *, create: int | None = None) -> int:
        """Return the descriptor of a folder, of the root for no components; the caller closes it.

        `create`: the mode that folders get which are not there yet.
        """
        if self._by_kernel and parts:
            with suppress(FileNotFoundError):
                return _openat2(self._fd, "/".join(parts), FOLDER)
        return self._walk(parts, create=create)

    def _walk(self, parts: Sequence[str], *, create: int | None) -> int:
        fd = os.dup(self._fd)
        try:
            for part in parts:
                if create is not None:
                    with suppress(FileExistsError):
                        os.mkdir(part, create, dir_fd=fd)
                below = os.open(part, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
        except OSError:
            os.close(fd)
            raise
        return fd


@contextmanager
def open_beneath(root: Path, *, walk: bool = False) -> Iterator[Beneath]:
    """Open a folder that is no link itself. `walk`: component by component, whatever the kernel has."""
    fd = os.open(root, FOLDER)
    try:
        yield Beneath(fd, walk=walk)
    finally:
        os.close(fd)


def add_name(file: Path, name: Path) -> None:
    """Give a file that nobody changes a second name, unless it has it; raises `OSError`."""
    with suppress(FileExistsError):
        os.link(file, name, follow_symlinks=False)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut; raises `OSError`."""
    fd = os.open(folder, FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@cache
def has_openat2() -> bool:
    """Return whether the kernel resolves paths for us: it knows how, and this process may ask it to."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    try:
        os.close(_openat2(_HERE, ".", FOLDER))
    except OSError as error:
        return error.errno not in _REFUSED
    return True


@cache
def _libc() -> Any:  # noqa: ANN401 - ctypes finds functions by attribute
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _openat2(folder: int, path: str, flags: int) -> int:
    how = _How(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    while True:
        fd: int = _libc().syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_long(folder),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code), path)
