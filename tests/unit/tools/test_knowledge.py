from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ToolFailedError
from tools import knowledge as module
from tools.knowledge import Knowledge
from tools.search import NOTHING_FOUND, make_search_documents

GUIDE = """# Deploy guide

Welcome to the guide.

## Rolling back

To roll back a release, run `make rollback` on the bastion host. It takes two minutes.

## Certificates

Certificates are renewed by the cron job on Mondays.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "guide.md").write_text(GUIDE)
    (folder / "sub" / "coffee.txt").write_text("The coffee machine needs descaling monthly.")
    return folder


@pytest.fixture
def knowledge(tmp_path: Path, folder: Path) -> Knowledge:
    return Knowledge(tmp_path / "data" / "index.db", folder)


async def test_an_operators_folder_answers_by_heading_and_path(knowledge: Knowledge) -> None:
    hits = await knowledge.search("How do I roll back a release?")
    assert [(hit.title, hit.source) for hit in hits] == [("Deploy guide: Rolling back", "guide.md")]
    assert hits[0].snippet.startswith("To roll back a release, run")
    assert hits[0].coverage == 1.0
    assert (await knowledge.search("descale coffee machines"))[0].source == "sub/coffee.txt"


async def test_a_question_about_something_else_finds_nothing(knowledge: Knowledge) -> None:
    assert await knowledge.search("release date of the first Mondays album") == []


WEIRD = [
    *('"', "'", "AND", "OR NOT", 'roll" OR "back', "NEAR(a b)", "title:roll", "^roll*", "{a b}: c"),
    *("-roll + (", "ro\0ll", "\ud800", "日本語 ☃ é́", "", "   ", "the of and", "x" * 10_000),
    *("word " * 5_000, "); DROP TABLE chunks; --", "٣ ² Ⅷ", "\N{MATHEMATICAL SCRIPT CAPITAL X}"),
]


@pytest.mark.parametrize("query", WEIRD)
async def test_no_query_breaks_the_search(query: str, knowledge: Knowledge) -> None:
    assert isinstance(await knowledge.search(query), list)


async def test_a_changed_folder_is_indexed_again(knowledge: Knowledge, folder: Path) -> None:
    assert await knowledge.search("parking permits") == []
    (folder / "parking.rst").write_text("Parking\n=======\n\nParking permits are at the desk.\n")
    hits = await knowledge.search("parking permits")
    assert [(hit.title, hit.source) for hit in hits] == [("Parking", "parking.rst")]
    (folder / "parking.rst").unlink()
    assert await knowledge.search("parking permits") == []


async def test_an_index_that_is_damaged_is_built_again(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"not a database" * 500)
    assert await Knowledge(tmp_path / "index.db", folder).search("coffee machine")


async def test_links_out_of_the_folder_and_hidden_or_binary_files_are_left_out(
    knowledge: Knowledge, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.md").write_text("zebra outside")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / ".hidden.md").write_text("zebra hidden")
    (folder / "binary.txt").write_bytes(b"zebra \0 binary")
    (folder / "page.html").write_text("zebra page")
    (folder / "huge.md").write_text("zebra huge " * 200_000)
    os.mkfifo(folder / "fifo.md")
    assert await knowledge.search("zebra") == []


def _count_builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    builds: list[Path] = []
    build = module._build_apart

    async def counted(index: Path, folder: Path | None, wanted: str) -> None:
        builds.append(index)
        await build(index, folder, wanted)

    monkeypatch.setattr(module, "_build_apart", counted)
    return builds


async def test_first_searches_at_once_build_once(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = _count_builds(monkeypatch)
    found = await asyncio.gather(*(knowledge.search("coffee machine") for _ in range(8)))
    assert len(builds) == 1
    assert all(len(hits) == 1 for hits in found)


async def test_two_services_may_build_the_same_index_at_once(tmp_path: Path, folder: Path) -> None:
    both = [Knowledge(tmp_path / "index.db", folder) for _ in range(2)]
    found = await asyncio.gather(*(one.search("coffee machine") for one in both))
    assert all(len(hits) == 1 for hits in found)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["index.db"]


async def test_a_build_that_takes_too_long_is_stopped_and_leaves_nothing(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUILD_SECONDS", 0.001)
    with pytest.raises(ToolFailedError, match=r"longer than 0\.001 s"):
        await knowledge.search("coffee")
    assert list((tmp_path / "data").iterdir()) == []


async def test_an_index_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolFailedError, match="cannot be written"):
        await Knowledge(tmp_path / "file" / "index.db", None).search("coffee")


async def test_the_tool_numbers_its_hits_cites_them_and_keeps_what_it_showed(
    knowledge: Knowledge, call: Any, tmp_path: Path
) -> None:
    message = await call(make_search_documents(knowledge), query="roll back a release")
    snippet = (
        "To roll back a release, run `make rollback` on the bastion host. It takes two minutes."
    )
    assert (
        message.content
        == f"<found>\n[1] Deploy guide: Rolling back — guide.md\n{snippet}\n</found>"
    )
    (kept,) = (tmp_path / "runs" / "sources").iterdir()
    assert kept.read_text() == f"Deploy guide: Rolling back\n{snippet}"
    assert message.artifact == {
        "citations": [
            {
                "number": 1,
                "title": "Deploy guide: Rolling back",
                "source": "guide.md",
                "snippet": snippet,
                "sha256": kept.name,
            }
        ]
    }


async def test_the_tool_says_when_nothing_answers(knowledge: Knowledge, call: Any) -> None:
    message = await call(make_search_documents(knowledge), query="capital of Australia")
    assert message.content == NOTHING_FOUND == "No local document answers this query."
    assert message.artifact == {"citations": []}
