"""Landlock: which files a process may touch, decided by the kernel (landlock(7))."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

from tools.sandbox.confined.kernel import system_call

# The same numbers on every architecture.
_CREATE: Final = 444
_ADD_RULE: Final = 445
_RESTRICT: Final = 446

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_FOLDER: Final = 1 << 3
_REMOVE_FOLDER: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_FOLDER: Final = 1 << 7
_MAKE_FILE: Final = 1 << 8
_MOVE: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_DEVICE_CONTROL: Final = 1 << 15

_RIGHTS: Final = {1: (1 << 13) - 1, 2: _MOVE, 3: _TRUNCATE, 5: _DEVICE_CONTROL}
"""The rights that each version of the interface has brought; one that is not handled is not refused."""

_OF_FILES: Final = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_READING: Final = _READ_FILE | _READ_FOLDER
# Not among them: starting programs, and making links, sockets, pipes and devices.
_WRITING: Final = (
    _READING
    | _WRITE_FILE
    | _REMOVE_FOLDER
    | _REMOVE_FILE
    | _MAKE_FOLDER
    | _MAKE_FILE
    | _MOVE
    | _TRUNCATE
)

_NETWORK_SINCE: Final = 4
_SCOPES_SINCE: Final = 6
_BIND_AND_CONNECT: Final = 0b11
_SOCKETS_AND_SIGNALS: Final = 0b11


def find_version() -> int:
    """Return the version of the kernel's Landlock; 0 where there is none, or it is not allowed."""
    try:
        return system_call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def restrict_files(readable: Iterable[str], writable: Iterable[str]) -> int:
    """Leave this process these files and folders only, and no TCP; return the version.

    What is not there is left out. Raises `OSError` where the kernel refuses.
    """
    version = find_version()
    if version < 1:
        raise OSError("Landlock is not available")
    handled = sum(rights for since, rights in _RIGHTS.items() if version >= since)
    fields = [handled]
    if version >= _NETWORK_SINCE:
        fields.append(_BIND_AND_CONNECT)
    if version >= _SCOPES_SINCE:
        fields.append(_SOCKETS_AND_SIGNALS)
    described = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = system_call(_CREATE, described, ctypes.c_size_t(len(described)), ctypes.c_uint(0))
    try:
        for paths, rights in ((readable, _READING), (writable, _WRITING)):
            for path in paths:
                _grant(ruleset, path, rights & handled)
        system_call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)
    return version


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be granted
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        beneath = ctypes.c_int(1)
        system_call(_ADD_RULE, ctypes.c_int(ruleset), beneath, rule, ctypes.c_uint(0))
    finally:
        os.close(fd)
