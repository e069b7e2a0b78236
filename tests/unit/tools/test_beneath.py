"""Nothing outside of the workspace is reached: by no path, over no link, in no race; in both ways of opening."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from domain.errors import ToolFailedError
from tools import workspace
from tools.beneath import has_openat2

RACES: Final = 5_000
SECRET: Final = "SECRET"
INSIDE: Final = "inside"

WAYS: Final = [
    pytest.param(
        False,
        marks=pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2 for us"),
        id="openat2",
    ),
    pytest.param(True, id="walk"),
]

FLIP: Final = """
import ctypes, os, sys
place, outside = sys.argv[1:]
os.chdir(place)
os.symlink(outside, "other")
exchange = ctypes.CDLL(None).renameat2
print("ready", flush=True)
while exchange(-100, b"r", -100, b"other", 2) == 0:
    pass
"""
"""Has `r` be a folder and a link to the outside in turn, without a pause and never neither."""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder beside the workspace, with a secret in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "a.txt").write_text(SECRET)
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    """Return a workspace with every kind of way out of it."""
    root = tmp_path / "workspace"
    (root / "sub").mkdir(parents=True)
    (root / "r").mkdir()
    (root / "ok.txt").write_text(INSIDE)
    (root / "sub" / "a").write_text(INSIDE)
    (root / "r" / "a.txt").write_text(INSIDE)
    (root / "link").symlink_to(outside / "a.txt")
    (root / "up").symlink_to("..", target_is_directory=True)
    (root / "sub" / "out").symlink_to(outside, target_is_directory=True)
    (root / "self").symlink_to("ok.txt")
    os.link(outside / "a.txt", root / "hard")
    os.mkfifo(root / "fifo")
    return root


@pytest.mark.parametrize("walk", WAYS)
@pytest.mark.parametrize("path", ["ok.txt", "./ok.txt", "sub/a", "./sub//./a"])
def test_what_lies_in_it_is_read_and_written(root: Path, path: str, *, walk: bool) -> None:
    assert workspace.read_text(root, path, walk=walk) == INSIDE
    workspace.write_text(root, path, "new", walk=walk)
    workspace.write_text(root, f"new/folders/{path}", "newer", walk=walk)
    assert workspace.read_text(root, path, walk=walk) == "new"
    assert workspace.read_text(root, f"new/folders/{path}", walk=walk) == "newer"


OUT: Final = [
    *("sub/../ok.txt", "../outside/a.txt", "/etc/passwd", "link", "up/outside/a.txt", "self"),
    *("sub/../../outside/a.txt", "sub/out/a.txt", "hard", "fifo", "~/x", "a\0b", "sub/" * 40 + "a"),
    *(
        "..\\secret",
        "",
        ".",
        "..",
        "sub",
        "ok.txt/a",
        "a" * 256,
        "\u00e4" * 128 + "/a",
        "/proc/self/cwd",
    ),
]


@pytest.mark.parametrize("walk", WAYS)
@pytest.mark.parametrize("path", OUT)
def test_what_leads_out_or_is_no_plain_file_is_refused_in_a_sentence(
    root: Path, outside: Path, path: str, *, walk: bool
) -> None:
    for act in (
        lambda: workspace.read_text(root, path, walk=walk),
        lambda: workspace.write_text(root, path, "x", walk=walk),
    ):
        with pytest.raises(ToolFailedError) as refused:
            act()
        assert refused.value.detail.endswith(".")
        assert "\n" not in refused.value.detail
        assert SECRET not in refused.value.detail
    assert [entry.name for entry in outside.iterdir()] == ["a.txt"]
    assert (outside / "a.txt").read_text() == SECRET


@contextmanager
def flipping(root: Path, outside: Path) -> Iterator[None]:
    """Have another process put a link in the place of the folder `r`, again and again."""
    command = [sys.executable, "-I", "-S", "-c", FLIP, str(root), str(outside)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
            assert process.poll() is None, "the other side of the race has ended"
        finally:
            process.kill()


def race(act: Callable[[], object]) -> tuple[list[object], list[str]]:
    """Return what came of trying again and again: the results, and the refusals."""
    done: list[object] = []
    refused: list[str] = []
    for _ in range(RACES):
        try:
            done.append(act())
        except ToolFailedError as error:
            refused.append(error.detail)
    return done, refused


def unguarded_reads(root: Path) -> set[str]:
    """Return what a reader gets who follows links, until there was both."""
    seen: set[str] = set()
    for _ in range(RACES):
        seen.add((root / "r" / "a.txt").read_text())
        if len(seen) > 1:
            break
    return seen


@pytest.mark.parametrize("walk", WAYS)
def test_no_race_lets_a_read_escape(root: Path, outside: Path, *, walk: bool) -> None:
    with flipping(root, outside):
        done, refused = race(lambda: workspace.read_text(root, "r/a.txt", walk=walk))
        assert unguarded_reads(root) == {INSIDE, SECRET}, "there was no race to win"
    assert set(done) == {INSIDE}
    assert any("leads over a link" in detail for detail in refused), set(refused)


@pytest.mark.parametrize("walk", WAYS)
def test_no_race_lets_a_write_escape(root: Path, outside: Path, *, walk: bool) -> None:
    with flipping(root, outside):
        done, refused = race(lambda: workspace.write_bytes(root, "r/b.txt", b"x", walk=walk))
    assert done
    assert any("leads over a link" in detail for detail in refused), set(refused)
    assert [entry.name for entry in outside.iterdir()] == ["a.txt"]
    assert (outside / "a.txt").read_text() == SECRET
