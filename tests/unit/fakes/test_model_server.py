"""The fake model server, seen through the client that the service uses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.fakes.model_server import FakeModelServer, Fault, Reply, Rule, TokenUsage, When

ROUTE_SCHEMA: dict[str, Any] = {
    "title": "Route",
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "assignments": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "agent": {"type": "string", "enum": ["researcher", "coder", "analyst"]},
                    "task": {"type": "string"},
                },
                "required": ["agent", "task"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["reason", "assignments"],
    "additionalProperties": False,
}


@tool
def search_documents(query: str) -> str:
    """Search the local documents."""
    return query


@pytest.fixture
async def server() -> AsyncIterator[FakeModelServer]:
    async with FakeModelServer() as started:
        yield started


def model_of(server: FakeModelServer, **options: Any) -> ChatOpenAI:
    settings: dict[str, Any] = {"model": "fake-1", "stream_usage": True, "max_retries": 0}
    return ChatOpenAI(base_url=server.base_url, api_key=SecretStr("x"), **(settings | options))


async def stream(model: Runnable[Any, Any], prompt: Any = "hello") -> tuple[AIMessageChunk, int]:
    """Return the whole message and how many parts with text there were."""
    whole: AIMessageChunk | None = None
    texts = 0
    async for part in model.astream(prompt):
        assert isinstance(part, AIMessageChunk)
        texts += bool(part.content)
        whole = part if whole is None else whole + part
    assert whole is not None
    return whole, texts


async def test_without_a_script_the_answer_repeats_the_assignment(server):
    prompt = "<task>\nplan a trip\n</task>\n\n<assignment>\nfind the trains\n</assignment>"
    answer = await model_of(server).ainvoke(prompt)
    assert answer.content == "Fake answer to: find the trains"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 6
    assert server.counts["default-text"] == 1


async def test_a_stream_comes_in_parts_and_ends_with_usage(server):
    server.add(Rule(reply=Reply(text="one two three", usage=TokenUsage(20, 3, cached_tokens=16))))
    whole, texts = await stream(model_of(server))
    assert whole.content == "one two three"
    assert texts == 3
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["input_tokens"] == 20
    assert whole.usage_metadata["input_token_details"] == {"cache_read": 16, "audio": 0}


async def test_a_stream_has_usage_only_when_it_was_asked_for(server):
    whole, _ = await stream(model_of(server, stream_usage=False))
    assert whole.usage_metadata is None


async def test_parts_of_a_stream_are_cut_as_scripted(server):
    server.add(Rule(reply=Reply(text="abcdef", chunks=("ab", "cd", "ef"))))
    whole, texts = await stream(model_of(server))
    assert (whole.content, texts) == ("abcdef", 3)


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_calls_arrive_whole_and_the_result_is_recognised(server, streamed):
    server.add(
        Rule(
            when=When(tools=True, after_tool=False),
            reply=Reply.calls(
                ("search_documents", {"query": "what a context manager is"}),
                ("search_documents", {"query": "with"}),
            ),
        ),
        Rule(when=When(after_tool=True), reply=Reply(text="found it")),
    )
    model = model_of(server).bind_tools([search_documents])
    prompt: list[Any] = [HumanMessage("look it up")]
    asked = (await stream(model, prompt))[0] if streamed else await model.ainvoke(prompt)
    assert [call["args"]["query"] for call in asked.tool_calls] == [
        "what a context manager is",
        "with",
    ]
    assert len({call["id"] for call in asked.tool_calls}) == 2
    results = [ToolMessage("…", tool_call_id=call["id"]) for call in asked.tool_calls]
    assert (await model.ainvoke([*prompt, asked, *results])).content == "found it"
    assert server.requests[0].tools == ("search_documents",)
    server.assert_all_used()


async def test_the_default_route_sets_every_agent_to_work_and_then_finishes(server):
    supervisor = model_of(server).with_structured_output(
        ROUTE_SCHEMA, method="json_schema", include_raw=True
    )
    first = await supervisor.ainvoke("<task>\nplan a trip\n</task>")
    assert isinstance(first, dict)
    assert [a["agent"] for a in first["parsed"]["assignments"]] == [
        "researcher",
        "coder",
        "analyst",
    ]
    assert {a["task"] for a in first["parsed"]["assignments"]} == {"plan a trip"}
    second = await supervisor.ainvoke("<task>\nplan a trip\n</task>\n\n<results>\n…\n</results>")
    assert isinstance(second, dict)
    assert second["parsed"]["assignments"] == []
    assert second["parsed"]["reason"]
    assert server.counts == {"default-route": 1, "default-finish": 1, "*": 2}


async def test_the_default_route_also_answers_by_tool_call(server):
    supervisor = model_of(server).with_structured_output(ROUTE_SCHEMA, method="function_calling")
    route = await supervisor.ainvoke("plan a trip")
    assert isinstance(route, dict)
    assert len(route["assignments"]) == 3


async def test_another_schema_gets_the_smallest_instance(server):
    schema = {
        "title": "Verdict",
        "type": "object",
        "properties": {
            "verdict": {"enum": ["accept", "revise"]},
            "reasons": {"type": "array", "items": {"type": "string"}},
            "score": {"type": "integer"},
        },
        "required": ["verdict", "reasons", "score"],
    }
    model = model_of(server).with_structured_output(schema, method="json_schema")
    assert await model.ainvoke("judge") == {"verdict": "accept", "reasons": [], "score": 1}


async def test_a_scripted_route_and_a_garbage_route(server):
    server.add(
        Rule(when=When(schema=True), times=1, reply=Reply.garbage_route()),
        Rule(when=When(schema=True), reply=Reply.route(("coder", "write it"), reason="code")),
    )
    supervisor = model_of(server).with_structured_output(ROUTE_SCHEMA, method="json_schema")
    garbage = await supervisor.ainvoke("plan")
    assert isinstance(garbage, dict)
    assert garbage["assignments"] == "the coder, I think"
    assert await supervisor.ainvoke("plan") == {
        "reason": "code",
        "assignments": [{"agent": "coder", "task": "write it"}],
    }


async def test_rules_look_at_system_user_and_model_in_order():
    rules = [
        Rule(when=When(system="^You are the coder"), reply=Reply(text="code"), name="coder"),
        Rule(when=When(user="weather"), times=1, reply=Reply(text="rain")),
        Rule(when=When(model="fake-2"), reply=lambda request: Reply(text=request.user.upper())),
    ]
    async with FakeModelServer(*rules) as server:
        coder = [SystemMessage("You are the coder."), HumanMessage("weather?")]
        assert (await model_of(server).ainvoke(coder)).content == "code"
        assert (await model_of(server).ainvoke("weather?")).content == "rain"
        assert (await model_of(server, model="fake-2").ainvoke("weather?")).content == "WEATHER?"
        assert (await model_of(server).ainvoke("hi")).content == "Fake answer to: hi"
        assert [r.rule for r in server.requests] == ["coder", "rule-2", "rule-3", "default-text"]
        assert server.requests[0].headers["authorization"] == "Bearer x"
        server.assert_all_used()


async def test_an_unused_rule_and_an_unexpected_request_are_named():
    never = Rule(when=When(user="never"), times=2, reply=Reply(text=""), name="never asked")
    async with FakeModelServer(never, defaults=False) as server:
        with pytest.raises(openai.BadRequestError, match="no rule"):
            await model_of(server).ainvoke("hello")
        with pytest.raises(AssertionError, match=r"no rule .*'hello'; never asked .*2 times.*0"):
            server.assert_all_used()


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (400, openai.BadRequestError, False),
        (401, openai.AuthenticationError, False),
        (429, openai.RateLimitError, True),
        (500, openai.InternalServerError, True),
        (503, openai.InternalServerError, True),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_status_is_the_clients_error(server, status, error, retryable, streamed):
    server.add(Rule(reply=Reply.error(status, retry_after="2" if status == 429 else None)))
    model = model_of(server)
    with pytest.raises(error) as raised:
        await (stream(model) if streamed else model.ainvoke("hello"))
    failure: Any = raised.value
    assert isinstance(failure, ModelError)
    assert failure.is_retryable is retryable
    assert isinstance(failure, openai.APIStatusError)
    assert failure.response.headers.get("retry-after") == ("2" if status == 429 else None)


async def test_the_client_retries_a_fault_that_happens_once(server):
    server.add(Rule(times=1, reply=Reply.error(429, retry_after="0")))
    answer = await model_of(server, max_retries=1).ainvoke("hello")
    assert answer.content == "Fake answer to: hello"
    assert server.counts["*"] == 2


async def test_a_truncated_stream_has_no_finish_reason_and_no_usage(server):
    server.add(Rule(reply=Reply(text="one two three four", fault="truncate")))
    whole, _ = await stream(model_of(server))
    assert whole.text
    assert "one two three four".startswith(whole.text)
    assert "finish_reason" not in whole.response_metadata
    assert whole.usage_metadata is None


async def test_a_malformed_stream_is_not_json(server):
    server.add(Rule(reply=Reply(text="one two", fault="malformed")))
    with pytest.raises(json.JSONDecodeError):
        await stream(model_of(server))


async def test_a_malformed_body_is_not_json(server):
    server.add(Rule(reply=Reply(text="one two", fault="malformed")))
    with pytest.raises(json.JSONDecodeError):
        await model_of(server).ainvoke("hello")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_lost_connection_is_an_error_that_may_be_retried(server, streamed):
    server.add(Rule(reply=Reply(text="one two", fault="disconnect")))
    model = model_of(server)
    with pytest.raises(Exception, match=r"(?i)connection|peer closed|incomplete") as raised:
        await (stream(model) if streamed else model.ainvoke("hello"))
    assert getattr(raised.value, "is_retryable", True)


@pytest.mark.parametrize(
    ("fault", "text", "reason"),
    [("empty", "", "stop"), ("length", "one ", "length"), ("content_filter", "", "content_filter")],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_may_be_empty_cut_or_filtered(
    server, fault: Fault, text: str, reason: str, streamed: bool
):
    server.add(Rule(reply=Reply(text="one twox", fault=fault)))
    model = model_of(server)
    answer = (await stream(model))[0] if streamed else await model.ainvoke("hello")
    assert answer.content == text
    assert answer.response_metadata["finish_reason"] == reason


async def test_a_page_of_html_is_no_answer(server):
    server.add(Rule(reply=Reply(fault="not_json")))
    with pytest.raises(Exception, match=r"(?i)html|str|choices|response"):
        await model_of(server).ainvoke("hello")


async def test_a_hanging_answer_comes_after_the_release(server):
    server.add(Rule(reply=Reply(text="late", fault="hang")))
    waiting = asyncio.create_task(model_of(server).ainvoke("hello"))
    await until(lambda: server.in_flight["rule-1"] == 1)
    assert not waiting.done()
    server.release.set()
    assert (await waiting).content == "late"


async def test_a_client_that_leaves_is_noticed(server):
    server.add(Rule(reply=Reply(fault="hang")))
    waiting = asyncio.create_task(model_of(server).ainvoke("hello"))
    await until(lambda: server.in_flight["rule-1"] == 1)
    waiting.cancel()
    await until(lambda: server.in_flight["rule-1"] == 0)
    assert server.requests[0].cancelled


async def test_a_barrier_proves_that_three_answers_overlap(server):
    server.barrier("all three", parties=3)
    server.add(Rule(reply=Reply(text="one two"), gate="all three", gate_after=2, name="agents"))
    answers = await asyncio.gather(*(stream(model_of(server)) for _ in range(3)))
    assert [whole.content for whole, _ in answers] == ["one two"] * 3
    assert server.most_in_flight["agents"] == 3
    assert server.in_flight["agents"] == 0


async def test_an_event_holds_the_answer_back(server):
    gate = server.event("go")
    server.add(Rule(reply=Reply(text="now"), gate="go"))
    waiting = asyncio.create_task(model_of(server).ainvoke("hello"))
    await until(lambda: server.in_flight["*"] == 1)
    gate.set()
    assert (await waiting).content == "now"


async def test_a_gate_that_nobody_opens_is_named(server, monkeypatch):
    monkeypatch.setattr(server, "_patience", 0.01)
    server.event("forgotten")
    server.add(Rule(reply=Reply(text="never"), gate="forgotten"))
    with pytest.raises(openai.InternalServerError):
        await model_of(server).ainvoke("hello")
    with pytest.raises(AssertionError, match="gate forgotten"):
        server.assert_all_used()


async def test_closing_the_server_frees_answers_that_hang():
    async with FakeModelServer(Rule(reply=Reply(fault="hang"))) as server:
        waiting = asyncio.create_task(model_of(server).ainvoke("hello"))
        await until(lambda: server.in_flight["*"] == 1)
    with pytest.raises(openai.OpenAIError):
        await waiting


async def test_a_body_that_is_no_request_is_refused(server):
    async with httpx.AsyncClient() as client:
        refused = await client.post(f"{server.base_url}/chat/completions", content=b"{")
        listed = await client.get(f"{server.base_url}/models")
    assert refused.status_code == 400
    assert [model["id"] for model in listed.json()["data"]] == ["fake-1", "fake-2"]


async def test_it_runs_alone(unused_tcp_port):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.model_server"),
        *("--port", str(unused_tcp_port), "--words", "40"),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        base_url = line.removeprefix("OPENAI_BASE_URL=")
        # The line is printed just before the port opens: the client's own retries bridge the gap.
        model = ChatOpenAI(base_url=base_url, api_key=SecretStr("x"), model="fake-1", max_retries=8)
        assert len(str((await model.ainvoke("hello")).content).split()) == 40
    finally:
        process.terminate()
        await process.wait()


async def until(condition) -> None:
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the server offers counters, not events
            await asyncio.sleep(0)
