"""Calls of the Linux kernel that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

SET_PDEATHSIG: Final = 1
SET_SECCOMP: Final = 22
DROP_BOUNDING_CAPABILITY: Final = 24
SET_NO_NEW_PRIVS: Final = 38
AMBIENT_CAPABILITIES: Final = 47
CLEAR_ALL_AMBIENT: Final = 4


def system_call(number: int, *args: ctypes._SimpleCData[int] | bytes | None) -> int:
    """Make a system call by its number; raises `OSError`."""
    result = int(_LIBC.syscall(ctypes.c_long(number), *args))
    if result < 0:
        raise _last_error()
    return result


def control_process(option: int, value: int = 0, second: int = 0) -> None:
    """Call `prctl`; raises `OSError`."""
    words = [ctypes.c_ulong(word) for word in (value, second, 0, 0)]
    if _LIBC.prctl(option, *words) != 0:
        raise _last_error()


def unshare(flags: int) -> None:
    """Leave namespaces for new ones; raises `OSError`."""
    if _LIBC.unshare(ctypes.c_int(flags)) != 0:
        raise _last_error()


def install_filter(program: bytes) -> None:
    """Make a seccomp program the filter of this process for good; raises `OSError`."""
    instructions = ctypes.create_string_buffer(program, len(program))
    described = _Filter(len(program) // 8, ctypes.addressof(instructions))
    mode_filter = ctypes.c_ulong(2)
    if _LIBC.prctl(SET_SECCOMP, mode_filter, ctypes.byref(described), 0, 0) != 0:
        raise _last_error()


def drop_capabilities() -> None:
    """Give up every capability, also those a program could get back by starting another."""
    for capability in range(64):
        try:
            control_process(DROP_BOUNDING_CAPABILITY, capability)
        except OSError:
            break  # the first that this kernel has not, or this user may not drop
    control_process(AMBIENT_CAPABILITIES, CLEAR_ALL_AMBIENT)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if _LIBC.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise _last_error()


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
