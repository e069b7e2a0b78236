from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ToolFailedError
from domain.tool import MAX_RESULT_CHARS
from tools import workspace as limits
from tools.files import MAX_LISTED, make_list_files, make_read_file, make_write_file

READ, WRITE, LIST = make_read_file(), make_write_file(), make_list_files()


async def test_what_was_written_can_be_listed_and_read(workspace: Path, call: Any) -> None:
    await call(WRITE, path="notes/a.txt", content="héllo")
    await call(WRITE, path="./notes//a.txt", content="hello, again")
    assert (await call(LIST)).content == "notes/a.txt (12 bytes)"
    assert (await call(READ, path="notes/a.txt")).content == "hello, again"
    assert [path.name for path in workspace.rglob("*.part")] == []


async def test_a_workspace_that_is_not_there_yet_is_empty(call: Any) -> None:
    assert (await call(LIST)).content == "(the workspace is empty)"
    with pytest.raises(ToolFailedError, match=r"no file 'a\.txt'"):
        await call(READ, path="a.txt")


OUTSIDE = [
    *("../secret", "a/../../secret", "/etc/passwd", "~/x", "", ".", "a\0b", "..\\secret"),
    *("\ud800", "a\nb", "d/" * 17 + "x", "x" * 2_000),
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_a_path_that_leads_out_is_refused(path: str, workspace: Path, call: Any) -> None:
    workspace.mkdir(parents=True)
    (workspace.parent / "secret").write_text("SECRET")
    with pytest.raises(ToolFailedError):
        await call(READ, path=path)
    with pytest.raises(ToolFailedError):
        await call(WRITE, path=path, content="x")
    assert (workspace.parent / "secret").read_text() == "SECRET"


async def test_links_are_neither_followed_nor_listed(workspace: Path, call: Any) -> None:
    workspace.mkdir(parents=True)
    secret = workspace.parent / "secret"
    secret.write_text("SECRET")
    (workspace / "link").symlink_to(secret)
    (workspace / "up").symlink_to(workspace.parent, target_is_directory=True)
    os.link(secret, workspace / "hard")
    for path in ("link", "up/secret", "hard"):
        with pytest.raises(ToolFailedError):
            await call(READ, path=path)
        with pytest.raises(ToolFailedError):
            await call(WRITE, path=path, content="x")
    assert secret.read_text() == "SECRET"
    assert (await call(LIST)).content == "hard (6 bytes)"


async def test_a_workspace_replaced_by_a_link_is_refused(workspace: Path, call: Any) -> None:
    elsewhere = workspace.parent / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "a.txt").write_text("SECRET")
    workspace.symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(ToolFailedError):
        await call(READ, path="a.txt")
    with pytest.raises(ToolFailedError):
        await call(WRITE, path="b", content="x")
    with pytest.raises(ToolFailedError):
        await call(LIST)


async def test_a_fifo_does_not_block_and_is_refused(workspace: Path, call: Any) -> None:
    workspace.mkdir(parents=True)
    os.mkfifo(workspace / "fifo")
    with pytest.raises(ToolFailedError, match="not a plain file"):
        await call(READ, path="fifo")
    with pytest.raises(ToolFailedError, match="not a plain file"):
        await call(WRITE, path="fifo", content="x")


async def test_a_folder_is_not_a_file(call: Any) -> None:
    await call(WRITE, path="folder/a", content="x")
    with pytest.raises(ToolFailedError, match="not a plain file"):
        await call(READ, path="folder")
    with pytest.raises(ToolFailedError, match="not a plain file"):
        await call(WRITE, path="folder", content="x")
    with pytest.raises(ToolFailedError, match="no folder"):
        await call(WRITE, path="folder/a/b", content="x")


async def test_a_long_file_is_cut_with_how_much_was_left_out(workspace: Path, call: Any) -> None:
    workspace.mkdir(parents=True)
    (workspace / "long").write_bytes(b"x" * 100_000)
    text = (await call(READ, path="long")).content
    assert MAX_RESULT_CHARS - 5 < len(text) <= MAX_RESULT_CHARS
    shown = text.count("x")
    assert text == f"{'x' * shown}\n[{100_000 - shown} characters left out]"


@pytest.mark.parametrize("character", ["x", "\u00e4", "\U0001f682"])
@pytest.mark.parametrize("before", range(4))
async def test_of_a_huge_file_the_beginning_is_read(
    workspace: Path, call: Any, character: str, before: int
) -> None:
    """Wherever the cut goes through; a model can see what a table's columns are called."""
    workspace.mkdir(parents=True)
    data = b"y" * before + character.encode() * (limits.MAX_FILE_BYTES + 1)
    (workspace / "huge").write_bytes(data)
    text = (await call(READ, path="huge")).content
    shown, _, note = text.rpartition("\n")
    assert data.startswith(shown.encode())
    assert len(shown) == limits.SHOWN_CHARS
    assert note == f"[{len(data) - len(shown.encode())} of {len(data)} bytes left out]"
    assert len(text) <= MAX_RESULT_CHARS


