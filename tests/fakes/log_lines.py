"""Takes the log lines of a product in the test's own process as its reader gets them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, Final

import orjson

from monitoring.lines import OURS, make_formatter
from monitoring.logs import FOR_TERMINALS
from monitoring.masking import make_mask

Line = dict[str, Any]


class LogLines:
    """What was logged while it listened."""

    def __init__(self) -> None:
        self._written: Final = StringIO()
        self.handler: Final = logging.StreamHandler(self._written)
        self.handler.setFormatter(make_formatter(make_mask(), terminal=False))

    @property
    def text(self) -> str:
        """Return all lines as they were written."""
        return self._written.getvalue()

    @property
    def all(self) -> list[Line]:
        """Return all lines; each is one JSON object."""
        return [orjson.loads(line) for line in self.text.splitlines()]

    def of(self, action: str) -> list[Line]:
        """Return the lines of an action."""
        return [line for line in self.all if line.get("action") == action]

    def one(self, action: str) -> Line:
        """Return the only line of an action."""
        (line,) = self.of(action)
        return line


@contextmanager
def log_lines(level: int = logging.INFO) -> Iterator[LogLines]:
    """Listen to all loggers for as long as the context lasts.

    Those too that a command in this process has silenced, for whoever sits at its terminal.
    """
    lines = LogLines()
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    silenced = [logging.getLogger(name) for name in FOR_TERMINALS]
    before = [(each, each.level) for each in (ours, *silenced)]
    root.addHandler(lines.handler)
    ours.setLevel(level)
    for each in silenced:
        each.setLevel(logging.NOTSET)
    try:
        yield lines
    finally:
        for each, was in before:
            each.setLevel(was)
        root.removeHandler(lines.handler)
