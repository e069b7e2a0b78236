"""What docs/client.md shows works, and what it lists is what there is."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from signalbox import Signalbox, errors
from signalbox.options import RunOptions
from tests.conftest import ROOT
from tests.docs.markdown import Document
from tests.fakes.running import running

PAGE = Document(ROOT / "docs" / "client.md")


async def test_every_program_of_the_page_works(tmp_path: Path) -> None:
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / "a.md").write_text("# Sums\n\nA sum is what adding comes to.\n")
    knowledge = tmp_path / "knowledge"
    async with running(tmp_path / "data", knowledge_dir=knowledge) as product:
        programs = [block.text for block in PAGE.blocks if block.language == "python"]
        assert len(programs) == len(PAGE.blocks) >= 8
        codes = [program.replace("http://localhost:8000", product.base_url) for program in programs]
        # Threads of their own: the product needs those of the loop.
        with ThreadPoolExecutor(len(codes)) as threads:
            loop = asyncio.get_running_loop()
            begun = [
                loop.run_in_executor(threads, exec, compile(code, PAGE.name, "exec"), {})
                for code in codes
            ]
            await asyncio.gather(*begun)


def rows(heading: str) -> dict[str, list[str]]:
    """Return the table below a heading: what is in backticks on the right by what is on the left."""
    section = PAGE.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (`.+?) \| (`.+) \|$", section, re.MULTILINE)
    return {left: re.findall(r"`([\w-]+)`", right) for left, right in found}


def test_every_operation_is_listed() -> None:
    with Signalbox("http://127.0.0.1:1") as client:
        for left, names in rows("All operations").items():
            resource = client
            for step in left.strip("`").split(".")[1:]:
                resource = getattr(resource, step)
            public = {
                name
                for name in dir(resource)
                if not name.startswith("_") and callable(getattr(resource, name))
            }
            assert public == set(names), left


def test_every_code_is_beside_its_exception() -> None:
    listed = {
        code: re.findall(r"`(\w+Error)`", left)
        for left, codes in rows("Errors").items()
        for code in codes
    }
    assert listed.keys() == errors.BY_CODE.keys()
    assert all(errors.BY_CODE[code].__name__ in names for code, names in listed.items())


def test_every_option_is_named() -> None:
    section = PAGE.text.partition("## Options of a run")[2].partition("```")[0]
    assert set(re.findall(r"`(\w+)`", section)) >= set(RunOptions.__annotations__) - {
        "idempotency_key"
    }
