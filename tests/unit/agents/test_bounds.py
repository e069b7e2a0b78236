"""How many tokens a prompt can be at most: never fewer than any tokenizer would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from agents._kit.bounds import most_input_tokens, schema_bytes, tools_bytes
from agents._kit.metering import Answered, mark

MODEL = "openai:m"


def answer(text: str, *, model: str = MODEL, tokens: tuple[int, int] = (100, 7)) -> AIMessage:
    """Return an answer whose provider told what it used."""
    read, said = tokens
    usage = {"input_tokens": read, "output_tokens": said, "total_tokens": read + said}
    return mark(
        AIMessage.model_validate({"content": text, "usage_metadata": usage}),
        Answered(model=model, tier="standard", max_tokens=100),
    )


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_a_prompt_is_never_longer_than_its_bytes(texts: list[str]) -> None:
    """Each byte may be a token, and each message has something around it."""
    messages: list[BaseMessage] = [HumanMessage(text) for text in texts]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert most_input_tokens(messages, model=MODEL) >= size + 8 * len(texts)


def test_what_the_model_has_read_was_counted_by_its_provider() -> None:
    """Only what follows the last answer is counted in bytes."""
    long = HumanMessage("x" * 100_000)
    after = ToolMessage("é" * 50, tool_call_id="c")
    told = most_input_tokens([long, answer("ok"), after], model=MODEL, about=5_000)
    assert 107 + 100 <= told < 400


def test_another_model_counts_otherwise() -> None:
    """What one model's provider has counted says nothing about the next model's tokens."""
    messages = [HumanMessage("x" * 1000), answer("ok", model="openai:other")]
    assert most_input_tokens(messages, model=MODEL) > 1000


def test_a_count_of_nothing_is_not_believed() -> None:
    """Servers that do not count say 0."""
    assert (
        most_input_tokens([HumanMessage("x" * 1000), answer("ok", tokens=(0, 0))], model=MODEL)
        > 1000
    )


def test_pictures_calls_tools_and_schemas_count_too() -> None:
    """Whatever is not text counts as the JSON that it is sent as."""

    @tool
    def look(where: str) -> str:
        """Look somewhere, which takes quite a few words to say."""
        return where

    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "data:" + "A" * 3000}}])
    call = AIMessage("", tool_calls=[{"name": "look", "args": {"where": "w" * 500}, "id": "1"}])
    plain = most_input_tokens([SystemMessage("s")], model=MODEL)
    assert most_input_tokens([SystemMessage("s"), picture], model=MODEL) > plain + 3000
    assert most_input_tokens([SystemMessage("s"), call], model=MODEL) > plain + 500
    assert tools_bytes([look]) > len("Look somewhere, which takes quite a few words to say.")
    assert schema_bytes({"type": "object", "description": "d" * 300}) > 300
    assert schema_bytes(None) == 0
