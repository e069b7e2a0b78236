"""Every line of docs/cli.md is one that the command understands; what commands do is tried in tests of their own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import click
import pytest

from service.cli import cli
from tests.conftest import ROOT
from tests.docs.markdown import Document

PAGE: Final = Document(ROOT / "docs" / "cli.md")
LINES: Final = sorted(
    {
        line
        for block in PAGE.blocks
        if block.language == "sh"
        for line in block.text.splitlines()
        if line.startswith("signalbox ")
    }
)
ENDS: Final = re.compile(r"\s(?:[|<>]|2>)")
"""Where the shell's part of a line begins."""


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sales.csv", "run.jsonl"):
        (tmp_path / name).touch()
    words = shlex.split(ENDS.split(line)[0])
    command: click.Command = cli
    while isinstance(command, click.Group) and len(words) > 1 and words[1] in command.commands:
        words = words[1:]
        command = command.commands[words[0]]
    # Below the whole command, as when it is typed: click keeps what `--help` is called from the first time.
    above = click.Context(cli, info_name="signalbox", **cli.context_settings)
    command.make_context(words[0], words[1:], parent=above).close()


def test_every_command_has_a_line() -> None:
    def walk(group: click.Group, path: str) -> set[str]:
        found: set[str] = set()
        for name, command in group.commands.items():
            below = f"{path} {name}"
            found |= walk(command, below) if isinstance(command, click.Group) else {below}
        return found

    assert {
        path
        for path in walk(cli, "signalbox")
        if not any(f"{line} ".startswith(f"{path} ") for line in LINES)
    } == set()
