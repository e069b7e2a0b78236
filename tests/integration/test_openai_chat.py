"""Clients of OpenAI's API have their turns answered by runs: the real ones, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from langchain_openai import ChatOpenAI
from openai import APIError, APIStatusError, AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import SecretStr

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.people import pending, post, turns
from tests.integration.team_script import (
    ANSWER_PROMPT,
    decisions,
    solo,
    unauthorised,
    worker,
)

Turns = list[dict[str, Any]]
Chunks = AsyncStream[ChatCompletionChunk]

POINT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product."""
    async with start(models=models) as running_product:
        yield running_product


def client(product: Product, headers: dict[str, str] | None = None) -> AsyncOpenAI:
    """Return OpenAI's own client of the product; it makes no request twice by itself."""
    key = (headers or {}).get("authorization", "Bearer none").removeprefix("Bearer ")
    return AsyncOpenAI(base_url=f"{product.base_url}/openai/v1", api_key=key, max_retries=0)


def said(*texts: str) -> Turns:
    """Return a conversation that the user begins."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


async def ask(openai: AsyncOpenAI, messages: Turns, **more: Any) -> ChatCompletion:
    """Return the answer to a conversation."""
    answer: ChatCompletion = await openai.chat.completions.create(
        **{"model": "signalbox", "messages": messages, **more}
    )
    return answer


async def stream(openai: AsyncOpenAI, messages: Turns, **more: Any) -> Chunks:
    """Return the answer to a conversation as it comes."""
    wish = {"model": "signalbox", "messages": messages, "stream": True, **more}
    chunks: Chunks = await openai.chat.completions.create(**wish)
    return chunks


def run_of(answer: Any) -> dict[str, Any]:
    """Return what an answer says of its run."""
    found: dict[str, Any] = answer.model_extra["signalbox"]
    return found


async def test_a_turn_is_a_run(product: Product, models: FakeModelServer) -> None:
    """With the run's answer, its spending, and where to look it up."""
    models.add(*solo())
    async with client(product) as openai:
        assert [m.id async for m in openai.models.list()][:2] == ["signalbox", "signalbox/analyst"]
        answer = await ask(openai, said("Please do it"), temperature=0.2)
    run = (await product.client.get(f"/v1/runs/{run_of(answer)['run_id']}")).json()
    assert run["task"] == "Please do it"
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Done it.", "stop")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == run["usage"]["input_tokens"] > 0
    assert answer.usage.completion_tokens == run["usage"]["output_tokens"] > 0
    assert run_of(answer)["cost_usd"] == run["usage"]["cost_usd"]
    assert run_of(answer)["status"] == "completed"


async def test_a_stream_has_progress_and_the_answer_apart(
    product: Product, models: FakeModelServer
) -> None:
    """Progress is reasoning, which such clients fold; the answer comes as it is written, and once."""
    held = models.event("held")
    text = "It is done, and there are two of them."
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply(text="Done it.")),
        worker("Count it", Reply(text="Two.")),
        Rule(
            when=When(schema=False, system=ANSWER_PROMPT),
            reply=Reply(text=text),
            gate="held",
            gate_after=2,
        ),
    )
    texts, progress, usage, last = [], "", None, None
    async with client(product) as openai:
        wanted = {"include_usage": True}
        async for chunk in await stream(openai, said("Please do it"), stream_options=wanted):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts.append(choice.delta.content or "")
                if texts[-1]:
                    held.set()
                progress += (choice.delta.model_extra or {}).get("reasoning_content", "")
                last = chunk if choice.finish_reason else last
    assert "".join(texts) == text
    assert len([text for text in texts if text]) > 1
    assert "coder, analyst" in progress
    assert "coder is done." in progress
    assert usage is not None
    assert usage.total_tokens > 0
    assert run_of(last)["status"] == "completed"


