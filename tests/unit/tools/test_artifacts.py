"""Files that tools leave are kept, whatever a program has made of its workspace."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tools import artifacts
from tools.artifacts import Collected, collect, look, media_type_of


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


@pytest.fixture
def made(workspace: Path) -> Path:
    """Return a workspace that is there."""
    workspace.mkdir(parents=True)
    return workspace


def names(collected: Collected) -> list[str]:
    return [file.name for file in collected.files]


def on_shelf(shelf: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shelf.iterdir()} if shelf.exists() else {}


def test_what_is_new_or_changed_is_kept_under_its_hash(made: Path, shelf: Path) -> None:
    (made / "old.txt").write_text("old")
    (made / "changed.txt").write_text("before")
    before = look(made)
    (made / "changed.txt").write_text("after!")
    (made / "sub" / "deep").mkdir(parents=True)
    (made / "sub" / "deep" / "data.csv").write_bytes(b"a,b\r\n1,2\r\n")
    collected = collect(made, shelf, before)
    assert names(collected) == ["changed.txt", "sub/deep/data.csv"]
    assert collected.skipped == []
    kept = collected.files[1]
    assert (kept.media_type, kept.size) == ("text/csv", 10)
    assert kept.sha256 == hashlib.sha256(b"a,b\r\n1,2\r\n").hexdigest()
    assert on_shelf(shelf) == {
        kept.sha256: b"a,b\r\n1,2\r\n",
        hashlib.sha256(b"after!").hexdigest(): b"after!",
    }


def test_a_file_written_again_is_kept_again_even_with_its_old_time(made: Path, shelf: Path) -> None:
    """A program can set the time back; nothing else about the file has to differ."""
    path = made / "a.txt"
    path.write_text("one")
    status = path.stat()
    first = collect(made, shelf, {})
    before = look(made)
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = collect(made, shelf, before)
    assert names(first) == names(second) == ["a.txt"]
    assert first.files[0].sha256 != second.files[0].sha256
    assert sorted(on_shelf(shelf).values()) == [b"one", b"two"]


def test_nothing_new_leaves_no_shelf(made: Path, shelf: Path, tmp_path: Path) -> None:
    (made / "a.txt").write_text("x")
    assert collect(made, shelf, look(made)) == ([], [], {})
    assert collect(tmp_path / "none", shelf, look(tmp_path / "none")) == ([], [], {})
    assert not shelf.exists()


def test_hidden_files_and_bytecode_are_left_out_without_a_word(made: Path, shelf: Path) -> None:
    for path in (".env", ".cache/a", "b/.git/c", "__pycache__/m.pyc", "b/__pycache__/n"):
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text("x")
    (made / "b" / "shown.txt").write_text("x")
    collected = collect(made, shelf, {})
    assert (names(collected), collected.skipped) == (["b/shown.txt"], [])


def test_links_lead_nowhere(made: Path, shelf: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "secret").write_text("SECRET")
    (made / "link").symlink_to(secret)
    (made / "up").symlink_to(tmp_path / "folder", target_is_directory=True)
    os.link(secret, made / "hard")
    os.mkfifo(made / "fifo")
    collected = collect(made, shelf, {})
    assert names(collected) == []
    assert collected.skipped == ["hard: it is not a plain file with one name"]
    assert on_shelf(shelf) == {}


def test_a_workspace_that_is_a_link_is_not_looked_into(
    workspace: Path, shelf: Path, tmp_path: Path
) -> None:
    workspace.parent.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("SECRET")
    workspace.symlink_to(elsewhere, target_is_directory=True)
    collected = collect(workspace, shelf, {})
    assert collected.files == []
    assert "leads over a link" in collected.skipped[0]


@pytest.mark.parametrize("replacement", ["link", "fifo", "folder", "gone", "parent"])
def test_a_file_that_is_something_else_when_it_is_opened_is_not_kept(
    made: Path, shelf: Path, tmp_path: Path, replacement: str
) -> None:
    """A process that a program has left behind may play such tricks."""
    folder = made / "d"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("SECRET")
    found, _ = artifacts._changed(made, {}, None)
    (folder / "a.txt").unlink()
    if replacement == "link":
        (folder / "a.txt").symlink_to(tmp_path / "outside" / "a.txt")
    elif replacement == "fifo":
        os.mkfifo(folder / "a.txt")
    elif replacement == "folder":
        (folder / "a.txt").mkdir()
    elif replacement == "parent":
        folder.rmdir()
        folder.symlink_to(tmp_path / "outside", target_is_directory=True)
    assert [each.path for each in found] == ["d/a.txt"]
    assert isinstance(artifacts._keep(made, "d/a.txt", artifacts._Room.on(shelf)), str)
    assert on_shelf(shelf) == {}


MIB = 1024**2


def write(folder: Path, name: str, mib: int, *, more: int = 0) -> None:
    """Write a file that takes no room on the disk; `more` bytes tell it from others."""
    folder.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        file.truncate(mib * MIB + more)


def test_what_is_over_a_limit_is_named_and_the_rest_is_kept(made: Path, shelf: Path) -> None:
    write(made, "a-big.bin", 20, more=1)
    write(made, "b.bin", 20)
    write(made, "c.bin", 19)
    write(made, "d.bin", 12)
    write(made, "e.bin", 11)
    write(made, "f-big.bin", 21)
    collected = collect(made, shelf, {})
    assert names(collected) == ["b.bin", "c.bin", "e.bin"]
    assert collected.skipped == [
        "a-big.bin: larger than 20 MiB",
        "d.bin: the files of one call may have 50 MiB together",
        "f-big.bin: larger than 20 MiB",
    ]
    again = collect(made, shelf, {}, only="a-big.bin")
    assert (again.files, again.skipped) == ([], ["a-big.bin: larger than 20 MiB"])


def test_one_call_leaves_so_many_files(made: Path, shelf: Path) -> None:
    for number in range(25):
        (made / f"{number:02}.txt").write_text(str(number))
    collected = collect(made, shelf, {})
    assert names(collected) == [f"{number:02}.txt" for number in range(20)]
    assert collected.skipped == ["5 more: one call may leave 20 files"]
    assert len(collected.seen) == 25


def test_a_run_keeps_so_many_bytes_of_which_the_same_count_once(made: Path, shelf: Path) -> None:
    write(made, "a.bin", 2)
    assert names(collect(made, shelf, {})) == ["a.bin"]
    write(shelf, "earlier", 253)
    before = look(made)
    write(made, "b.bin", 1)
    write(made, "c.bin", 1)
    write(made, "d.bin", 1, more=1)
    write(made, "e.bin", 2)
    collected = collect(made, shelf, before)
    assert names(collected) == ["b.bin", "c.bin", "e.bin"]
    assert collected.skipped == ["d.bin: the files of a run may have 256 MiB together"]
    assert len(list(shelf.iterdir())) == 3
    assert all(not path.name.startswith(".") for path in shelf.iterdir())


def test_a_file_that_grows_while_it_is_read_is_not_kept_in_part(made: Path, shelf: Path) -> None:
    """Its size was within the limit when it was looked at."""
    write(made, "a.bin", 21)
    room = artifacts._Room.on(shelf)
    with (made / "a.bin").open("rb") as file:
        assert artifacts._copy(file.fileno(), "a.bin", 1, room) == "larger than 20 MiB"
    assert on_shelf(shelf) == {}


def test_any_name_is_borne(made: Path, shelf: Path) -> None:
    odd = ["a b%2F.txt", "data:text,x.png", "ünïcode.csv", "line\nend.txt", "-"]
    for name in odd:
        (made / name).write_text("x")
    (made / os.fsdecode(b"\xff.png")).write_text("x")
    deep = made / ("d" * 200) / ("e" * 200) / ("f" * 200) / ("g" * 200)
    deep.mkdir(parents=True)
    (deep / ("h" * 250)).write_text("x")
    collected = collect(made, shelf, {})
    assert sorted(names(collected)) == sorted(odd)
    assert len(collected.skipped) == 2
    assert collected.skipped[0].endswith("its name is longer than 1000 bytes")
    assert collected.skipped[1] == r"'\udcff.png': its name is not valid Unicode text"
    collected = collect(made, shelf, {}, only="line\nend.txt")
    assert names(collected) == ["line\nend.txt"]


def test_a_shelf_that_cannot_be_written_costs_only_the_artifacts(made: Path, shelf: Path) -> None:
    (made / "a.txt").write_text("x")
    shelf.write_text("no folder")
    collected = collect(made, shelf, {})
    assert (collected.files, collected.skipped) == (
        [],
        ["no file could be kept (File exists)"],
    )


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_a_program_has_closed_is_named_or_passed_over(made: Path, shelf: Path) -> None:
    (made / "closed").mkdir()
    (made / "closed" / "a.txt").write_text("x")
    (made / "closed").chmod(0)
    (made / "b.txt").write_text("x")
    (made / "b.txt").chmod(0)
    collected = collect(made, shelf, {})
    assert collected.files == []
    assert collected.skipped == ["b.txt: it could not be kept (Permission denied)"]
    (made / "closed").chmod(0o700)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.csv", "text/csv"),
        ("a.tsv", "text/tab-separated-values"),
        ("a.JSON", "application/json"),
        ("a.jsonl", "application/jsonl"),
        ("a.md", "text/markdown"),
        ("charts/a.png", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("a.parquet", "application/vnd.apache.parquet"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.py", "text/x-python"),
        ("a.html", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("a.csv.gz", "application/gzip"),
        ("a.csv.Z", "application/octet-stream"),
        ("a.mp3", "audio/mpeg"),
        ("a", "application/octet-stream"),
        ("a.nobodyknows", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
    ],
)
def test_the_media_type_is_that_of_the_name(name: str, media_type: str) -> None:
    assert media_type_of(name) == media_type


def test_what_was_not_looked_into_is_named(made: Path, shelf: Path) -> None:
    deep = made / "/".join(["d"] * 17)
    deep.mkdir(parents=True)
    (deep / "deep.csv").write_text("x")
    assert collect(made, shelf, {}).skipped == [
        "folders that are too deep, closed or too many were not looked into"
    ]
