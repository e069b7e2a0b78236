"""How large a model's window is, who says so, and what follows from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from agents._kit.candidates import OpenCandidate
from agents._kit.faults import is_overflow, told_window
from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.windows import UNKNOWN_WINDOW
from domain.agent import TIERS

Open = Callable[[str], OpenCandidate]


class _RefusedError(Exception):
    status_code = 400


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Return how to open one model."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    gateways: list[ModelGateway] = []

    def begin(chain: str) -> OpenCandidate:
        gateways.append(ModelGateway(ModelSettings(tiers=dict.fromkeys(TIERS, chain)), ()))
        return gateways[-1].chain("standard").candidates[0]

    yield begin
    for gateway in gateways:
        await gateway.aclose()


@pytest.mark.parametrize(
    ("chain", "tokens", "known"),
    [
        ("openai:gpt-4o", 128_000, True),
        ("openai:gpt-4o?context=9000", 9_000, True),
        ("openai:my-own", UNKNOWN_WINDOW, False),
        ("anthropic:claude-sonnet-4-5", 200_000, True),
    ],
)
def test_the_chain_says_how_large_a_window_is_and_else_the_models_package(
    opened: Open, chain: str, tokens: int, known: bool
) -> None:
    """Where neither does, a size is taken that a refusal may still correct."""
    window = opened(chain).window
    assert (window.tokens, window.known) == (tokens, known)


def test_an_answer_takes_no_more_than_half_of_a_window(opened: Open) -> None:
    """A provider refuses a prompt that leaves less than the answer may be."""
    candidate = opened("openai:gpt-4o?context=2000&max_tokens=4000")
    assert candidate.max_tokens == 1000
    assert candidate.model(streamed=True, max_tokens=4000).max_tokens == 1000  # type: ignore[attr-defined]


def test_ollama_is_asked_for_the_window_that_the_chain_names(opened: Open) -> None:
    """Its own is small, and what does not fit it would drop without a word."""
    assert opened("ollama:qwen3?context=12000").model(streamed=True).num_ctx == 12_000  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "window"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9000.", 8192),
        ("request (9000 tokens) exceeds the available context size (8192 tokens)", 8192),
        ("prompt is too long: 210000 tokens > 200000 maximum", 200_000),
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            1_048_576,
        ),
        ("Input is too long for requested model.", None),
    ],
)
def test_a_refusal_for_length_is_told_by_its_words(said: str, window: int | None) -> None:
    """As OpenAI, llama.cpp, Anthropic, Google and Bedrock say it."""
    assert is_overflow(_RefusedError(said))
    assert told_window(_RefusedError(said)) == window


@pytest.mark.parametrize("said", ["Unknown parameter: context", "temperature 3 > 2 maximum"])
def test_another_refusal_is_none_for_length(said: str) -> None:
    """To send less would not help it."""
    assert not is_overflow(_RefusedError(said))