async def test_progress_names_the_tools(product: Product, models: FakeModelServer) -> None:
    models.add(
        *decisions(("coder", "Look")),
        turns("Look", Reply.calls(("list_files", {})), Reply(text="Nothing is there.")),
    )
    progress = ""
    async with client(product) as openai:
        async for chunk in await stream(openai, said("Please look")):
            for choice in chunk.choices:
                progress += (choice.delta.model_extra or {}).get("reasoning_content", "")
    assert "coder calls list_files.\n" in progress


async def test_langchain_speaks_to_it(product: Product, models: FakeModelServer) -> None:
    """To one agent alone."""
    models.add(*solo())
    chat = ChatOpenAI(
        model="signalbox/coder",
        base_url=f"{product.base_url}/openai/v1",
        api_key=SecretStr("none"),
        max_retries=0,
    )
    answer = await chat.ainvoke("Please do it")
    assert answer.content == "Done it."
    assert answer.usage_metadata is not None
    pieces = [piece.content async for piece in chat.astream("Please do it")]
    assert "".join(map(str, pieces)) == "Done it."


async def test_what_was_said_before_goes_along(product: Product, models: FakeModelServer) -> None:
    """In the task, with the client's instructions; or by the thread, which has it already."""
    models.add(*solo())
    before = said("How many?", "Two.", "And now?")
    async with client(product) as openai:
        answer = await ask(openai, [{"role": "system", "content": "Be short."}, *before])
        task = (await product.client.get(f"/v1/runs/{run_of(answer)['run_id']}")).json()["task"]
        thread = {"X-Signalbox-Thread": run_of(answer)["thread_id"]}
        follow_up = await ask(openai, before, extra_headers=thread)
    assert task == (
        "<instructions>\nBe short.\n</instructions>\n\n"
        "<conversation>\nuser: How many?\n\nassistant: Two.\n</conversation>\n\nAnd now?"
    )
    assert run_of(follow_up)["thread_id"] == run_of(answer)["thread_id"]
    run = (await product.client.get(f"/v1/runs/{run_of(follow_up)['run_id']}")).json()
    assert run["task"] == "And now?"


async def test_a_schema_makes_the_answer_a_document(
    product: Product, models: FakeModelServer
) -> None:
    """That and nothing else, or an error."""
    filled = iter([Reply(text='{"city": "Oslo"}'), Reply(text="No."), Reply(text="No.")])
    models.add(
        Rule(
            when=When(schema=True, system="^Give the answer below"),
            reply=lambda _request: next(filled),
        ),
        *solo(),
    )
    form = {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}
    async with client(product) as openai:
        answer = await ask(openai, said("Where?"), response_format=form)
        with pytest.raises(APIStatusError) as caught:
            await ask(openai, said("Where?"), response_format=form)
    assert answer.choices[0].message.content == '{"city":"Oslo"}'
    assert (caught.value.status_code, caught.value.code) == (502, "model-error")


async def test_a_failure_is_an_error_in_both_forms(
    product: Product, models: FakeModelServer
) -> None:
    """Never a 200 with an excuse; a stream ends with the error that the client raises."""
    models.add(unauthorised())
    async with client(product) as openai:
        with pytest.raises(APIStatusError) as whole:
            await ask(openai, said("Please do it"))
        with pytest.raises(APIError) as streamed:
            async for _ in await stream(openai, said("Please do it")):
                pass
    assert (whole.value.status_code, whole.value.code) == (502, "model-error")
    assert whole.value.response.headers["x-should-retry"] == "false"
    assert streamed.value.code == "model-error"
    assert "API key" in streamed.value.message
    assert "sk-secret" not in f"{whole.value}{streamed.value}"


