"""Publishing copies exactly the bytes that were meant, into one folder, and leaves word of what it did."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final

import pytest

from domain.errors import ToolFailedError
from domain.run import RunContext
from tools.knowledge import Knowledge
from tools.publish import JOURNAL, JOURNAL_SECONDS, MAX_BYTES, OutputFolder, make_publish_file
from tools.registry import Tool, build_toolbox
from tools.sandbox.off import NoSandbox

KEY: Final = "act_" + "0" * 32
NONE_OF: Final = "0" * 64


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(output: Path) -> OutputFolder:
    return OutputFolder(output)


@pytest.fixture
def report(workspace: Path) -> Path:
    """Return a file of the workspace."""
    (workspace / "out").mkdir(parents=True)
    path = workspace / "out" / "report.md"
    path.write_text("It grew.")
    return path


def the_tool(tmp_path: Path, output: Path | None) -> Tool:
    knowledge = Knowledge(tmp_path / "i.db", None)
    toolbox = build_toolbox(knowledge=knowledge, sandbox=NoSandbox("off"), output_dir=output)
    return toolbox.get("publish_file")


def files(place: Path) -> dict[str, str]:
    """Return what was published, by its path, and what is in the journal by name alone."""
    return {
        path.relative_to(place).as_posix(): "" if JOURNAL in path.parts else path.read_text()
        for path in place.rglob("*")
        if path.is_file()
    }


async def test_a_file_is_copied_below_the_run(
    report: Path, output: Path, folder: OutputFolder, call: Any
) -> None:
    tool = make_publish_file(folder)
    message = await call(tool, path="./out//report.md", sha256=sha256("It grew."))
    assert message.content == "Published 8 bytes as run_1/out/report.md in the output folder."
    report.write_text("It shrank.")
    await call(tool, path="out/report.md", sha256=sha256("It shrank."))
    published = {name: text for name, text in files(output).items() if JOURNAL not in name}
    assert published == {"run_1/out/report.md": "It shrank."}
    assert {Path(name).suffix for name in files(output) if JOURNAL in name} == {".json"}
    assert (output / "run_1/out/report.md").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("meant", [sha256("It shrank."), NONE_OF])
async def test_another_content_than_was_meant_is_not_published(
    report: Path, output: Path, folder: OutputFolder, call: Any, meant: str
) -> None:
    with pytest.raises(ToolFailedError, match="has changed since this call was made"):
        await call(make_publish_file(folder), path="out/report.md", sha256=meant)
    assert files(output) == {}


async def test_a_call_that_says_nothing_of_the_content_publishes_nothing(
    report: Path, output: Path, folder: OutputFolder, call: Any
) -> None:
    with pytest.raises(ToolFailedError, match="which content"):
        await call(make_publish_file(folder), path="out/report.md")
    assert files(output) == {}


@pytest.mark.parametrize(
    "path", ["../report.md", "/etc/passwd", "no.md", "out", "link", "up/secret", "hard", "a\0"]
)
async def test_only_plain_files_of_the_workspace_are_published(
    report: Path, output: Path, folder: OutputFolder, call: Any, workspace: Path, path: str
) -> None:
    secret = workspace.parent / "secret"
    secret.write_text("SECRET")
    (workspace / "link").symlink_to(secret)
    (workspace / "up").symlink_to("..")
    os.link(secret, workspace / "hard")
    with pytest.raises(ToolFailedError) as refused:
        await call(make_publish_file(folder), path=path, sha256=sha256("SECRET"))
    assert refused.value.detail.endswith(".")
    assert files(output) == {}


@pytest.mark.parametrize("place", ["run_1", "run_1/out", "run_1/out/report.md", JOURNAL])
async def test_no_link_in_the_output_folder_is_followed(
    report: Path, output: Path, folder: OutputFolder, call: Any, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (output / place).parent.mkdir(parents=True, exist_ok=True)
    (output / place).symlink_to(outside / "kept" if place.endswith(".md") else outside)
    with pytest.raises(ToolFailedError, match="leads over a link in the output folder"):
        await call(make_publish_file(folder), path="out/report.md", sha256=sha256("It grew."))
    assert files(outside) == {"kept": "kept"}


async def test_a_folder_in_the_place_of_the_file_is_left_alone(
    report: Path, output: Path, folder: OutputFolder, call: Any
) -> None:
    (output / "run_1/out/report.md").mkdir(parents=True)
    with pytest.raises(ToolFailedError, match="no plain file"):
        await call(make_publish_file(folder), path="out/report.md", sha256=sha256("It grew."))


async def test_a_file_that_no_program_could_make_is_refused(
    report: Path, output: Path, folder: OutputFolder, call: Any
) -> None:
    with report.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ToolFailedError, match=f"more than {MAX_BYTES} bytes"):
        await call(make_publish_file(folder), path="out/report.md", sha256=NONE_OF)
    assert files(output) == {}


async def test_without_a_folder_it_says_which_variable_to_set(
    report: Path, tmp_path: Path, call: Any
) -> None:
    tool = the_tool(tmp_path, None)
    assert tool.off_reason is not None
    assert "SIGNALBOX_OUTPUT_DIR" in tool.off_reason
    assert tool.check is None
    with pytest.raises(ToolFailedError, match="SIGNALBOX_OUTPUT_DIR"):
        await call(tool.tool, path="out/report.md", sha256=sha256("It grew."))


async def test_a_call_is_pinned_to_the_content_as_it_stands(
    report: Path, tmp_path: Path, output: Path, workspace: Path
) -> None:
    pin = the_tool(tmp_path, output).pin
    assert pin is not None
    pinned = await pin.find({"path": "out/report.md"}, RunContext(workspace=workspace))
    assert (pin.argument, *pinned) == ("sha256", sha256("It grew."), "out/report.md (8 bytes)")
    with pytest.raises(ToolFailedError, match="no file"):
        await pin.find({"path": "no.md"}, RunContext(workspace=workspace))


# what became of it


async def publish(folder: OutputFolder, workspace: Path, key: str = KEY) -> None:
    place = ["run_1", "out", "report.md"]
    content = (workspace / "out" / "report.md").read_text()
    await asyncio.to_thread(folder.publish, workspace, place, sha256(content), key)


async def test_what_was_never_begun_is_not_done(folder: OutputFolder) -> None:
    assert await folder.check(KEY) == "not_done"


@pytest.mark.parametrize("first", [True, False], ids=["nothing before", "another before"])
async def test_what_lies_there_tells_whether_it_was_done(
    report: Path, workspace: Path, output: Path, folder: OutputFolder, *, first: bool
) -> None:
    """The note is written before, so the process may have died on either side of it."""
    target = output / "run_1" / "out" / "report.md"
    if not first:
        target.parent.mkdir(parents=True)
        target.write_text("The one before.")
    await publish(folder, workspace)
    assert await folder.check(KEY) == "done"
    if first:
        target.unlink()
    else:
        target.write_text("The one before.")
    assert await folder.check(KEY) == "not_done"
    target.write_text("Somebody else's.")
    assert await folder.check(KEY) == "unknown"
    note = json.loads((output / JOURNAL / f"{KEY}.json").read_text())
    before = None if first else sha256("The one before.")
    assert note == {"path": "run_1/out/report.md", "sha256": sha256("It grew."), "before": before}


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"path": 1}', '{"path": "../secret"}'])
async def test_a_note_that_tells_nothing_is_not_taken_for_an_answer(
    output: Path, folder: OutputFolder, note: str
) -> None:
    (output / JOURNAL).mkdir()
    (output / JOURNAL / f"{KEY}.json").write_text(note)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, nobody has answered
        assert await folder.check(KEY)


async def test_the_same_key_may_go_on_after_a_crash(
    report: Path, workspace: Path, output: Path, folder: OutputFolder
) -> None:
    """What was left of the try before is in nobody's way."""
    (output / JOURNAL).mkdir()
    for ending in ("part", "new", "json"):
        (output / JOURNAL / f"{KEY}.{ending}").write_text("half")
    await publish(folder, workspace)
    assert await folder.check(KEY) == "done"
    assert [path.name for path in (output / JOURNAL).iterdir()] == [f"{KEY}.json"]


async def test_notes_are_forgotten_after_a_week(
    report: Path, workspace: Path, output: Path, folder: OutputFolder
) -> None:
    for name, age in (("old", JOURNAL_SECONDS + 60), ("young", JOURNAL_SECONDS - 60)):
        await publish(folder, workspace, name)
        times = (time.time() - age,) * 2
        os.utime(output / JOURNAL / f"{name}.json", times)
    await publish(folder, workspace)
    kept = sorted(path.name for path in (output / JOURNAL).iterdir())
    assert kept == [f"{KEY}.json", "young.json"]
    assert await folder.check("old") == "not_done"


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a.b", "a" * 101])
async def test_a_key_is_no_path(folder: OutputFolder, name: str) -> None:
    with pytest.raises(ToolFailedError):
        await folder.check(name)
