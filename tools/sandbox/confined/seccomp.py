"""The seccomp filter: which system calls a confined process may make, and with which arguments.

A program of classic BPF, assembled here. The kernel runs it before every system call, on the number, the
architecture and the arguments; it cannot look behind a pointer, so paths are Landlock's affair.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from tools.sandbox.confined.syscalls import (
    ALLOWED,
    AUDIT_ARCH,
    NUMBERS,
    PRETENDED,
    REFUSED,
    UNSUPPORTED,
)

# Instructions: load a word of the call; jump on equal, on common bits, on at least; return; keep bits.
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_ANY_BIT: Final = 0x45
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_AND: Final = 0x54

_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_FIRST_ARGUMENT: Final = 16

_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_FAIL: Final = 0x00050000

_X32: Final = 0x40000000
"""The bit of x86_64's second table of numbers, which no rule here is about."""

_THREAD: Final = 0x00010000
_NEW_NAMESPACES: Final = 0x7E020000
_STREAM: Final = 1

_CHECKED: Final[dict[str, tuple[int, tuple[int, ...], int]]] = {
    # Its name; whether it may be dumped; the name of a mapping. Not: staying alive without the parent.
    "prctl": (0, (15, 16, 3, 0x53564D41), errno.EPERM),
    "prlimit64": (0, (0,), errno.EPERM),
    "sched_setaffinity": (0, (0,), errno.EPERM),
    # What asks a terminal, counts bytes, or sets close-on-exec and non-blocking.
    "ioctl": (1, (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451), errno.ENOTTY),
    # Not F_SETOWN and F_SETSIG, which send signals to other processes, nor leases and notices.
    "fcntl": (1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032), errno.EINVAL),
}
"""By call: which argument is looked at, the values it may have, and the error for any other."""

_OPENING: Final = {"open": 1, "openat": 2}
"""By call: which argument says how to open."""

_TRUNCATE: Final = 0o1000
_HOW: Final = 3
_WAYS_TO_OPEN: Final = (0, 1, 2, _TRUNCATE | 1, _TRUNCATE | 2)
"""To read, to write, both; emptied first only where it is written.

Not the fourth way of all, which is neither and for which Landlock asks for no right; nor emptying what is
opened to read: before Linux 6.2 Landlock let both of them empty any file that this user may write.
"""


class _Program:
    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self._instructions: list[bytes] = []

    def add(self, code: int, value: int, *, then: int = 0, otherwise: int = 0) -> None:
        packed = struct.pack("=HBBI", code, then, otherwise, value & 0xFFFFFFFF)
        self._instructions.append(packed)

    def end(self, action: int) -> None:
        self.add(_RETURN, action)

    def rule(self, name: str, action: int) -> None:
        """Answer a call, whatever its arguments; one that the architecture lacks needs no rule."""
        if name in self._numbers:
            self.add(_IF_EQUAL, self._numbers[name], otherwise=1)
            self.end(action)

    def checked(self, name: str, checks: _Program) -> None:
        """Answer a call as `checks` do, which end in a return on every way."""
        if name in self._numbers:
            self.add(_IF_EQUAL, self._numbers[name], otherwise=len(checks._instructions))
            self.join(checks)

    def join(self, checks: _Program) -> None:
        """Go on with `checks`."""
        self._instructions += checks._instructions

    def bytes(self) -> bytes:
        return b"".join(self._instructions)


def _one_of(argument: int, values: tuple[int, ...], error: int, *, mask: int = 0) -> _Program:
    """Return the checks that let a call pass with one of these values; `mask` are bits that do not count."""
    checks = _Program({})
    checks.add(_LOAD, _FIRST_ARGUMENT + 8 * argument)
    if mask:
        checks.add(_AND, ~mask)
    for value in values:
        checks.add(_IF_EQUAL, value, otherwise=1)
        checks.end(_ALLOW)
    checks.end(_FAIL | error)
    return checks


def _only_threads() -> _Program:
    checks = _Program({})
    checks.add(_LOAD, _FIRST_ARGUMENT)
    checks.add(_IF_ANY_BIT, _NEW_NAMESPACES, otherwise=1)
    checks.end(_FAIL | errno.EPERM)
    checks.add(_IF_ANY_BIT, _THREAD, otherwise=1)
    checks.end(_ALLOW)
    checks.end(_FAIL | errno.EPERM)
    return checks


def _only_stream_pairs() -> _Program:
    """Let a pair of connected unix sockets be made, as asyncio needs one, but of streams only.

    A datagram socket of such a pair could send to any unix socket that has a path, such as the log's.
    """
    close_on_exec_and_non_blocking = 0o2000000 | 0o4000
    streams = _one_of(1, (_STREAM,), errno.EPERM, mask=close_on_exec_and_non_blocking)
    checks = _Program({})
    checks.add(_LOAD, _FIRST_ARGUMENT)
    unix = 1
    checks.add(_IF_EQUAL, unix, then=1)
    checks.end(_FAIL | errno.EPERM)
    checks.join(streams)
    return checks


def assemble(machine: str, pid: int) -> bytes:
    """Return the filter for an architecture and the process of that id, 8 bytes an instruction.

    Raises `KeyError` for an architecture whose system calls are not known.
    """
    numbers = NUMBERS[machine]
    program = _Program(numbers)
    program.add(_LOAD, _ARCHITECTURE)
    program.add(_IF_EQUAL, AUDIT_ARCH[machine], then=1)
    program.end(_KILL)
    program.add(_LOAD, _NUMBER)
    if machine == "x86_64":
        program.add(_IF_AT_LEAST, _X32, otherwise=1)
        program.end(_KILL)
    program.checked("clone", _only_threads())
    # ENOSYS, at which the C library makes a thread with `clone`, whose flags can be looked at.
    program.rule("clone3", _FAIL | errno.ENOSYS)
    program.checked("socketpair", _only_stream_pairs())
    for name, check in _CHECKED.items():
        program.checked(name, _one_of(*check))
    for name, argument in _OPENING.items():
        ways = _one_of(argument, _WAYS_TO_OPEN, errno.EPERM, mask=~(_TRUNCATE | _HOW))
        program.checked(name, ways)
    for name in ("kill", "tgkill"):
        program.checked(name, _one_of(0, (pid,), errno.EPERM))
    for names, action in (
        (ALLOWED, _ALLOW),
        (PRETENDED, _FAIL | 0),
        (UNSUPPORTED, _FAIL | errno.ENOTSUP),
        (REFUSED, _FAIL | errno.EPERM),
    ):
        for name in names:
            program.rule(name, action)
    program.end(_FAIL | errno.ENOSYS)
    return program.bytes()
