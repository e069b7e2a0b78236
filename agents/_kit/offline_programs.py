"""A Python program made for an instruction, and the answer to be made of what it prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SHOW: Final = """\
def number(value):
    if isinstance(value, float):
        value = f"{value:.4f}" if abs(value) >= 0.01 else f"{value:.6g}"
        value = value.rstrip("0").rstrip(".") if "." in value and "e" not in value else value
    return str(value)


def show(label, value, unit=""):
    print(f"{label}: {number(value)}{unit}")
"""
"""How programs print a figure: four decimals at most, more only for the very small."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """Code for `run_python` and the way from its output to an answer.

    It keeps to plain Python, since an interpreter without most of the standard library may have to run
    it; what needs more than that is only written where it was offered.
    """

    code: str
    report: Callable[[str], str]
    """Takes what the program printed; the answer states nothing else."""
    about: str = "the program"
    """What is said to have failed when it fails."""
