"""Workspaces are found and removed, and nothing beside them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from domain.ports import RunRef
from service.workspaces import changed_at, list_workspaces, remove_workspace

START = RunRef("", "")


def make(root: Path, tenant_id: str, run_id: str) -> RunRef:
    folder = root / tenant_id / run_id
    folder.mkdir(parents=True)
    (folder / "notes.md").write_text("notes")
    return RunRef(tenant_id, run_id)


def test_folders_are_listed_in_order_and_in_parts(tmp_path: Path) -> None:
    refs = [make(tmp_path, t, f"run_{n}") for t in ("ada", "bob") for n in range(3)]
    (tmp_path / "ada" / "file").write_text("no folder")
    (tmp_path / "file").write_text("no folder")
    assert list_workspaces(tmp_path, after=START, limit=9) == refs
    assert list_workspaces(tmp_path, after=refs[1], limit=2) == refs[2:4]
    assert list_workspaces(tmp_path / "none", after=START, limit=9) == []


def test_a_folder_is_removed_with_all_there_is_in_it(tmp_path: Path) -> None:
    ref, other = make(tmp_path, "ada", "run_1"), make(tmp_path, "ada", "run_2")
    closed = tmp_path / "ada" / "run_1" / "a" / "b"
    closed.mkdir(parents=True)
    (closed / "c.txt").write_text("c")
    closed.chmod(0)
    closed.parent.chmod(0o500)
    remove_workspace(tmp_path, ref)
    remove_workspace(tmp_path, ref)
    assert list_workspaces(tmp_path, after=START, limit=9) == [other]
    assert changed_at(tmp_path, ref) == 0.0
    assert changed_at(tmp_path, other) == (tmp_path / "ada" / "run_2").stat().st_mtime


def test_no_depth_and_no_name_keeps_a_folder(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # Even where this fails: what `shutil` cannot remove would stop pytest at every later end.
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", str(tmp_path / "ada")], check=True))
    ref = make(tmp_path, "ada", "run_1")
    top = tmp_path / "ada" / "run_1"
    before = Path.cwd()
    try:
        os.chdir(top)
        for _ in range(3_000):
            Path("d" * 100).mkdir()
            os.chdir("d" * 100)
            Path("file").write_text("hidden")
    finally:
        os.chdir(before)
    (top / "twice" / "d").mkdir(parents=True)
    (top / "d").mkdir()
    os.mkfifo(top / "pipe")
    remove_workspace(tmp_path, ref)
    assert list_workspaces(tmp_path, after=START, limit=9) == []


def test_no_link_leads_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "workspaces", tmp_path / "outside"
    make(outside, "ada", "run_1")
    (outside / "ada").chmod(0o755)
    ref = make(root, "ada", "run_1")
    (root / "ada" / "run_1" / "out").symlink_to(outside / "ada")
    (root / "ada" / "run_2").symlink_to(outside / "ada" / "run_1")
    (root / "bob").symlink_to(outside / "ada")
    assert list_workspaces(root, after=START, limit=9) == [ref]
    remove_workspace(root, ref)
    for link in (RunRef("ada", "run_2"), RunRef("bob", "run_1")):
        with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
            remove_workspace(root, link)
    assert (outside / "ada" / "run_1" / "notes.md").read_text() == "notes"
    assert (outside / "ada").stat().st_mode & 0o777 == 0o755
