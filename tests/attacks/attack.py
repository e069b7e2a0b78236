"""What an attack is: a program, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

PRELUDE: Final = """
import ctypes, os, sys, time, socket, signal, mmap, struct, fcntl
AIMS = {aims!r}
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *args):
    number = name if isinstance(name, int) else AIMS['calls'][name]
    words = [a if isinstance(a, (bytes, ctypes._Pointer, ctypes.Array)) else ctypes.c_long(a) for a in args]
    libc.syscall.restype = ctypes.c_long
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return result

def show(do):
    # What is read may hold what nobody but the victims knows: the judge looks for it.
    try:
        print(do(), flush=True)
    except BaseException as error:
        print('refused', repr(error)[:200], flush=True)

def claim(what, do):
    # Harm that only the program can see.
    try:
        value = do()
    except BaseException as error:
        print('refused', what, repr(error)[:200], flush=True)
    else:
        print('HARM', what, repr(value)[:200], flush=True)

def read(path, mode='r'):
    with open(path, mode) as file:
        return file.read()
"""

EPILOGUE: Final = "\nprint('TRIED', flush=True)\n"


@dataclass(frozen=True)
class Attack:
    """A program that tries to do harm."""

    name: str
    code: str
    ends: tuple[str, ...] = ("tried",)
    """How the program may end: `tried` everything to its end, a limit's name, or a fault's."""
    limits: dict[str, float] = field(default_factory=dict)
    slow: bool = False
    works_unconfined: bool = False
    """Under the back end that confines nothing it does harm: which shows that the judge sees it."""
    most: dict[str, int] = field(default_factory=dict)
    """What the program may at most say that it has got: lines of `GOT name number`."""

    def program(self, aims: dict[str, object]) -> str:
        """Return the text of the program."""
        return PRELUDE.format(aims=aims) + self.code + EPILOGUE
