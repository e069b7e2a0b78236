"""What the command line shows of a run."""

from __future__ import annotations

import pytest

from service.commands.progress import Progress


@pytest.mark.parametrize("character", [*"\u3164\u115f\u2800\ufe0f\u202e\u200b\x1b", "\U000e0041"])
def test_nothing_hides_on_the_terminal(capsys: pytest.CaptureFixture[str], character: str) -> None:
    """What shows nothing is written out; tabs, spaces and letters of every script are not."""
    Progress().insist(f"rm\t-r é 夜{character}x")
    shown = capsys.readouterr().err
    assert character not in shown
    assert f"rm\t-r é 夜{ascii(character)[1:-1]}x" in shown