async def test_no_file_is_written_that_could_not_be_read_as_a_whole(
    workspace: Path, call: Any
) -> None:
    with pytest.raises(ToolFailedError, match="a file may have"):
        await call(WRITE, path="new", content="x" * (limits.MAX_FILE_BYTES + 1))
    assert not (workspace / "new").exists()


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a\0b", b"ok\xc3"])
@pytest.mark.parametrize(
    ("name", "remedy"), [("a.bin", ""), ("a.XLSX", "run_python"), ("b/a.csv", "describe_table")]
)
async def test_a_binary_file_never_reaches_a_prompt(
    data: bytes, name: str, remedy: str, workspace: Path, call: Any
) -> None:
    """The refusal names the size and, for a table, the tools that can read it."""
    (workspace / "b").mkdir(parents=True)
    (workspace / name).write_bytes(data)
    with pytest.raises(
        ToolFailedError, match=rf"binary \({len(data)} bytes\).*{remedy}"
    ) as refused:
        await call(READ, path=name)
    assert ("table" in refused.value.detail) == bool(remedy)


async def test_a_huge_binary_file_is_refused_with_its_whole_size(
    workspace: Path, call: Any
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "a.bin").write_bytes(b"\xff" * (2 * limits.MAX_FILE_BYTES))
    with pytest.raises(ToolFailedError, match=rf"binary \({2 * limits.MAX_FILE_BYTES} bytes\)"):
        await call(READ, path="a.bin")


async def test_content_that_is_not_text_is_refused(call: Any) -> None:
    with pytest.raises(ToolFailedError, match="Unicode"):
        await call(WRITE, path="a", content="\ud800")


async def test_a_full_workspace_takes_no_new_file_but_keeps_taking_changes(
    workspace: Path, call: Any
) -> None:
    """Folders count too, as they do for programs."""
    workspace.mkdir(parents=True)
    for number in range(limits.MAX_FILES // 2):
        (workspace / f"{number:04}").write_text("x")
        (workspace / f"folder{number:04}").mkdir()
    for path in ("one-more", "folder0001/one-more"):
        with pytest.raises(ToolFailedError, match="full"):
            await call(WRITE, path=path, content="x")
    (workspace / "folder0000").rmdir()
    await call(WRITE, path="0000", content="changed")
    with pytest.raises(ToolFailedError, match="full"):
        await call(WRITE, path="new/one-more", content="x")
    await call(WRITE, path="folder0001/one-more", content="x")


async def test_a_workspace_takes_no_more_bytes_than_its_limit(workspace: Path, call: Any) -> None:
    workspace.mkdir(parents=True)
    with (workspace / "big").open("wb") as file:
        file.truncate(limits.MAX_WORKSPACE_BYTES)
    with pytest.raises(ToolFailedError, match="full"):
        await call(WRITE, path="a", content="x")


async def test_a_listing_is_bounded_and_names_cannot_forge_lines(
    workspace: Path, call: Any
) -> None:
    workspace.mkdir(parents=True)
    (workspace / "0\nforged.txt (1 bytes)").write_text("x")
    for number in range(MAX_LISTED + 5):
        (workspace / f"f{number:03}").write_text("x")
    lines = (await call(LIST)).content.splitlines()
    assert len(lines) == MAX_LISTED + 1
    assert lines[0].startswith("'0\\nforged")
    assert lines[-1] == "(there are 6 more files, which are not listed)"


async def test_what_is_written_is_kept_for_the_user(call: Any, workspace: Path) -> None:
    message = await call(WRITE, path="./notes//a.md", content="héllo")
    assert message.content == (
        "Wrote 6 bytes to ./notes//a.md.\nFiles kept for the user: notes/a.md (6 bytes)"
    )
    (artifact,) = message.artifact["artifacts"]
    digest = artifact.pop("sha256")
    assert (workspace.parent / "shelf" / digest).read_text() == "héllo"
    assert artifact == {
        "name": "notes/a.md",
        "media_type": "text/markdown",
        "size": 6,
        "agent": "",
        "url": "/v1/runs/run_1/artifacts/notes/a.md",
    }
    same = await call(WRITE, path="notes/a.md", content="héllo")
    assert same.artifact["artifacts"][0]["sha256"] == digest
    hidden = await call(WRITE, path=".hidden", content="x")
    assert (hidden.content, hidden.artifact) == (
        "Wrote 1 bytes to .hidden.",
        {"artifacts": []},
    )


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    limits.write_text(tmp_path, "notes/a.txt", "whole")
    (tmp_path / "notes" / ".0123456789abcdef.part").write_text("ha")
    mine = tmp_path / ".mine.part"
    mine.write_text("a name that a program chose")
    (tmp_path / ".fedcba9876543210.part").symlink_to(mine)
    limits.sweep(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *(".fedcba9876543210.part", ".mine.part", "notes", "notes/a.txt")
    ]
    limits.sweep(tmp_path / "none")
