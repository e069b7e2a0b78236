"""`.ci/audit` passes where nothing could be looked up, and nowhere else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

AUDIT: Final = Path(__file__).parents[1] / ".ci" / "audit"

ADVISORY: Final = "Found 1 known vulnerability in 1 package"
ENDS: Final = {
    "an advisory about connections": ('{"description": "connection pool"}', ADVISORY, 1),
    "a wrong pin": ("", "ERROR:pip_audit._cli:a has no hash; connection timed out", 1),
    "the index lies": ("", "pip_audit._service.interface.ServiceError: malformed connection", 1),
    "a page that is not there": ("", "requests.exceptions.HTTPError: 403 Client Error", 1),
    "nobody listens": ("", "requests.exceptions.ConnectionError: HTTPSConnectionPool(…)", 0),
    "nobody answers": ("", "ERROR:pip_audit._cli:Could not connect to PyPI's feed", 0),
    "the index is down": ("", "requests.exceptions.HTTPError: 503 Server Error", 0),
}
"""What pip-audit finds and says, and how the audit ends."""


@pytest.mark.parametrize(("found", "said", "code"), ENDS.values(), ids=ENDS)
def test_only_an_index_out_of_reach_is_passed_over(
    tmp_path: Path, found: str, said: str, code: int
) -> None:
    """Whatever an advisory or an error has in its text."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{found}\n{said}\nEND\nexit 1\n")
    program.chmod(0o755)
    done = subprocess.run(
        [AUDIT, "requirements.txt"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("cannot be asked" if code == 0 else said) in done.stderr
