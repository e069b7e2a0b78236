"""What is left out of a conversation: by rule, in large pieces, for good, and only for the model's eyes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agents._kit.metering import Answered, mark
from agents._kit.prompts import shorten_prompt, write_prompt
from agents._kit.views import view

MODEL = "openai:m"


def turn(
    number: int, *results: str, tool: str = "read_file", room: int | None = None
) -> list[BaseMessage]:
    """Return what a model said and what its calls came to."""
    calls = [
        {"id": f"c{place}", "name": tool, "args": {"n": number}, "type": "tool_call"}
        for place in range(len(results))
    ]
    said = AIMessage.model_validate({"content": f"Step {number}.", "tool_calls": calls})
    answered = Answered(model=MODEL, tier="standard", max_tokens=100)
    if room is not None:
        answered["room"] = room
    answers = [
        ToolMessage(text, tool_call_id=f"c{place}", name=tool) for place, text in enumerate(results)
    ]
    return [mark(said, answered), *answers]


def conversation(*turns: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation with an instruction and a task."""
    return [SystemMessage("Do."), HumanMessage("It."), *(m for turn in turns for m in turn)]


@given(
    st.lists(st.lists(st.integers(0, 9_000), min_size=1, max_size=3), min_size=1, max_size=8),
    st.integers(600, 8_000),
)
def test_a_prompt_begins_with_the_one_before_it_until_a_piece_is_left_out(
    lengths: list[list[int]], room: int
) -> None:
    """Whatever is read: nothing comes back, nothing stored is touched, and what can fit does."""
    whole = conversation(*(turn(n, *("x" * each for each in row)) for n, row in enumerate(lengths)))
    before = deepcopy(whole)
    ends = [place for place, m in enumerate(whole) if isinstance(m, AIMessage)] + [len(whole)]
    views = [view(whole[:end], room, model=MODEL) for end in ends]
    assert whole == before
    assert [m.type for m in views[-1].messages] == [m.type for m in whole]
    for earlier, later in pairwise(views):
        pairs = zip(earlier.messages, later.messages, strict=False)
        assert all(len(now.text) <= max(len(was.text), 600) for was, now in pairs)
    for was in views:
        # Six hundred characters of each are left at least: that much has to fit.
        least = 230 * len(was.messages)
        assert was.tokens <= max(room, least)


def test_what_acted_on_the_world_is_not_to_be_called_again_for_its_result() -> None:
    """Its note says so; that of a tool that only reads says the contrary."""
    long = "x" * 3000
    whole = conversation(
        turn(0, long, tool="http_request"), turn(1, long), turn(2, long), turn(3, long)
    )
    seen = view(whole, 2_500, model=MODEL, repeatable={"read_file"}).messages
    assert "do not make it again" in seen[3].text
    assert "call read_file again" in seen[5].text
    assert [seen[7].text, seen[9].text] == [long, long]


def test_the_sources_of_a_cleared_result_keep_their_numbers() -> None:
    """An answer may still name them."""
    first = turn(0, "x" * 9000)
    found = [{"number": 3, "title": "The lamp", "source": "lamp.md"}]
    first[1] = first[1].model_copy(update={"artifact": {"citations": found}})
    seen = view(conversation(first, turn(1, "a"), turn(2, "b")), 1_000, model=MODEL).messages
    assert "[3] The lamp" in seen[3].text


def test_what_was_sent_with_less_room_once_is_sent_so_again() -> None:
    """After a refusal, the turns that follow begin with what was accepted."""
    before = [turn(n, "x" * 3000, room=100_000) for n in range(4)]
    then = view(conversation(*before), 2_500, model=MODEL).messages
    later = view(conversation(*before, turn(4, "ok", room=2_500)), 100_000, model=MODEL).messages
    assert later[: len(then)] == then
    assert "was cleared" in then[3].text


def test_long_arguments_of_old_calls_are_cut_only_where_results_do_not_make_enough_room() -> None:
    """The words stay, and so do the last turns."""
    turns = [turn(n, "ok", tool="write_file") for n in range(4)]
    for each in turns:
        each[0].tool_calls[0]["args"] = {"content": "y" * 6000}  # type: ignore[attr-defined]
    seen = view(conversation(*turns), 5_000, model=MODEL).messages
    kept = [len(m.tool_calls[0]["args"]["content"]) for m in seen if isinstance(m, AIMessage)]
    assert kept[2:] == [6000, 6000]
    assert max(kept[:2]) < 2_000
    assert [m.text for m in seen if isinstance(m, AIMessage)] == [f"Step {n}." for n in range(4)]


def test_a_shortened_prompt_keeps_its_tags_and_its_short_parts() -> None:
    """The assignment stands as it was, and it can be told what is task and what results."""
    results = '<result agent="a" round="1" status="completed">\n' + "r" * 9_000 + "\n</result>"
    prompt = write_prompt("t" * 9_000, results=results, assignment="Count the ships")
    short = shorten_prompt(prompt, 4_000)
    assert len(short) <= 4_000
    assert short.endswith("<assignment>\nCount the ships\n</assignment>")
    for tag in ("<task>\nt", "t\n</task>", "<results>\n<result agent", "r\n</result>\n</results>"):
        assert tag in short
