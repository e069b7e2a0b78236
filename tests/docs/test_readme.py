"""What the README shows works: its agents, its requests, its refusals, its printed output."""

from __future__ import annotations

import json
import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from service.commands.agents import list_agents
from service.settings import read_settings
from tests.conftest import ROOT
from tests.docs.markdown import README, Curl, Document
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    """Return a folder with one document, so that no test builds the large index."""
    folder = tmp_path / "knowledge"
    folder.mkdir()
    text = "# Context managers\n\nA context manager defines what happens on entry and exit.\n"
    (folder / "context.md").write_text(text, encoding="utf-8")
    return folder


def start(
    tmp_path: Path, knowledge: Path, **overrides: Any
) -> AbstractAsyncContextManager[Product]:
    return running(tmp_path / "data", knowledge_dir=knowledge, **overrides)


AGENTS = Document(ROOT / "docs" / "agents.md")


def write_example(tmp_path: Path, file: str, document: Document = README) -> Path:
    """Write a file that a document shows; return its folder."""
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(document.file_block(file), encoding="utf-8")
    return path.parent


async def test_the_translator_is_twelve_lines_and_works_with_a_model(
    tmp_path: Path, knowledge: Path
) -> None:
    folder = write_example(tmp_path, "agents/translator.py")
    assert len(README.file_block("agents/translator.py").splitlines()) == 12
    async with FakeModelServer() as models:
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
            Rule(when=When(schema=True), reply=Reply.route(("translator", "into French"))),
            Rule(when=When(system="You are the translator"), reply=Reply(text="Bonjour.")),
        )
        overrides = {"agents": str(folder), "OPENAI_BASE_URL": models.base_url}
        async with start(tmp_path, knowledge, **overrides) as product:
            run = await product.finished("Good morning")
    assert (run["status"], run["engine"]) == ("completed", "model")
    assert run["result"]["output"] == "Bonjour."
    assert list(run["result"]["agents"]) == ["translator"]


async def test_the_offline_planner_finds_the_translator_and_says_that_it_needs_a_model(
    tmp_path: Path, knowledge: Path
) -> None:
    folder = write_example(tmp_path, "agents/translator.py")
    async with start(tmp_path, knowledge, agents=str(folder)) as product:
        run = await product.finished("Translate 'good morning' into French")
    assert list(run["result"]["agents"]) == ["translator"]
    assert "OPENAI_API_KEY" in run["result"]["output"]


async def test_the_graph_from_outside_works(tmp_path: Path, knowledge: Path) -> None:
    folder = write_example(tmp_path, "my_agents/glossary.py", AGENTS)
    task = re.findall(r'SIGNALBOX_AGENTS=\./my_agents make run TASK="(.+)"', AGENTS.text)[0]
    async with start(tmp_path, knowledge, agents=str(folder)) as product:
        run = await product.finished(task)
    assert run["status"] == "completed"
    assert run["result"]["output"] == "aspect: what a signal shows"
    assert list(run["result"]["agents"]) == ["glossary"]


async def test_the_curl_commands_are_answered(tmp_path: Path, knowledge: Path) -> None:
    async with start(tmp_path, knowledge) as product:
        run_id = (await product.finished("What is 2 + 2?"))["id"]
        shown = [curl for curl in README.curls if "approvals" not in f"{curl.path}{curl.body}"]
        answers = [await send(product, curl, run_id) for curl in shown]
    assert [status for status, _ in answers] == [200, 200, 200]
    assert all("17 / 100 * 80 = 13.6" in text for _, text in answers[:2])
    assert answers[2][1].startswith("retry: 2000\n\nid: 1\nevent: run.created\ndata: {")


async def test_the_approval_that_is_shown_can_be_decided(tmp_path: Path, knowledge: Path) -> None:
    create, inbox, decide = (c for c in README.curls if "approvals" in f"{c.path}{c.body}")
    async with start(tmp_path, knowledge) as product:
        _, created = await send(product, create, "")
        run_id = json.loads(created)["id"]
        run = (await product.client.get(f"/v1/runs/{run_id}?wait=20")).json()
        assert run["status"] == "requires_action"
        _, page = await send(product, inbox, "")
        [approval] = json.loads(page)["data"]
        assert approval["action"]["name"] == "run_python"
        path = decide.path.replace("{id}", approval["id"])
        decided = await product.client.post(path, content=decide.body, headers=decide.headers)
        assert decided.status_code == 200, decided.text
        run = await product.ended(run_id)
    assert "17 / 100 * 80 = 13.6" in run["result"]["output"]


async def send(product: Product, curl: Curl, run_id: str) -> tuple[int, str]:
    url = curl.url.replace("run_…", run_id)
    response = await product.client.request(
        curl.method, url, headers=curl.headers, content=curl.body
    )
    return response.status_code, response.text


async def test_the_printed_figures_are_those_of_the_default_task(
    tmp_path: Path, knowledge: Path
) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    task = re.findall(r"^TASK \?= (.+)$", makefile, re.MULTILINE)[0]
    async with start(tmp_path, knowledge) as product:
        run = await product.finished(task)
    figures = re.findall(r"^   analyst \|   (- .+)$", README.text, re.MULTILINE)
    assert len(figures) >= 2
    assert all(figure in run["result"]["output"] for figure in figures)
    assert (run["status"], run["stop_reason"], run["engine"]) == ("completed", "done", "offline")
    assert (run["rounds"], run["attempt"]) == (1, 1)
    assert list(run["result"]["agents"]) == ["analyst", "researcher"]


async def test_the_fields_that_work_are_accepted(tmp_path: Path, knowledge: Path) -> None:
    sentence = README.text.partition("A create body has `task`")[2].partition("An `Idem")[0]
    named = set(re.findall(r"`([\w.]+)`", sentence))
    strategies = {"multitask_strategy", "enqueue", "reject", "interrupt"}
    strategies |= {"policy", "always", "never"}
    fields = {
        "approvals.mode",
        "validation",
        "thread_id",
        "agents",
        "files",
        "webhook",
        "budget",
        "metadata",
        "tags",
        "output_schema",
        "cache",
    }
    assert named == fields | strategies
    async with start(tmp_path, knowledge) as product:
        first = await product.finished("What is 2 + 2?")
        body = {
            "thread_id": first["thread_id"],
            "multitask_strategy": "reject",
            "approvals": {"mode": "never"},
            "validation": "on",
            "agents": ["analyst"],
            "files": [{"name": "a.txt", "content_base64": "eA=="}],
            "budget": {"max_rounds": 2, "max_tokens": 100_000, "max_seconds": 60},
            "metadata": {"who": "me"},
            "tags": ["a"],
            "cache": True,
        }
        run = await product.finished("What is 3 + 3?", **body)
    assert run["status"] == "completed"
    assert json.loads(json.dumps(body["metadata"])) == run["metadata"]


def test_the_agents_that_the_readme_names_are_the_team(tmp_path: Path) -> None:
    lines = list_agents(read_settings(data_dir=tmp_path, _env_file=None)).splitlines()
    team = {line.split()[0] for line in lines if not line.startswith(" ")}
    sentence = README.text.partition("\nAgents: ")[2].partition("\n\n")[0]
    assert team <= set(re.findall(r"`(\w+)`", sentence))
