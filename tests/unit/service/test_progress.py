"""What the command line shows of a run."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from service.commands.lanes import Lanes
from service.commands.progress import Progress


@pytest.mark.parametrize("character", [*"\u3164\u115f\u2800\ufe0f\u202e\u200b\x1b", "\U000e0041"])
def test_nothing_hides_on_the_terminal(capsys: pytest.CaptureFixture[str], character: str) -> None:
    """What shows nothing is written out; tabs, spaces and letters of every script are not."""
    Progress().insist(f"rm\t-r é 夜{character}x")
    shown = capsys.readouterr().err
    assert character not in shown
    assert f"rm\t-r é 夜{ascii(character)[1:-1]}x" in shown


def event(type_: str, path: str | None = None, **data: Any) -> dict[str, Any]:
    agent = path.partition("#")[0] if path else None
    return {"type": type_, "agent": agent, "path": path, "data": data}


def shown(lanes: Lanes) -> list[str]:
    """Return the lanes as a terminal of 100 columns has them."""
    out = io.StringIO()
    Console(file=out, width=100).print(lanes.table())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_every_agent_at_work_has_a_lane() -> None:
    """Two of one agent have two; what was spent is told beside them; who is done has none."""
    lanes = Lanes()
    share = {"input_tokens": 1200, "output_tokens": 34, "cost_usd": "0.02", "cost_known": True}
    for each in (
        event("run.started"),
        event("agent.started", "coder", task="Write it"),
        event("agent.started", "coder#2", task="Test it"),
        event("agent.started", "analyst", task="Count it"),
        event("tool.started", "coder", tool="run_python", args={}, call_id="1"),
        event("usage.updated", "analyst", usage={**share, "by_agent": {"analyst": share}}),
        {
            "type": "message.delta",
            "agent": "coder",
            "data": {"message_id": "1.coder#2.1", "offset": 0, "text": "a"},
        },
    ):
        lanes.show(each)
    coder, second, analyst, run = shown(lanes)
    assert coder.split()[:3] == ["coder", "▶", "run_python"]
    assert second.split()[:3] == ["coder#2", "▶", "writes"]
    assert "1,234 tokens  $0.02  0:00" in analyst
    assert run.split()[:3] == ["run", "at", "work"]
    lanes.show(event("agent.completed", "coder", output="x", usage=share))
    lanes.show(event("run.requires_action", required_action={}))
    assert [line.split()[0] for line in shown(lanes)] == ["coder#2", "analyst", "run"]
    assert "waits for a decision" in shown(lanes)[-1]


def test_a_lane_hides_nothing() -> None:
    lanes = Lanes()
    lanes.show(event("agent.started", "coder", task="x"))
    lanes.show(event("agent.retrying", "coder", reason="\x1b[31mgone", delay_seconds=1))
    assert "\\x1b[31mgone" in shown(lanes)[0]
