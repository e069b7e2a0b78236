"""Log lines: a sentence, a stable `action`, and the ids it is about. Never prompts, keys or bodies."""

from __future__ import annotations

import logging
import re
import sys
from time import monotonic
from typing import Final

_LINK: Final = re.compile(r"(/approve/)[^\s?\"]+")

FIELDS: Final = ("action", "run_id", "thread_id", "agent", "attempt", "request_id")


class LineFormatter(logging.Formatter):
    """Writes one line: time, level, sentence, then `key=value` for each id there is."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        pairs = [f"{k}={getattr(record, k)}" for k in FIELDS if getattr(record, k, None)]
        head, separator, trace = line.partition("\n")
        return f"{head} {' '.join(pairs)}".rstrip() + separator + trace


def configure_logs(level: int = logging.INFO) -> None:
    """Send the product's log lines to stderr; libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("signalbox").setLevel(level)


class LinkMask(logging.Filter):
    """Takes out of lines about requests what would let whoever reads them decide about an approval."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the line; it is written in any case."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _LINK.sub(r"\1***", each) if isinstance(each, str) else each for each in record.args
            )
        return True


def mask_links() -> None:
    """Keep links out of the access log of a server that is not ours (`uvicorn api:app`)."""
    log = logging.getLogger("uvicorn.access")
    if not any(isinstance(each, LinkMask) for each in log.filters):
        log.addFilter(LinkMask())


class Seldom:
    """Says whether a line that would come again and again is due."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def is_due(self, key: str) -> bool:
        """Return whether the line was not written for so long; counts as writing it."""
        now = monotonic()
        if now - self._said.get(key, -self._seconds) < self._seconds:
            return False
        self._said[key] = now
        return True
