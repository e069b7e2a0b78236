"""What calls cost: prices of the table and of one's own file, and what is not known."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ConfigurationError
from domain.usage import ModelCall, Rates, plain
from monitoring.costs import PriceTable, is_openai
from monitoring.price_file import read_prices

MILLION = 1_000_000


def own(tmp_path: Path, text: str) -> PriceTable:
    """Return a table with a file of prices."""
    return PriceTable(read_prices(written(tmp_path, text)))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    return file


def cost(table: PriceTable, model: str, given: int, said: int, cached: int = 0) -> Decimal | None:
    return table.cost(model, input_tokens=given, output_tokens=said, cached_tokens=cached)


def call(model: str, **changes: Any) -> ModelCall:
    values: dict[str, Any] = {
        "key": "k",
        "agent": "coder",
        "model": model,
        "tier": "fast",
        "input_tokens": 1_000,
        "output_tokens": 100,
        "cached_tokens": 0,
        "cost_usd": None,
    }
    return ModelCall(**{**values, **changes})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("openai:gpt-4o-mini", "0.0001725"),
        ("openai:gpt-4o-mini-2024-07-18", "0.0001725"),
        ("openai:gpt-4.1", "0.00205"),
        ("openai:gpt-4.1-2025-04-14", "0.00205"),
        ("openai:gpt-5", "0.0016875"),
        ("azure_openai:gpt-4.1", "0.00205"),
        ("anthropic:claude-sonnet-4-5", "0.00315"),
        ("anthropic:claude-sonnet-4-5-20250929", "0.00315"),
        ("google_genai:gemini-2.5-flash", "0.000415"),
    ],
)
def test_a_model_of_the_table_costs_what_its_provider_says(model: str, expected: str) -> None:
    """A thousand tokens of input, half of them cached, and a hundred of output."""
    assert cost(PriceTable(), model, 1_000, 100, 500) == Decimal(expected)


def test_a_long_prompt_costs_more_where_its_provider_says_so() -> None:
    table = PriceTable()
    assert cost(table, "google_genai:gemini-2.5-pro", 200_000, 0) == Decimal("0.25")
    assert cost(table, "google_genai:gemini-2.5-pro", 200_001, 0) == Decimal("0.5000025")
    rates = table.rates("google_genai:gemini-2.5-pro")
    assert rates == Rates(input=Decimal("1.25"), output=Decimal(10), cached=Decimal("0.125"))


@pytest.mark.parametrize(
    "model",
    [
        "openai:gpt-nobody-has",
        "ollama:llama3.2",
        "ollama:gpt-4o-mini",
        "huggingface:meta-llama/Llama-3-8B",
        "openai:text-embedding-3-small",
        "perplexity:sonar",
        "gpt-4o-mini",
        "llama3.2:3b",
        "openai:",
        "unknown",
        "",
    ],
)
def test_a_price_that_nobody_told_is_unknown_and_not_zero(model: str) -> None:
    """Without a provider, too: the same model costs what the one who serves it says."""
    table = PriceTable()
    assert cost(table, model, 1_000, 100) is None
    assert table.rates(model) is None
    assert table.price(call(model)) is None


def test_what_answers_without_a_model_costs_nothing() -> None:
    table = PriceTable()
    assert cost(table, "offline:planner", MILLION, MILLION) == 0
    assert table.price(call("offline:planner", metered=False)) == 0


def test_another_server_does_not_cost_what_openai_says(tmp_path: Path) -> None:
    """Whatever its models are called; what the file says counts there as well."""
    url = "http://127.0.0.1:8080/v1"
    table = PriceTable(openai_base_url=url)
    assert cost(table, "openai:gpt-4o-mini", 1_000, 100) is None
    assert cost(table, "anthropic:claude-sonnet-4-5", 1_000, 0) == Decimal("0.003")
    file = written(tmp_path, "openai:gpt-4o-mini: {input: 1, output: 2}")
    mine = PriceTable(read_prices(file), openai_base_url=url)
    assert cost(mine, "openai:gpt-4o-mini", 1_000, 100) == Decimal("0.0012")
    assert cost(mine, "openai:gpt-4.1", 1_000, 100) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, True),
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1/", True),
        ("https://openrouter.ai/api/v1", False),
        ("https://api.openai.com.example.org/v1", False),
        ("https://notopenai.com/v1", False),
        ("http://localhost:11434/v1", False),
    ],
)
def test_openai_is_told_by_its_host(url: str | None, expected: bool) -> None:
    assert is_openai(url) is expected


def test_ones_own_prices_win_and_are_taken_exactly(tmp_path: Path) -> None:
    table = own(
        tmp_path,
        """
        openai:gpt-4.1: {input: 0.1, output: "0.2", cached: 0.05}  # a contract of ours
        anthropic:claude-sonnet-4-5: {input: 1e-1, output: 1}
        """,
    )
    rates = table.rates("openai:gpt-4.1")
    assert rates == Rates(input=Decimal("0.1"), output=Decimal("0.2"), cached=Decimal("0.05"))
    assert cost(table, "openai:gpt-4.1", 3, 1, 1) == Decimal("0.00000045")
    assert cost(table, "openai:gpt-4.1-2025-04-14", 10, 0) == Decimal("0.000001")
    # Cached tokens cost what the others do where nothing else is said.
    assert cost(table, "anthropic:claude-sonnet-4-5", 10, 0, 5) == Decimal("0.000001")
    # What the file does not name costs what the table says.
    assert cost(table, "openai:gpt-4o-mini", MILLION, 0) == Decimal("0.15")


def test_a_star_at_the_end_stands_for_all_that_begin_so(tmp_path: Path) -> None:
    table = own(
        tmp_path,
        """
        ollama:*: {input: 0, output: 0}
        ollama:qwen*: {input: 1, output: 1}
        ollama:qwen3: {input: 2, output: 2}
        """,
    )
    assert cost(table, "ollama:llama3.2:3b", MILLION, 0) == 0
    assert cost(table, "ollama:qwen2", MILLION, 0) == 1
    assert cost(table, "ollama:qwen3", MILLION, 0) == 2
    assert cost(table, "openai:qwen3", MILLION, 0) is None


def test_a_call_that_nobody_metered_is_priced_only_where_the_model_is_free(tmp_path: Path) -> None:
    table = own(tmp_path, "ollama:*: {input: 0, output: 0}")
    told, untold = call("openai:gpt-4o-mini"), call("openai:gpt-4o-mini", metered=False)
    assert table.price(told) == Decimal("0.00021")
    assert table.price(untold) is None
    assert table.price(call("ollama:x", metered=False)) == 0


def test_more_cached_tokens_than_tokens_are_not_believed() -> None:
    assert cost(PriceTable(), "openai:gpt-4o-mini", 100, 0, 900) == Decimal("0.0000075")


def test_no_digit_is_lost_however_many_tokens() -> None:
    assert cost(PriceTable(), "openai:gpt-4o-mini", 10**30 + 1, 0) == Decimal(
        "150000000000000000000000.00000015"
    )


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0.00000015", "0.00000015"), ("1.50", "1.5"), ("0E-9", "0"), ("1E+2", "100"), ("0", "0")],
)
def test_money_is_written_without_exponents(amount: str, shown: str) -> None:
    assert plain(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- openai:gpt-4.1", "is no table of models"),
        ("just text", "is no table of models"),
        ("a: [1", "is no YAML in line 1"),
        ("gpt-4.1: {input: 1, output: 1}", "'gpt-4.1' in line 1, which names no model"),
        ("openai:*-mini: {input: 1, output: 1}", "'openai:*-mini' in line 1"),
        ("openai:x: 5", "no prices for 'openai:x' in line 1"),
        ("openai:x: {input: 1}", "no output for 'openai:x' in line 1"),
        ("openai:x: {cached: 1}", "no input and no output for 'openai:x'"),
        ("openai:x: {input: 1, output: much}", "'much' as 'output' of 'openai:x' in line 1"),
        ("openai:x: {input: -1, output: 1}", "'-1' as 'input'"),
        ("openai:x: {input: .nan, output: 1}", "'.nan' as 'input'"),
        ("openai:x: {input: NaN, output: 1}", "'NaN' as 'input'"),
        ("openai:x: {input: 1, output: 1e9}", "no number from 0 to 1000000"),
        ("openai:x: {input: 1, output: 1, cache: 1}", "may be input, output, cached"),
        ("openai:x: {input: 1, input: 2, output: 1}", "'input' twice"),
        (
            "openai:x: {input: 1, output: 1}\nopenai:x: {input: 2, output: 1}",
            "'openai:x' again in line 2",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_what_to_write(
    tmp_path: Path, text: str, fault: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        read_prices(file)
    message = str(caught.value)
    assert message.startswith(f"SIGNALBOX_PRICES={str(file)!r} ")
    assert fault in message
    assert message.endswith("`openai:gpt-4.1: {input: 2.0, output: 8.0, cached: 0.5}`.")
    assert "\n" not in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(FileNotFoundError\)"):
        read_prices(tmp_path / "none.yaml")


def test_a_file_of_comments_says_nothing(tmp_path: Path) -> None:
    assert read_prices(written(tmp_path, "# nothing yet\n")) == {}
