"""Every block of code of every document is run by a test, or there is a reason why not."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from monitoring.costs import PriceTable
from monitoring.price_file import read_prices
from service.settings import read_settings
from tests.conftest import ROOT
from tests.docs.blocks import HELD, NOT_RUN, entry, to_run
from tests.docs.markdown import ALL, Block, Document
from tests.docs.test_shell import alone, beside, other
from tests.fakes.log_lines import log_lines
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running

LOOKED_AT: Final = {"json", "toml", "yaml", "env"}
"""What the tests of this file read as the product reads it."""

DRAWN: Final = "text"
"""What is printed or drawn: no code."""


def blocks(language: str, *documents: str) -> list[Block]:
    return [
        block
        for document in ALL
        if document.name in documents or not documents
        for block in document.blocks
        if block.language == language
    ]


def test_every_block_is_run_or_there_is_a_reason() -> None:
    run = {name for names in (beside, alone, other) for name in names}
    left = [
        (document.name, block.language, block.text)
        for document in ALL
        for block in document.blocks
        if block.language not in LOOKED_AT | {DRAWN}
        and not (document.name in run and block in to_run(document))
        and not entry(HELD, document, block)
        and not entry(NOT_RUN, document, block)
    ]
    assert not left


@pytest.mark.parametrize("table", [HELD, NOT_RUN], ids=["held", "not run"])
def test_what_is_named_is_there_and_is_named_once(table: dict[tuple[str, str], str]) -> None:
    for (name, piece), said in table.items():
        found = [block for block in Document(ROOT / name).blocks if piece in block.text]
        assert len(found) == 1 or (found and not piece), (name, piece)
        assert said


@pytest.mark.parametrize("test", HELD.values())
def test_what_holds_a_block_is_a_test(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {getattr(node, "name", "") for node in tree.body}


def test_what_is_drawn_is_no_command() -> None:
    """A line that could be typed is in a block that is run."""
    started = ("curl ", "signalbox ", ".venv/bin/", "make ", "$ ", "export ", "import ", "python ")
    drawn = [line for block in blocks(DRAWN) for line in block.text.splitlines()]
    assert not [line for line in drawn if line.startswith(started)]


@pytest.fixture
async def accepting(tmp_path: Path) -> AsyncIterator[Product]:
    """Run the product with a model, so that it takes every body."""
    async with (
        FakeModelServer() as models,
        running(tmp_path / "data", sandbox="off", OPENAI_BASE_URL=models.base_url) as product,
    ):
        yield product


async def test_bodies_are_taken(accepting: Product) -> None:
    bodies = [json.loads(block.text) for block in blocks("json") if '"task": ' in block.text]
    bodies = [body for body in bodies if set(body) & {"files", "output_schema", "webhook"}]
    assert len(bodies) >= 3
    run_id = ""
    for body in bodies:
        if "webhook" in body:  # there is no such host, and names are looked up
            body["webhook"]["url"] = "http://127.0.0.1:9/hook"
        created = await accepting.client.post("/v1/runs", json=body)
        assert created.status_code == 202, created.text
        run_id = created.json()["id"]
    [feedback] = blocks("json", "docs/langsmith.md")
    path = f"/v1/runs/{run_id}/feedback"
    given = await accepting.client.post(path, json=json.loads(feedback.text))
    assert given.is_success, given.text


async def test_the_problem_is_the_one_that_is_shown(accepting: Product) -> None:
    [block] = blocks("json", "docs/errors.md")
    shown = json.loads(block.text)
    answered = (await accepting.client.get(shown["instance"])).json()
    assert {**answered, "request_id": ""} == {**shown, "request_id": ""}


def test_every_other_document_in_json_is_one() -> None:
    for block in blocks("json"):
        assert isinstance(json.loads(block.text), dict)


async def test_events_and_lines_have_what_is_shown(tmp_path: Path) -> None:
    """Those of a run that asks, with the fields that they have; others only now and then come to be."""
    [line] = [json.loads(block.text) for block in blocks("json", "docs/logs.md")]
    with log_lines() as lines:
        async with running(tmp_path / "data") as product:
            created = await product.client.post(
                "/v1/runs?wait=20", json={"task": "What is 2 + 2?", "approvals": {"mode": "always"}}
            )
            [asked] = created.json()["required_action"]["approval_ids"]
            path = f"/v1/approvals/{asked}/decision"
            await product.client.post(path, json={"type": "approve"})
            run = await product.ended(created.json()["id"])
            events = await product.events(run["id"])
    shown = {}
    for section in Document(ROOT / "docs/events.md").text.split("\n## ")[1:]:
        example = section.partition("```json\n")[2].partition("```")[0]
        shown[section.partition("\n")[0]] = set(json.loads(example))
    happened = {event["type"]: set(event["data"]) for event in events}
    assert len(happened) >= 10
    assert {name: shown[name] for name in happened} == happened
    assert line.keys() == lines.of(line["action"])[0].keys()


def written(tmp_path: Path, block: Block) -> Path:
    path = tmp_path / f"shown.{block.language}"
    path.write_text(block.text, encoding="utf-8")
    return path


def test_settings_are_read_as_they_are_shown(tmp_path: Path) -> None:
    read = 0
    for block in blocks("env"):
        names = {line.partition("=")[0] for line in block.text.splitlines() if "=" in line}
        settings: Any = read_settings(_env_file=written(tmp_path, block))
        fields = {name.removeprefix("SIGNALBOX_").lower() for name in names}
        assert not fields & (settings.model_fields_set ^ fields)
        read += len(fields)
    assert read >= 2


def test_rules_are_read_as_they_are_shown(tmp_path: Path) -> None:
    [gates, budgets] = blocks("toml")
    settings = read_settings(_env_file=None, gates=str(written(tmp_path, gates)))
    assert len(settings.gates) == gates.text.count("[[gates]]")
    settings = read_settings(_env_file=None, budgets=str(written(tmp_path, budgets)))
    assert settings.budgets.model_fields_set >= {"default", "most", "per_day"}


def test_prices_are_read_as_they_are_shown(tmp_path: Path) -> None:
    [block] = blocks("yaml")
    prices = PriceTable(read_prices(written(tmp_path, block)))
    tokens = {"input_tokens": 1_000_000, "output_tokens": 0, "cached_tokens": 0}
    assert prices.cost("openai:gpt-4.1", **tokens) == 2
    assert prices.cost("ollama:anything", **tokens) == 0
