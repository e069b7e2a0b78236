"""`python -m tests.fuzzing`: requests that the description allows and forbids, against a real server."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzzing.driving import fuzz, server


def main() -> int:
    """Return 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--examples", type=int, default=360, help="requests of a kind to a route")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder / "server") as target:
            outcome = fuzz(target, folder, examples=arguments.examples, seconds=3600)
    sys.stdout.write(outcome.output)
    statuses = ", ".join(
        f"{status}: {count}" for status, count in sorted(outcome.statuses().items())
    )
    sys.stdout.write(
        f"\n{outcome.requests} requests in {time.monotonic() - began:.0f} s ({statuses})\n"
    )
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
