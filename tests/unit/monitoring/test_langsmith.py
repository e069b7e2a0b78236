"""What is taken out of what is sent to LangSmith, and where a run's tree begins."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime

import pytest

from monitoring import background
from monitoring.langsmith import LangSmith, LangSmithAccess, Mask, Root


@pytest.mark.parametrize(
    "secret", ["sk-0123456789", 'quo"ted\\and more', "lsv2_pt_äöü", "longer than sk-0123456789"]
)
def test_a_secret_is_taken_out_and_every_length_stays(secret: str) -> None:
    """As it stands and as JSON has it, wherever in a word it is."""
    mask = Mask(["sk-0123456789", 'quo"ted\\and more', "lsv2_pt_äöü", "longer than sk-0123456789"])
    body = json.dumps({"key": f"x{secret}y", "rest": "stays"}, ensure_ascii=False).encode()
    masked = mask(body)
    assert len(masked) == len(body)
    read = json.loads(masked)
    assert set(read["key"]) == {"x", "*", "y"}
    assert read["rest"] == "stays"


def test_what_is_too_short_for_a_secret_stays() -> None:
    """A local server's key is often a word, which would be taken out of every text."""
    assert Mask(["none", "EMPTY", ""])(b'"none of it is EMPTY"') == b'"none of it is EMPTY"'


def test_keys_of_ours_are_known_by_their_form() -> None:
    """Nobody but their owners has them, so they cannot be looked for."""
    assert Mask([])(b"sbx_" + b"a" * 43 + b" sbx_short") == b"*" * 47 + b" sbx_short"


def test_a_tree_is_placed_by_its_runs_id_alone() -> None:
    """The id has the time in it: 2026-11-29, in milliseconds."""
    root = Root.of("run_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f")
    assert str(root.id) == "0193f2c4-a1b2-7c3d-8e4f-5a6b7c8d9e0f"
    assert root.began == datetime.fromtimestamp(0x0193F2C4A1B2 / 1000, UTC)
    assert root.place == f"{root.began:%Y%m%dT%H%M%S%f}Z{root.id}"


def test_while_it_is_away_segments_are_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tells of everything takes his time, and it would be dropped."""
    monkeypatch.setattr(background, "AWAY_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    access = LangSmithAccess(
        key="lsv2_0123456789", endpoint=f"http://127.0.0.1:{port}", project="p"
    )
    langsmith = LangSmith(access)
    root = Root.of("run_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f")
    assert langsmith.callbacks(root, tags=[], metadata={}), "nobody has tried yet"
    langsmith.start()
    try:
        # A test without an end is ended by its own time-out.
        while langsmith.callbacks(root, tags=[], metadata={}):
            pass
    finally:
        asyncio.run(langsmith.aclose())
