"""Saves the charts that a program leaves open."""

from __future__ import annotations


def install() -> None:
    """Get ready before a program."""


def save_open_figures() -> None:
    """Save what a program left open."""
