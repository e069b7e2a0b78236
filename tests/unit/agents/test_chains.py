"""The setting of a tier: models in order, with options, or one line that says what may be written."""

from __future__ import annotations

import pytest

from agents._kit.chains import Candidate, parse_chain
from domain.errors import ConfigurationError
from service.settings import read_settings


def test_the_first_is_the_model_and_the_others_take_its_place() -> None:
    """Options belong to the model they stand behind; a model's own colons are kept."""
    chain = parse_chain(
        "openai:gpt-4.1?temperature=0.2&max_tokens=900&parallel=8&context=64000, "
        "ollama:llama3.2:1b?json_schema=off&tools=off"
    )
    assert chain == (
        Candidate(
            model="openai:gpt-4.1", temperature=0.2, max_tokens=900, parallel=8, context=64000
        ),
        Candidate(model="ollama:llama3.2:1b", json_schema=False, tools=False),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt-4o", "provider:model"),
        ("openai:", "provider:model"),
        ("openai:a,", "provider:model"),
        (
            "openai:a?heat=1",
            "there are context, json_schema, max_tokens, parallel, temperature, tools",
        ),
        ("openai:a?temperature=hot", "0 to 2"),
        ("openai:a?temperature=nan", "0 to 2"),
        ("openai:a?max_tokens=1", "16 to 1000000"),
        ("openai:a?context=999", "1000 to 10000000"),
        ("openai:a?parallel=0", "1 to 1000"),
        ("openai:a, openai:b?tools=no", "on or off"),
    ],
)
def test_what_cannot_be_used_stops_the_start_with_what_may_be_written(text: str, said: str) -> None:
    """One line, with the name of the variable."""
    with pytest.raises(ConfigurationError) as caught:
        read_settings(model_standard=text, _env_file=None)
    message = str(caught.value)
    assert "SIGNALBOX_MODEL_STANDARD" in message
    assert said in message
    assert "\n" not in message