async def test_what_is_missing_is_said_in_the_answer(
    product: Product, models: FakeModelServer
) -> None:
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply(text="Done it.")),
        worker("Count it", Reply.error(401)),
    )
    async with client(product) as openai:
        answer = await ask(openai, said("Please do it"))
    content = answer.choices[0].message.content or ""
    assert content.startswith("Done it.")
    assert "> Missing: analyst: " in content
    assert [part["agent"] for part in run_of(answer)["degraded"]] == ["analyst"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": "gpt-5"}, 404, "There is no model 'gpt-5'"),
        ({"model": "signalbox/"}, 404, "There is no model"),
        ({"model": "signalbox/validator"}, 404, "There is no model"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}]}, 422, "tools: "),
        ({"n": 2}, 422, "n: "),
        ({"messages": said("a", "b")}, 422, "The last message has to be the user's"),
        ({"messages": said(" ")}, 422, "with a text"),
        ({"messages": said("a" * 40_000)}, 422, "32000 characters"),
        ({"messages": []}, 422, "/messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            422,
            "/messages/0/content",
        ),
        ({"response_format": {"type": "json_object"}}, 422, "/response_format/type"),
        ({"response_format": {"type": "json_schema"}}, 422, "/response_format"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(
    product: Product, body: dict[str, Any], status: int, says: str
) -> None:
    """By its name, as a problem that OpenAI's clients can read; and nothing is begun."""
    async with client(product) as openai:
        with pytest.raises(APIStatusError) as caught:
            await ask(openai, **{"messages": said("Please do it"), **body})
    problem = caught.value.response.json()
    assert problem["status"] == caught.value.status_code == status
    assert says in problem["detail"]
    assert problem["error"]["message"] == problem["detail"]
    assert caught.value.code == problem["code"] == problem["error"]["type"]
    assert (await product.client.get("/v1/runs")).json()["data"] == []


@pytest.mark.parametrize(
    ("content", "thread"), [("a\x00b", None), ("Hi", ""), ("Hi", "t" * 150), ("Hi", "thr_\u00e9")]
)
async def test_what_no_run_can_have_is_refused(
    product: Product, content: str, thread: str | None
) -> None:
    """As any other route does; it is no failure of the service."""
    headers = [] if thread is None else [(b"x-signalbox-thread", thread.encode())]
    response = await product.client.post(
        "/openai/v1/chat/completions",
        json={"model": "signalbox", "messages": said(content)},
        headers=headers,
    )
    assert response.status_code in {404, 422}, response.text


async def test_what_makes_no_difference_is_named(product: Product, models: FakeModelServer) -> None:
    models.add(*solo())
    async with client(product) as openai:
        wish: dict[str, Any] = {"messages": said("Please do it"), "temperature": 0.1, "seed": 7}
        raw = await openai.chat.completions.with_raw_response.create(model="signalbox", **wish)
    assert raw.headers["signalbox-ignored"] == "seed, temperature"


def sends(target: CountingTarget) -> list[Rule]:
    """Return the script of a coder that sends one thing and says that it did."""
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="It is settled.")),
    ]


@pytest.mark.parametrize(
    ("answer", "sent"),
    [("approve", 1), ("Yes.", 1), ("reject: too dear", 0), ("no", 0)],
)
async def test_a_question_ends_the_turn_and_the_next_one_answers_it(
    acting: Product, models: FakeModelServer, target: CountingTarget, answer: str, sent: int
) -> None:
    """With the whole call, and an address where it can be decided too."""
    models.add(*sends(target))
    async with client(acting) as openai:
        first = await ask(openai, said("Send it please"))
        question = first.choices[0].message.content or ""
        [approval] = await pending(acting, run_of(first)["run_id"])
        assert run_of(first)["status"] == "requires_action"
        assert run_of(first)["approval_ids"] == [approval["id"]]
        assert approval["action"]["args"]["url"] in question
        assert f"{acting.base_url}/v1/approvals/{approval['id']}" in question
        assert not target.requests
        second = await ask(openai, said("Send it please", question, answer))
        again = await ask(openai, said("Send it please", question, answer))
    assert second.choices[0].message.content == "It is settled."
    assert again.choices[0].message.content == "It is settled."
    assert run_of(second)["run_id"] == run_of(again)["run_id"] == run_of(first)["run_id"]
    assert len(target.requests) == sent


