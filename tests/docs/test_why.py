"""The script that says what went wrong reads the lines of a log by itself; real runs are in tests/e2e/test_why.py."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from tests.conftest import ROOT

SCRIPT: Final = ROOT / "deploy" / "observability" / "why.py"
RUN: Final = "run_01a227ded6db70b99c9e852c97817069"
OTHER: Final = "run_01a227ded6db70b99c9e852c97817070"


def line(action: str, run_id: str = RUN, **fields: Any) -> str:
    return json.dumps({"action": action, "run_id": run_id, **fields})


def why(lines: list[str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), RUN, *args]
    return subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, check=False, timeout=20
    )


def test_it_tells_people_who_failed_of_what_at_what_cost() -> None:
    """What is of another run, or no line of ours, or half of one, is left alone."""
    sentence = "The model answered with nothing."
    told = why(
        [
            "Traceback (most recent call last):",
            line("agent.failed", agent="researcher", code="model-error")[:-1],
            line("model_called", agent="analyst", cost_usd="0.00071", cost_known=True),
            line("model_failed", agent="analyst", cause="ModelAnswerError"),
            line("agent.retrying", agent="analyst"),
            line("model_called", agent="analyst", cost_usd="0.00142", cost_known=True),
            line("model_failed", agent="analyst", cause="ModelAnswerError"),
            line("agent.failed", OTHER, agent="coder", code="internal-error"),
            line("agent.failed", agent="analyst", code="model-error", detail=sentence),
            line("model_called", agent="coder", cost_known=False),
            line("agent.retrying", agent="coder"),
            line("run.completed", status="completed", stop_reason="done", degraded=["analyst"]),
        ],
        *("--log", "-"),
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines() == [
        f"{RUN} completed (done), cost unknown",
        "analyst failed (model-error): US$ 0.00213, 1 retry",
        f"  {sentence}",
        "  model calls that failed: 2 x ModelAnswerError",
        "coder recovered: cost unknown, 1 retry",
    ]


def test_a_run_that_goes_well_has_nobody_to_name() -> None:
    told = why([line("run.started")], "--log", "-")
    assert told.stdout.splitlines() == [
        f"{RUN} not over, cost unknown",
        "nothing went wrong with its agents",
    ]


def test_what_cannot_be_told_is_one_line() -> None:
    """A run of which nothing is said, and a file that is none."""
    for args, says in (
        (("--log", "-"), f"nothing is said of {RUN} in -"),
        (("--spans", "/nowhere.jsonl"), "it cannot be read: FileNotFoundError"),
    ):
        told = why([line("run.started", OTHER)], *args)
        assert (told.returncode, told.stdout) == (1, "")
        assert says in told.stderr
        assert len(told.stderr.splitlines()) == 1
    assert why([f"{{{RUN}"], "--spans", "-").returncode == 1
    assert why([], "--log", "-", "--spans", "-").returncode == 2
