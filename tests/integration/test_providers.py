"""Anthropic and Ollama, through the packages that are extras: whole runs, tokens, faults and fallbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes.model_script import Reply, Rule, TokenUsage, When
from tests.fakes.other_providers import OtherProviders, point_at
from tests.integration.conftest import Start

CHAINS = {
    "anthropic": "anthropic:claude-sonnet-4-6",
    "ollama": "ollama:qwen3?context=20000",
}


@pytest.fixture
async def others(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OtherProviders]:
    """Run a server that both packages take for their provider's."""
    async with OtherProviders() as server:
        point_at(server, monkeypatch.setenv)
        yield server


def team() -> list[Rule]:
    """Return the rules of a supervisor, an agent that looks something up, and a judge."""
    usage = TokenUsage(1_000, 50, cached_tokens=400)
    verdict = {"criteria": [], "disagreements": [], "verdict": "accept", "reasons": [], "fixes": []}
    search = Reply.calls(("search_documents", {"query": "Fastnet"}))
    plan = {"reason": "r", "assignments": [{"agent": "researcher", "task": "Look"}], "last": True}
    return [
        Rule(when=When(schema=True, system="^You check"), reply=Reply.json(verdict)),
        Rule(when=When(schema=True), reply=Reply.json(plan)),
        Rule(
            when=When(tools=True, after_tool=True),
            reply=Reply(text="The tower is of granite.", usage=usage),
        ),
        Rule(when=When(tools=True), reply=search),
    ]


@pytest.mark.parametrize("provider", CHAINS)
async def test_a_run_on_another_provider(
    start: Start, others: OtherProviders, provider: str, tmp_path: Path
) -> None:
    """It decides by schema, calls a tool, streams its answer, is judged, and every token has a price."""
    others.add(*team())
    prices = tmp_path / "prices.yaml"
    rates = "{input: 2, output: 10, cached: 1}"
    prices.write_text(f"anthropic:*: {rates}\nollama:*: {rates}\n")
    chain = CHAINS[provider]
    async with start(
        model_standard=chain, model_fast=chain, validation="on", prices=prices, sandbox="off"
    ) as product:
        run = await product.finished("What is the tower of?")
        events = await product.events(run["id"])
    assert (run["status"], run["degraded"], run["engine"]) == ("completed", [], "model"), run
    assert run["result"]["output"] == "The tower is of granite."
    assert run["result"]["validation"]["verdict"] == "accept"
    assert [e["data"]["tool"] for e in events if e["type"] == "tool.completed"] == [
        "search_documents"
    ]
    name = chain.partition("?")[0]
    assert set(run["usage"]["by_model"]) == {name}
    billed = [usage for _, usage in others.bills]
    usage = run["usage"]
    assert usage["calls"] == len(billed) == 4
    assert usage["unmetered_calls"] == 0, str(usage["by_agent"])
    assert usage["input_tokens"] == sum(u.input_tokens for u in billed)
    assert usage["output_tokens"] == sum(u.output_tokens for u in billed)
    # Ollama keeps no prompts that it bills otherwise.
    cached = sum(u.cached_tokens for u in billed) if provider == "anthropic" else 0
    assert usage["cached_tokens"] == cached
    fresh = usage["input_tokens"] - cached
    due = (2 * fresh + cached + 10 * usage["output_tokens"]) / Decimal(1_000_000)
    assert Decimal(usage["cost_usd"]) == due


@pytest.mark.parametrize("provider", CHAINS)
async def test_tokens_of_another_provider_stream(
    start: Start, others: OtherProviders, provider: str
) -> None:
    others.add(*team())
    chain = CHAINS[provider]
    async with start(model_standard=chain, model_fast=chain, sandbox="off") as product:
        created = await product.client.post("/v1/runs", json={"task": "What is the tower of?"})
        path = f"/v1/runs/{created.json()['id']}/events"
        frames = [frame async for frame in product.frames(path)]
    deltas = [f["data"]["text"] for f in frames if f["_event"] == "message.delta"]
    assert len(deltas) > 1
    [message] = [
        f["data"]
        for f in frames
        if f["_event"] == "message.completed" and f["agent"] == "researcher" and f["data"]["text"]
    ]
    assert message["text"] == "The tower is of granite."


@pytest.mark.parametrize("provider", CHAINS)
@pytest.mark.parametrize("fault", ["overloaded", "truncated"])
async def test_what_fails_there_is_tried_again_and_then_asked_of_the_next(
    start: Start,
    others: OtherProviders,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    fault: str,
) -> None:
    """The chain ends with OpenAI, whose answers are those of the rules behind."""
    error = Reply.error(529 if provider == "anthropic" else 503, retry_after="0")
    cut = Reply(text="The tower is of gra", fault="truncate")
    name = CHAINS[provider].partition(":")[2].partition("?")[0]
    broken = When(model=name, tools=True)
    others.add(Rule(when=broken, reply=error if fault == "overloaded" else cut), *team())
    chain = f"{CHAINS[provider]}, openai:gpt-4.1"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    async with start(models=others, model_standard=chain, model_fast=chain) as product:
        monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
        run = await product.finished("What is the tower of?")
        events = await product.events(run["id"])
    assert (run["status"], run["degraded"]) == ("completed", []), run
    assert run["result"]["output"] == "The tower is of granite."
    assert {"openai:gpt-4.1", CHAINS[provider].partition("?")[0]} <= set(run["usage"]["by_model"])
    assert [e for e in events if e["type"] == "agent.retrying"]


async def test_ollama_is_asked_for_the_window_it_was_given(
    start: Start, others: OtherProviders
) -> None:
    """Else it takes a small one, and drops without a word what does not fit."""
    others.add(*team())
    chain = CHAINS["ollama"]
    async with start(model_standard=chain, model_fast=chain, sandbox="off") as product:
        run = await product.finished("What is the tower of?")
        row = (await product.client.get("/v1/models")).json()["data"][0]
    assert run["status"] == "completed", run
    assert {r.body["options"]["num_ctx"] for r in others.requests} == {20_000}
    assert row["options"]["context"] == 20_000


async def test_models_and_their_prices_are_told(
    start: Start, others: OtherProviders, tmp_path: Path
) -> None:
    """Each of a chain, in its order; a price of the file, one of the table, and one nobody knows."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("ollama:qwen3: {input: 0, output: 0}\n")
    chain = "anthropic:claude-sonnet-4-6, ollama:qwen3?context=20000, ollama:other"
    async with start(model_standard=chain, prices=prices, sandbox="off") as product:
        rows = (await product.client.get("/v1/models")).json()["data"]
    [row] = [row for row in rows if row["tier"] == "standard"]
    free = {"input_per_mtok": "0", "output_per_mtok": "0", "cached_per_mtok": "0"}
    listed = {"input_per_mtok": "3", "output_per_mtok": "15", "cached_per_mtok": "0.3"}
    told = [
        (each["model"], each["price"], each["price_known"]) for each in [row, *row["fallbacks"]]
    ]
    assert told == [
        ("anthropic:claude-sonnet-4-6", listed, True),
        ("ollama:qwen3", free, True),
        ("ollama:other", None, False),
    ]
    assert "sk-ant" not in str(rows)
