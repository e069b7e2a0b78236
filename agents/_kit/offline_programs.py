"""A Python program made for an instruction, and the answer to be made of what it prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Program:
    """Code for `run_python` and the way from its output to an answer."""

    code: str
    report: Callable[[str], str]
    """Takes what the program printed; the answer states nothing else."""
    about: str = "the program"
    """What is said to have failed when it fails."""