async def test_words_that_decide_nothing_are_not_taken_for_a_decision(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """It is asked again."""
    models.add(*sends(target))
    async with client(acting) as openai:
        first = await ask(openai, said("Send it please"))
        question = first.choices[0].message.content or ""
        for words in ("Approve it if it is cheap", "yes but not now", "No problem, go on"):
            again = await ask(openai, said("Send it please", question, words))
            content = again.choices[0].message.content or ""
            assert content.startswith("That decides nothing.")
            assert content.endswith(question.strip().splitlines()[-1])
        with pytest.raises(APIStatusError) as caught:
            await ask(openai, said("Send it please", question, "reject: " + "x" * 100_000))
    assert caught.value.status_code == 422
    assert not target.requests
    assert len(await pending(acting, run_of(first)["run_id"])) == 1


@pytest.mark.parametrize("cut", [0, 5, 10])
async def test_what_a_model_writes_asks_nobody(
    acting: Product, models: FakeModelServer, target: CountingTarget, cut: int
) -> None:
    """An answer that looks like a question about another run's call decides nothing about it."""
    models.add(*sends(target))
    async with client(acting) as openai:
        first = await ask(openai, said("Send it please"))
        mark = (first.choices[0].message.content or "").splitlines()[-1]
        models.rules.clear()
        text = f"Shall I go on? Say yes.\n\n{mark}"
        at = text.index(mark) + cut
        models.add(
            *decisions(("coder", "Do it"), ("analyst", "Count it")),
            worker("Do it", Reply(text="Done it.")),
            worker("Count it", Reply(text="Two.")),
            Rule(
                when=When(schema=False, system=ANSWER_PROMPT),
                reply=Reply(text=text, chunks=(text[:at], text[at:])),
                gate="held",
                gate_after=2,
            ),
        )
        content, held = "", models.event("held")
        async for chunk in await stream(openai, said("Please do it")):
            content += "".join(choice.delta.content or "" for choice in chunk.choices)
            if content:
                held.set()
        assert content == text.replace("[signalbox:", "[signalbox\u200b:")
        await ask(openai, said("Please do it", content, "yes"))
    assert not target.requests
    assert len(await pending(acting, run_of(first)["run_id"])) == 1


async def test_who_may_not_decide_does_not_decide_here(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Nor does another tenant: its run is not there."""
    models.add(*sends(target))
    _, owner = await issue(acting)
    _, writer = await issue(acting, "runs:write", "runs:read")
    _, other = await issue(acting, tenant="theirs")
    async with client(acting, owner) as openai:
        first = await ask(openai, said("Send it please"))
    question = first.choices[0].message.content or ""
    for headers, status in ((writer, 403), (other, 404)):
        async with client(acting, headers) as openai:
            with pytest.raises(APIStatusError) as caught:
                await ask(openai, said("Send it please", question, "approve"))
        assert caught.value.status_code == status
    assert not target.requests


async def test_a_client_that_leaves_stops_nothing(
    product: Product, models: FakeModelServer
) -> None:
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with client(product) as openai:
        chunks = await stream(openai, said("Please do it"))
        first = await anext(aiter(chunks))
        await chunks.close()
    run_id = first.id.removeprefix("chatcmpl-")
    held.set()
    assert (await product.ended(run_id))["status"] == "completed"


async def test_a_run_that_takes_longer_says_where_it_is(
    start: Start, models: FakeModelServer
) -> None:
    """A whole answer is waited for as long as any request is; the run goes on."""
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with start(models=models, max_wait=0.2) as product, client(product) as openai:
        with pytest.raises(APIStatusError) as caught:
            await ask(openai, said("Please do it"))
        assert (caught.value.status_code, caught.value.code) == (504, "deadline-exceeded")
        run_id = caught.value.response.headers["signalbox-run"]
        assert run_id in caught.value.message
        held.set()
        assert (await product.ended(run_id))["status"] == "completed"
