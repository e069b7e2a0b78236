"""Log lines: a sentence, a stable `action`, and the ids it is about. Never prompts, keys or bodies."""

from __future__ import annotations

import logging
import sys
from typing import Final

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
