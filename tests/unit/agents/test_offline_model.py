"""The offline planner as the chat model it is: in the agent loop, streamed, and structured."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import BaseTool, ToolException, tool

from agents._kit.offline import OfflineChatModel
from agents._kit.offline_answers import NEEDS_MODEL
from agents._kit.offline_research import NOTHING_FOUND
from agents._kit.prompts import write_prompt
from agents.analyst import AGENT as ANALYST
from agents.coder import AGENT as CODER
from agents.researcher import AGENT as RESEARCHER
from tools.web import WEB_OFF

TEAM = (ANALYST, CODER, RESEARCHER)
SCHEMA = {
    "title": "Route",
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "assignments": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "agent": {"type": "string", "enum": ["analyst", "coder", "researcher"]},
                    "task": {"type": "string"},
                },
            },
        },
    },
}


@tool
async def run_python(code: str) -> str:
    """Run a program."""
    command = [sys.executable, "-I", "-c", code]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=20
    )
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1]
        return f"The program failed: {error}\n--- stdout ---\n{done.stdout}\nFiles in the workspace: none"
    return done.stdout or "(the program printed nothing)"


@tool
async def search_documents(query: str) -> str:
    """Search."""
    if "context" not in query:
        return "No local document answers this query."
    return "[1] With — pydoc:with\nA context manager defines the runtime context of a block."


@tool
async def web_search(query: str) -> str:
    """Search the web."""
    if "Australia" in query:
        return "<found>\n[1] Canberra — https://au.example/\nCanberra is the capital of Australia.\n</found>"
    return f"The web was not searched: no {query}."


@tool
async def fetch_url(url: str) -> str:
    """Open."""
    return url


RESEARCH = [web_search, fetch_url, search_documents]


@tool
async def read_file(path: str) -> str:
    """Read."""
    return f"contents of {path}"


@tool
async def write_file(path: str, content: str) -> str:
    """Write."""
    return f"Wrote {len(content)} bytes to {path}."


@tool
async def list_files() -> str:
    """List."""
    return "notes.txt"


FILES = [read_file, write_file, list_files]


@tool
async def refusing(code: str) -> str:
    """Refuse."""
    msg = f"{code[:3]!r}… is not run: run_python is off in production."
    raise ToolException(msg)


def model(**kwargs: Any) -> OfflineChatModel:
    return OfflineChatModel(specs=TEAM, **kwargs)


def prompt(task: str, **parts: Any) -> list[BaseMessage]:
    return [SystemMessage("be good"), HumanMessage(write_prompt(task, **parts))]


async def work(task: str, tools: list[BaseTool], **parts: Any) -> list[BaseMessage]:
    agent = create_agent(model(), tools, system_prompt="be good")
    human = HumanMessage(write_prompt(task, **{"assignment": task, **parts}))
    state = await agent.ainvoke({"messages": [human]})
    messages: list[BaseMessage] = state["messages"]
    return messages


def results(*blocks: tuple[str, str, str]) -> str:
    return "\n".join(
        f'<result agent="{agent}" round="1" status="{status}">\n{text}\n</result>'
        for agent, status, text in blocks
    )


async def test_an_analyst_computes_in_a_program_and_answers_with_its_output() -> None:
    messages = await work("mean and trend of 120, 135, 150, 149, 171", [run_python, *FILES])

    human, ask, ran, answer = messages
    assert isinstance(human, HumanMessage)
    assert isinstance(ask, AIMessage)
    assert ask.tool_calls[0]["name"] == "run_python"
    assert "values = [120, 135, 150, 149, 171]" in ask.tool_calls[0]["args"]["code"]
    assert "mean: 145" in ran.text
    assert "- mean: 145\n- slope per step: 11.6" in answer.text


async def test_a_researcher_quotes_what_the_search_returned() -> None:
    messages = await work("Look up what a context manager is", [search_documents])

    assert isinstance(messages[1], AIMessage)
    assert messages[1].tool_calls[0]["args"] == {"query": "context manager"}
    assert "the runtime context of a block. [1]" in messages[-1].text
    assert "Sources:\n[1] With — pydoc:with" in messages[-1].text


async def test_a_researcher_that_found_nothing_says_so_and_what_to_set() -> None:
    answer = (await work("What is the capital of Australia?", [search_documents]))[-1].text
    assert answer.startswith("I found nothing in the local documents")
    assert "OPENAI_BASE_URL" in answer


async def test_a_researcher_asks_the_web_only_where_the_local_documents_say_nothing() -> None:
    local = await work("Look up what a context manager is", RESEARCH)
    assert [c["name"] for m in local if isinstance(m, AIMessage) for c in m.tool_calls] == [
        "search_documents"
    ]
    web = await work("What is the capital of Australia?", RESEARCH)
    calls = [c for m in web if isinstance(m, AIMessage) for c in m.tool_calls]
    assert [c["name"] for c in calls] == ["search_documents", "web_search"]
    assert web[-1].text == (
        "The local documents say nothing. The web says:\n\n> Canberra is the capital of Australia. [1]"
        "\n\nSources:\n[1] Canberra — https://au.example/"
    )


async def test_a_researcher_says_why_the_web_was_not_searched() -> None:
    answer = (await work("What is the capital of Peru?", RESEARCH))[-1].text
    assert answer.startswith("I found nothing in the local documents")
    assert answer.endswith("The web was not searched: no capital Peru.")


async def test_a_researcher_does_not_try_a_web_search_that_is_off() -> None:
    web_search.description = f"Search. {WEB_OFF}"
    try:
        messages = await work("What is the capital of Peru?", RESEARCH)
    finally:
        web_search.description = "Search the web."
    assert messages[-1].text == NOTHING_FOUND


async def test_a_coder_runs_a_self_test_and_saves_what_it_was_asked_to_save() -> None:
    messages = await work("Write is_prime and save it to primes.py", [run_python, *FILES])

    calls = [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
    assert [call["name"] for call in calls] == ["run_python", "write_file"]
    assert calls[1]["args"]["path"] == "primes.py"
    assert "def is_prime" in calls[1]["args"]["content"]
    assert messages[-1].text.endswith("Saved as `primes.py`.")


async def test_the_error_of_pasted_code_is_reported() -> None:
    task = "Why does this fail?\n```python\nprint(1)\nprint(undefined)\n```"
    answer = (await work(task, [run_python]))[-1].text
    assert answer.endswith("NameError: name 'undefined' is not defined")
    assert "did not work" in answer


async def test_a_refused_tool_call_is_told_and_nothing_is_made_up() -> None:
    refused = refusing.model_copy(update={"name": "run_python", "handle_tool_error": True})
    answer = (await work("What is 3 * 4?", [refused]))[-1].text
    assert answer == (
        "Running the computation did not work: 'def'… is not run: run_python is off in production."
    )


@pytest.mark.parametrize(
    ("task", "tools"),
    [
        ("Write a haiku generator in Rust.", [run_python, *FILES]),
        ("Translate this into French", []),
        ("Write a poem about trains", [read_file]),
        ("A train travels 120 km in 2 hours. What is its average speed?", [run_python]),
    ],
)
async def test_what_needs_a_model_is_refused_with_the_variable_to_set(
    task: str, tools: list[BaseTool]
) -> None:
    answer = (await work(task, tools))[-1].text
    assert answer == NEEDS_MODEL
    assert "OPENAI_API_KEY" in answer
    assert "OPENAI_BASE_URL" in answer


async def test_an_agent_given_a_whole_task_does_its_own_part_of_it() -> None:
    task = "Compute the mean of 3, 4, 8 and, independently, look up what a context manager is"
    researched = await work(task, RESEARCH)
    assert isinstance(researched[1], AIMessage)
    assert researched[1].tool_calls[0]["args"] == {"query": "context manager"}
    analyst_tools = [run_python, read_file, list_files]
    assert "- mean: 5" in (await work(task, analyst_tools))[-1].text


async def test_numbers_an_instruction_lacks_are_taken_from_the_results_so_far() -> None:
    earlier = results(("researcher", "completed", "Monthly: 10, 20, 60 [1]"))
    messages = await work("compute the mean of those", [run_python], results=earlier)
    assert "- mean: 30" in messages[-1].text
    assert "from the researcher's result" in messages[-1].text


async def test_what_an_instruction_points_back_to_is_found_in_the_task() -> None:
    task = "Look up what a prime number is, then write code that prints the first 4 of them."
    part = "write code that prints the first 4 of them."
    earlier = results(("researcher", "completed", "A prime has two divisors. [1]"))
    messages = await work(task, [run_python, *FILES], assignment=part, results=earlier)
    assert "first_primes(4) = [2, 3, 5, 7]" in messages[-1].text


async def test_files_of_the_workspace_are_listed_and_read() -> None:
    listed = await work("list the files", FILES)
    assert "notes.txt" in listed[-1].text
    read = await work("Read the file notes.txt", FILES)
    assert "contents of notes.txt" in read[-1].text


def test_the_composer_repeats_every_result_and_names_what_is_missing() -> None:
    found = results(
        ("analyst", "completed", "mean: 5"),
        ("researcher", "completed", "> quoted [1]\n\nSources:\n[1] T — s"),
        ("coder", "failed", "failed (model-error): no answer"),
    )
    answer = model().invoke(prompt("task", results=found)).text
    assert answer == (
        "**analyst**\n\nmean: 5\n\n**researcher**\n\n> quoted [1]\n\nSources:\n[1] T — s\n\n"
        "**Missing:** coder failed (model-error): no answer"
    )


async def test_a_route_comes_with_the_raw_message() -> None:
    router = model(disable_streaming=True).with_structured_output(
        SCHEMA, include_raw=True, method="json_schema"
    )
    answer: Any = await router.ainvoke(prompt("What is 3 * 4?"))

    assert set(answer) == {"raw", "parsed", "parsing_error"}
    assert answer["parsing_error"] is None
    assert answer["parsed"]["assignments"] == [{"agent": "analyst", "task": "What is 3 * 4?"}]
    assert json.loads(answer["raw"].text) == answer["parsed"]
    assert answer["raw"].usage_metadata["output_tokens"] > 0
    assert answer["raw"].response_metadata["finish_reason"] == "stop"


def test_a_route_without_the_raw_message_is_a_dict() -> None:
    answer = model().with_structured_output(SCHEMA).invoke(prompt("What is 3 * 4?"))
    assert isinstance(answer, dict)
    assert set(answer) == {"reason", "assignments", "last"}


def test_a_schema_may_be_bound_by_hand() -> None:
    answer_format = {"type": "json_schema", "json_schema": {"name": "Route", "schema": SCHEMA}}
    answer = model().bind(response_format=answer_format).invoke(prompt("Hello"))
    assert json.loads(answer.text)["assignments"][0]["agent"] == "researcher"


def test_a_question_asked_again_gets_the_same_route() -> None:
    router = model().with_structured_output(SCHEMA)
    first = router.invoke(prompt("What is 3 * 4?"))
    again = [AIMessage("{}"), HumanMessage("That was not a usable decision.")]
    assert router.invoke([*prompt("What is 3 * 4?"), *again]) == first


def test_results_that_cannot_be_read_end_the_run() -> None:
    answer = model().with_structured_output(SCHEMA).invoke(prompt("What?", results="garbage"))
    assert isinstance(answer, dict)
    assert answer["assignments"] == []


def test_an_unknown_schema_is_refused_instead_of_filled_with_inventions() -> None:
    schema = {"title": "Verdict", "properties": {"outcome": {"type": "string"}}}
    answer: Any = model().with_structured_output(schema, include_raw=True).invoke(prompt("Judge."))
    assert answer["parsed"] is None
    assert answer["parsing_error"] is not None
    assert answer["raw"].text == NEEDS_MODEL


def test_a_class_for_a_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON schema"):
        model().with_structured_output(int)


async def test_streamed_words_add_up_to_the_answer() -> None:
    found = results(("a", "completed", "  one\n\n\ttwo  three "), ("b", "completed", "x" * 50))
    whole = await model().ainvoke(prompt("t", results=found))
    chunks = [chunk async for chunk in model().astream(prompt("t", results=found))]

    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert len(chunks) > 5
    assert all(chunk.usage_metadata is None for chunk in chunks[:-1])
    last = chunks[-1]
    assert last.chunk_position == "last"
    assert last.usage_metadata == whole.usage_metadata
    assert last.response_metadata == {
        "model_name": "offline-planner",
        "model_provider": "offline",
        "finish_reason": "stop",
    }


def test_the_blocking_stream_says_the_same() -> None:
    chunks = list(model().stream(prompt("Hello", assignment="Hello")))
    assert "".join(chunk.text for chunk in chunks) == NEEDS_MODEL


async def test_a_tool_call_is_streamed_as_chunks_of_one() -> None:
    bound = model().bind_tools([run_python])
    total: Any = None
    async for chunk in bound.astream(prompt("What is 3 * 4?")):
        assert isinstance(chunk, AIMessageChunk)
        total = chunk if total is None else total + chunk
    whole = await bound.ainvoke(prompt("What is 3 * 4?"))

    assert total.tool_calls == whole.tool_calls
    assert total.tool_calls[0]["name"] == "run_python"
    assert total.response_metadata["finish_reason"] == "tool_calls"
    assert total.usage_metadata == whole.usage_metadata


def test_a_long_answer_is_streamed_in_a_bounded_number_of_pieces() -> None:
    found = results(("a", "completed", "word " * 5_000))
    chunks = list(model().stream(prompt("t", results=found)))
    assert len(chunks) <= 201


def test_the_same_messages_give_the_same_answer_and_others_another_call_id() -> None:
    bound = model().bind_tools([run_python])
    first, second = (bound.invoke(prompt("What is 3 * 4?")) for _ in range(2))
    other = bound.invoke(prompt("What is 3 * 5?"))
    assert first.tool_calls == second.tool_calls
    assert first.tool_calls[0]["id"] != other.tool_calls[0]["id"]


def test_results_of_an_earlier_prompt_are_not_taken_for_those_of_this_one() -> None:
    bound = model().bind_tools([run_python])
    old = [*prompt("What is 1 + 1?"), AIMessage(""), ToolMessage("1 + 1 = 2", tool_call_id="x")]
    answer = bound.invoke([*old, HumanMessage(write_prompt("What is 3 * 4?"))])
    assert "3 * 4" in answer.tool_calls[0]["args"]["code"]


@pytest.mark.parametrize("piece", ["1, ", "1 + ", "(", "x=1\n", "a()\n", "```\n", "[1] a — b\n"])
def test_an_agent_survives_any_long_instruction(piece: str) -> None:
    text = (piece * 32_000)[:32_000]
    for tools in ([run_python], [search_documents], FILES):
        answer = model().bind_tools(tools).invoke(prompt(text, assignment=text))
        assert answer.text or answer.tool_calls
