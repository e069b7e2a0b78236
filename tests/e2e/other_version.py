"""Another version of the product: a copy of its source with edits, as a later commit would have them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import PACKAGES, ROOT


class Edit(NamedTuple):
    """A text that stands once in a file, and what stands there in the other version."""

    file: str
    old: str
    new: str


class Move(NamedTuple):
    """A file that has another name in the other version."""

    file: str
    to: str


Change = tuple[Edit | Move, ...]

RENAMED_AGENT: Final[Change] = (
    Move("agents/coder.py", "agents/programmer.py"),
    Edit("agents/programmer.py", "You are the coder of", "You are the programmer of"),
    Edit("agents/programmer.py", 'name="coder"', 'name="programmer"'),
)
"""The coder is called programmer."""

OTHER_SCHEMA: Final[Change] = (
    Edit("tools/python.py", "    code: str = Field(", "    program: str = Field("),
    Edit("tools/python.py", "        code: str, runtime", "        program: str, runtime"),
    Edit(
        "tools/python.py", "        _refuse_unrunnable(code)", "        _refuse_unrunnable(program)"
    ),
    Edit("tools/python.py", "sandbox.run(code, folder", "sandbox.run(program, folder"),
)
"""The argument of `run_python` is called `program`."""

TOOL_GONE: Final[Change] = (
    Edit("agents/analyst.py", 'tools=("run_python", "describe_table",', 'tools=("describe_table",'),
)
"""The analyst has no `run_python`."""

NEW_CHANNELS: Final[Change] = (
    Edit(
        "graph/state.py",
        "class State(TypedDict, total=False):",
        "def merge_remarks(old: list[str], new: list[str]) -> list[str]:\n"
        "    return sorted({*old, *new})\n\n\n"
        "class State(TypedDict, total=False):",
    ),
    Edit(
        "graph/state.py",
        "    final: FinalAnswer | None\n",
        "    final: FinalAnswer | None\n    remarks: Annotated[list[str], merge_remarks]\n    mood: str\n",
    ),
    Edit(
        "graph/supervisor.py",
        '"missing": [*decision.missing, *not_followed(heard)],',
        '"missing": decision.missing, "remarks": [f"round {round_}"], "mood": "calm",',
    ),
    Edit(
        "graph/nodes.py",
        'return {"outcomes": [outcome]}',
        'return {"outcomes": [outcome], "remarks": [outcome["path"]]}',
    ),
    Edit(
        "graph/composer.py",
        "        text += _name_missing(",
        "        text += f\" Notes: {state.get('remarks', [])}, {state.get('mood')}.\"\n"
        "        text += _name_missing(",
    ),
)
"""The state has two channels more, written by the supervisor and the agents and read by the answer."""

OTHER_FORMAT: Final[Change] = (
    Edit("graph/state.py", "STATE_FORMAT: Final = 1\n", "STATE_FORMAT: Final = 2\n"),
)
"""The state means something else."""


def write_version(root: Path, change: Change) -> Path:
    """Copy the product's source to a folder and change it there; return the folder."""
    root.mkdir(parents=True)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "api.py", root)
    for step in change:
        path = root / step.file
        if isinstance(step, Move):
            path.rename(root / step.to)
            continue
        text = path.read_text(encoding="utf-8")
        assert text.count(step.old) == 1, f"{step.old!r} stands {text.count(step.old)} times"
        path.write_text(text.replace(step.old, step.new), encoding="utf-8")
    return root
