"""Clients of OpenAI's responses have their turns answered by runs: the real ones, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from langchain_openai import ChatOpenAI
from openai import APIStatusError, AsyncOpenAI, OpenAI
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseStreamEvent,
)
from pydantic import BaseModel, SecretStr

from tests.conftest import ROOT
from tests.docs.markdown import Document
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.people import decided, pending, post, turns
from tests.integration.team_script import (
    ANSWER_PROMPT,
    SECONDS,
    decisions,
    solo,
    unauthorised,
    worker,
)

Whole = (
    ResponseCreatedEvent | ResponseCompletedEvent | ResponseFailedEvent | ResponseIncompleteEvent
)
Events = list[ResponseStreamEvent]

DOCUMENT = Document(ROOT / "docs" / "openai.md")
PATH = "/openai/v1/responses"


class Point(BaseModel):
    """A document that an answer can be."""

    city: str


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product."""
    async with start(models=models) as running_product:
        yield running_product


def client(product: Product, headers: dict[str, str] | None = None) -> AsyncOpenAI:
    """Return OpenAI's own client of the product; it makes no request twice by itself."""
    key = (headers or {}).get("authorization", "Bearer none").removeprefix("Bearer ")
    return AsyncOpenAI(base_url=f"{product.base_url}/openai/v1", api_key=key, max_retries=0)


async def ask(openai: AsyncOpenAI, said: Any, **more: Any) -> Response:
    """Return the answer to what was said."""
    answer: Response = await openai.responses.create(
        **{"model": "signalbox", "input": said, **more}
    )
    return answer


async def events_of(openai: AsyncOpenAI, said: Any, **more: Any) -> Events:
    """Return the events of an answer."""
    stream = await openai.responses.create(
        **{"model": "signalbox", "input": said, "stream": True, **more}
    )
    return [event async for event in stream]


def pair(*rules: Rule) -> list[Rule]:
    """Return the rules of a run in which two work, so that its answer is written."""
    return [
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply(text="Done it.")),
        worker("Count it", Reply(text="Two.")),
        *rules,
    ]


def run_of(answer: Response) -> dict[str, Any]:
    """Return what an answer says of its run."""
    found: dict[str, Any] = (answer.model_extra or {})["signalbox"]
    return found


def response_of(event: ResponseStreamEvent) -> Response:
    """Return the response in an event that has one."""
    assert isinstance(event, Whole)
    return event.response


def text_of(events: Events) -> str:
    """Return the text that a stream has told piece by piece."""
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


async def look(openai: AsyncOpenAI, response_id: str) -> Response:
    """Return a response when its turn has ended."""
    found = await openai.responses.retrieve(response_id, extra_headers={"prefer": "wait=20"})
    assert found.status not in {"queued", "in_progress"}
    return found


async def test_a_response_is_a_run(product: Product, models: FakeModelServer) -> None:
    """With the run's answer, its spending, and where to look it up; also as it is looked up."""
    models.add(*solo())
    async with client(product) as openai:
        raw = await openai.responses.with_raw_response.create(
            model="signalbox/coder",
            input="Please do it",
            instructions="Be short.",
            metadata={"topic": "tests"},
            temperature=0.2,
            max_output_tokens=500,
            text={"verbosity": "low"},
        )
        answer = raw.parse()
        again = await openai.responses.retrieve(answer.id)
    assert raw.headers["signalbox-ignored"] == "max_output_tokens, temperature, text.verbosity"
    run = (await product.client.get(f"/v1/runs/{run_of(answer)['run_id']}")).json()
    assert answer.id == run["id"].replace("run_", "resp_")
    assert run["task"] == "<instructions>\nBe short.\n</instructions>\n\nPlease do it"
    assert run["metadata"] == answer.metadata == {"topic": "tests"}
    assert (answer.output_text, answer.status) == ("Done it.", "completed")
    assert answer.usage is not None
    assert answer.usage.input_tokens == run["usage"]["input_tokens"] > 0
    assert answer.usage.output_tokens == run["usage"]["output_tokens"] > 0
    assert run_of(answer)["cost_usd"] == run["usage"]["cost_usd"]
    assert again.output == answer.output
    assert (again.model, again.usage) == ("signalbox/coder", answer.usage)


@pytest.mark.may_block
async def test_the_client_that_is_not_async_works_alike(
    product: Product, models: FakeModelServer
) -> None:
    models.add(*solo())

    def use() -> tuple[Response, Response]:
        url = f"{product.base_url}/openai/v1"
        with OpenAI(base_url=url, api_key="none", max_retries=0) as openai:
            answer = openai.responses.create(model="signalbox", input="Please do it")
            with openai.responses.stream(model="signalbox", input="Please do it") as stream:
                return answer, stream.get_final_response()

    answer, streamed = await asyncio.to_thread(use)
    assert answer.output_text == streamed.output_text == "Done it."


async def test_a_stream_has_progress_and_the_answer_apart(
    product: Product, models: FakeModelServer
) -> None:
    """As the events that OpenAI's client puts together, each with a number above the one before."""
    held = models.event("held")
    text = "It is done, and there are two of them."
    answer = When(schema=False, system=ANSWER_PROMPT)
    models.add(*pair(Rule(when=answer, reply=Reply(text=text), gate="held", gate_after=2)))
    kinds, numbers, pieces, progress = [], [], [], ""
    async with (
        client(product) as openai,
        openai.responses.stream(model="signalbox", input="Please do it") as stream,
    ):
        async for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
                held.set()
            if event.type == "response.reasoning_summary_text.delta":
                progress += event.delta
        final = await stream.get_final_response()
    assert "".join(pieces) == final.output_text == text
    assert len(pieces) > 1
    assert numbers == sorted(set(numbers))
    assert "coder, analyst" in progress
    assert "coder is done." in progress
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.usage is not None
    assert final.usage.total_tokens > 0
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.completed",
    ]


async def test_a_stream_is_taken_up_where_it_was_cut(
    product: Product, models: FakeModelServer
) -> None:
    """Whatever was seen of it; also in the middle of a piece, and while the answer is written."""
    held = models.event("held")
    answer, reply = When(schema=False, system=ANSWER_PROMPT), Reply(text="It is done at last.")
    models.add(*pair(Rule(when=answer, reply=reply, gate="held", gate_after=2)))
    seen: Events = []
    async with client(product) as openai:
        stream = await openai.responses.create(model="signalbox", input="Please do it", stream=True)
        async for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        response_id = response_of(seen[0]).id
        live = await openai.responses.retrieve(
            response_id, stream=True, starting_after=seen[-1].sequence_number
        )
        held.set()
        rest = [event async for event in live]
        for at in range(len(seen)):
            number = seen[at].sequence_number
            later = await openai.responses.retrieve(response_id, stream=True, starting_after=number)
            more = [event async for event in later]
            assert all(event.sequence_number > number for event in more)
            assert text_of(seen[: at + 1]) + text_of(more) == "It is done at last."
            assert more[-1].type == "response.completed"
        whole = await openai.responses.retrieve(response_id, stream=True)
        everything = [event async for event in whole]
        inside = everything[-5].sequence_number - 4
        cut = await openai.responses.retrieve(response_id, stream=True, starting_after=inside)
        assert text_of([event async for event in cut]) == "ast."
        with pytest.raises(APIStatusError) as caught:
            await openai.responses.retrieve(response_id, extra_query={"starting_after": 3})
    assert text_of(seen) + text_of(rest) == text_of(everything) == "It is done at last."
    assert rest[-1] == everything[-1]
    assert caught.value.status_code == 400


async def test_what_was_begun_anew_is_an_item_of_its_own(
    product: Product, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said before stays behind as incomplete, and is no part of the answer."""
    # Half a second in production, before each new try.
    monkeypatch.setattr(product.services.gateway, "first_delay_seconds", 0.0)
    spoken = iter([Reply(text="It is nearly", fault="truncate"), Reply(text="Here it is.")])
    answer = When(schema=False, system=ANSWER_PROMPT)
    models.add(*pair(Rule(when=answer, reply=lambda _request: next(spoken))))
    async with client(product) as openai:
        events = await events_of(openai, "Please do it")
        async with openai.responses.stream(response_id=response_of(events[0]).id) as stream:
            final = await stream.get_final_response()
        at = [e.sequence_number for e in events if e.type == "response.output_text.delta"][-1]
        late = await openai.responses.retrieve(final.id, stream=True, starting_after=at)
        rest = [event async for event in late]
    assert [event.type for event in rest] == ["response.completed"]
    assert rest[0].sequence_number > at
    void, kept = [
        item.item
        for item in events
        if item.type == "response.output_item.done" and item.item.type == "message"
    ]
    assert isinstance(void, ResponseOutputMessage)
    assert isinstance(kept, ResponseOutputMessage)
    [begun] = void.content
    assert isinstance(begun, ResponseOutputText)
    assert begun.text
    assert "It is nearly".startswith(begun.text)
    assert text_of(events) == f"{begun.text}Here it is."
    assert (void.status, kept.status, void.id == kept.id) == ("incomplete", "completed", False)
    assert response_of(events[-1]).output_text == final.output_text == "Here it is."
    assert kept in response_of(events[-1]).output
    assert void not in response_of(events[-1]).output


async def test_langchain_speaks_to_it(product: Product, models: FakeModelServer) -> None:
    """To one agent alone, whole and in pieces, and goes on where it was."""
    models.add(*solo())
    chat = ChatOpenAI(
        model="signalbox/coder",
        base_url=f"{product.base_url}/openai/v1",
        api_key=SecretStr("none"),
        max_retries=0,
        use_responses_api=True,
        use_previous_response_id=True,
    )
    answer = await chat.ainvoke("Please do it")
    assert answer.text == "Done it."
    assert answer.usage_metadata is not None
    streamed = [piece async for piece in chat.astream("Please do it")]
    assert "".join(piece.text for piece in streamed) == "Done it."
    follow_up = await chat.ainvoke([("user", "Please do it"), answer, ("user", "And again")])
    runs = (await product.client.get("/v1/runs")).json()["data"]
    assert [run["task"] for run in runs] == ["And again", "Please do it", "Please do it"]
    assert follow_up.response_metadata["id"] == runs[0]["id"].replace("run_", "resp_")
    assert runs[0]["thread_id"] == runs[2]["thread_id"]


async def test_the_next_turn_follows_up(product: Product, models: FakeModelServer) -> None:
    """On the response before, on the thread, or with all that was said."""
    models.add(*solo())
    async with client(product) as openai:
        first = await ask(openai, "Please do it", instructions="Be short.")
        items = [{"role": "user", "content": "This too."}, {"role": "user", "content": "And now?"}]
        second = await ask(openai, items, previous_response_id=first.id)
        third = await ask(openai, "And then?", conversation=run_of(first)["thread_id"])
        told: list[Any] = [{"role": "user", "content": "Please do it"}]
        told += [item.to_dict() for item in first.output]
        fourth = await ask(openai, [*told, {"role": "user", "content": "And last?"}])
    tasks = []
    for answer in (second, third, fourth):
        run = (await product.client.get(f"/v1/runs/{run_of(answer)['run_id']}")).json()
        tasks.append(run["task"])
    assert tasks == [
        "<conversation>\nuser: This too.\n</conversation>\n\nAnd now?",
        "And then?",
        "<conversation>\nuser: Please do it\n\nassistant: Done it.\n</conversation>\n\nAnd last?",
    ]
    threads = [run_of(answer)["thread_id"] for answer in (first, second, third, fourth)]
    assert threads[0] == threads[1] == threads[2] != threads[3]
    assert second.previous_response_id == first.id


async def test_in_the_background_it_is_accepted_and_looked_up(
    product: Product, models: FakeModelServer
) -> None:
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with client(product) as openai:
        accepted = await ask(openai, "Please do it", background=True)
        assert accepted.status in {"queued", "in_progress"}
        assert (accepted.background, accepted.output_text) == (True, "")
        held.set()
        assert (await look(openai, accepted.id)).output_text == "Done it."


async def test_it_is_cancelled_and_deleted(product: Product, models: FakeModelServer) -> None:
    models.event("held")
    models.add(*solo(gate="held"))
    async with client(product) as openai:
        accepted = await ask(openai, "Please do it", background=True)
        with pytest.raises(APIStatusError) as early:
            await openai.responses.delete(accepted.id)
        cancelled = await openai.responses.cancel(accepted.id)
        assert (await openai.responses.cancel(accepted.id)).status == "cancelled"
        streamed = await openai.responses.retrieve(accepted.id, stream=True)
        last = [event async for event in streamed][-1]
        await openai.responses.delete(accepted.id)
        with pytest.raises(APIStatusError) as gone:
            await openai.responses.retrieve(accepted.id)
    assert (early.value.status_code, early.value.code) == (409, "run-not-terminal")
    assert (cancelled.status, cancelled.error is not None) == ("cancelled", True)
    assert last.type == "response.failed"
    assert response_of(last).status == "cancelled"
    assert (gone.value.status_code, gone.value.code) == (404, "not-found")


async def test_a_schema_makes_the_answer_a_document(
    product: Product, models: FakeModelServer
) -> None:
    """That and nothing else, whole or in pieces, or an error."""
    good, bad = Reply(text='{"city": "Oslo"}'), Reply(text="No.")
    filled = iter([good, good, bad, bad, bad, bad])
    models.add(
        Rule(
            when=When(schema=True, system="^Give the answer below"),
            reply=lambda _request: next(filled),
        ),
        *solo(),
    )
    wish: dict[str, Any] = {"model": "signalbox", "input": "Where?", "text_format": Point}
    async with client(product) as openai:
        parsed = await openai.responses.parse(**wish)
        async with openai.responses.stream(**wish) as stream:
            streamed = await stream.get_final_response()
        with pytest.raises(APIStatusError) as caught:
            await openai.responses.parse(**wish)
        run_id = caught.value.response.headers["signalbox-run"]
        kept = await openai.responses.retrieve(run_id.replace("run_", "resp_"))
    assert parsed.output_parsed == streamed.output_parsed == Point(city="Oslo")
    assert (caught.value.status_code, caught.value.code) == (502, "model-error")
    assert (kept.status, kept.error and str(kept.error.code)) == ("failed", "model-error")


async def test_a_failure_is_never_a_success(product: Product, models: FakeModelServer) -> None:
    """Who waits for it gets the error; a stream ends with it; looked up, it is a response that failed."""
    models.add(unauthorised())
    async with client(product) as openai:
        with pytest.raises(APIStatusError) as whole:
            await ask(openai, "Please do it")
        events = await events_of(openai, "Please do it")
        last = response_of(events[-1])
        found = await openai.responses.retrieve(last.id)
    assert events[-1].type == "response.failed"
    assert (whole.value.status_code, whole.value.code) == (502, "model-error")
    assert whole.value.response.headers["x-should-retry"] == "false"
    for response in (last, found):
        assert response.status == "failed"
        assert response.error is not None
        assert str(response.error.code) == "model-error"
        assert "API key" in response.error.message
        assert response.output_text == ""
    assert "sk-secret" not in f"{whole.value}{events}{found}"


async def test_what_is_missing_is_said_in_the_answer(
    product: Product, models: FakeModelServer
) -> None:
    models.add(
        *decisions(("coder", "Do it"), ("analyst", "Count it")),
        worker("Do it", Reply(text="Done it.")),
        worker("Count it", Reply.error(401)),
    )
    async with client(product) as openai:
        answer = await ask(openai, "Please do it")
        streamed = await openai.responses.retrieve(answer.id, stream=True)
        assert text_of([event async for event in streamed]) == answer.output_text
    assert answer.output_text.startswith("Done it.")
    assert "> Missing: analyst: " in answer.output_text
    assert [part["agent"] for part in run_of(answer)["degraded"]] == ["analyst"]


async def test_an_incomplete_run_is_an_incomplete_response(
    product: Product, models: FakeModelServer
) -> None:
    models.add(
        Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
        worker("Do it", Reply(text="Done it.")),
    )
    run = await product.finished("Please do it", budget={"max_rounds": 1})
    assert run["status"] == "incomplete", run
    async with client(product) as openai:
        found = await openai.responses.retrieve(run["id"].replace("run_", "resp_"))
        streamed = await openai.responses.retrieve(found.id, stream=True)
        last = [event async for event in streamed][-1]
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert str(found.incomplete_details.reason) == "max_rounds"
    assert "> Incomplete: " in found.output_text
    assert last.type == "response.incomplete"
    assert response_of(last).output_text == found.output_text


REFUSED: Final[list[tuple[dict[str, Any], int, str]]] = [
    ({"model": "gpt-5"}, 404, "There is no model 'gpt-5'"),
    ({"tools": [{"type": "web_search"}]}, 422, "tools: "),
    ({"max_tool_calls": 2}, 422, "max_tool_calls: "),
    ({"input": " "}, 422, "with a text"),
    ({"input": []}, 422, "/input"),
    ({"input": [{"role": "assistant", "content": "Hi"}]}, 422, "has to be the user's"),
    ({"input": [{"type": "reasoning", "summary": []}]}, 422, "has to be the user's"),
    ({"input": [{"content": "Hi"}]}, 422, "a message needs a role"),
    ({"input": [{"type": "function_call_output", "output": "1"}]}, 422, "/input/0/type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        422,
        "/input/0/content",
    ),
    ({"text": {"format": {"type": "json_object"}}}, 422, "/text/format/type"),
    ({"text": {"format": {"type": "json_schema"}}}, 422, "/text/format"),
    ({"previous_response_id": "resp_1"}, 404, "There is no response 'resp_1'"),
    ({"previous_response_id": "resp_1", "conversation": "thr_1"}, 422, "/conversation"),
    ({"conversation": "thr_1"}, 404, "thr_1"),
]


async def test_what_cannot_be_honoured_is_refused(product: Product) -> None:
    """By its name, as a problem that OpenAI's clients can read; and nothing is begun."""
    async with client(product) as openai:
        for body, status, says in REFUSED:
            with pytest.raises(APIStatusError) as caught:
                await ask(openai, **{"said": "Please do it", **body})
            problem = caught.value.response.json()
            assert problem["status"] == caught.value.status_code == status, body
            assert says in problem["detail"]
            assert problem["error"]["message"] == problem["detail"]
            assert caught.value.code == problem["code"] == problem["error"]["type"]
    assert (await product.client.get("/v1/runs")).json()["data"] == []


def sends(target: CountingTarget, *more: str) -> list[Rule]:
    """Return the script of a coder that sends things one after the other, and says that it did."""
    calls = [Reply.calls(post(target, path)) for path in ("/orders", *more)]
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", *calls, Reply(text="It is settled.")),
    ]


@pytest.mark.parametrize(("answer", "sent"), [("approve", 1), ("reject: too dear", 0)])
async def test_a_question_ends_the_turn_and_the_next_one_answers_it(
    acting: Product, models: FakeModelServer, target: CountingTarget, answer: str, sent: int
) -> None:
    """Which is a response of its own about the same run; the same answer again is told how it went."""
    models.add(*sends(target))
    async with client(acting) as openai:
        first = await ask(openai, "Send it please")
        [approval] = await pending(acting, run_of(first)["run_id"])
        assert first.status == "completed"
        assert run_of(first)["status"] == "requires_action"
        assert run_of(first)["approval_ids"] == [approval["id"]]
        assert approval["action"]["args"]["url"] in first.output_text
        assert f"{acting.base_url}/v1/approvals/{approval['id']}" in first.output_text
        assert not target.requests
        streamed = await openai.responses.retrieve(first.id, stream=True)
        assert text_of([event async for event in streamed]) == first.output_text
        raw = await openai.responses.with_raw_response.create(
            model="signalbox", input=answer, previous_response_id=first.id, instructions="Be short."
        )
        second = raw.parse()
        again = await ask(openai, answer, previous_response_id=first.id)
        found = await openai.responses.retrieve(second.id)
    assert raw.headers["signalbox-ignored"] == "instructions"
    assert second.output_text == again.output_text == found.output_text == "It is settled."
    assert second.id != first.id
    assert run_of(second)["run_id"] == run_of(again)["run_id"] == run_of(first)["run_id"]
    assert len(target.requests) == sent


async def test_words_decide_about_what_was_shown_and_nothing_else(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Other words than a decision ask again; an approval that comes twice approves no later call.
    A conversation that is sent whole tells by its text what was asked."""
    models.add(*sends(target, "/payments"))
    async with client(acting) as openai:
        first = await ask(openai, "Send it please")
        events = await events_of(openai, "yes but not now", previous_response_id=first.id)
        unclear = response_of(events[-1])
        assert text_of(events).startswith("That decides nothing.")
        assert not target.requests
        second = await ask(openai, "approve", previous_response_id=unclear.id)
        assert "/payments" in second.output_text
        late = await ask(openai, "approve", previous_response_id=first.id)
        assert late.output_text == second.output_text
        assert len(target.requests) == 1
        said: list[Any] = [{"role": "user", "content": "Send it please"}]
        said += [item.to_dict() for item in late.output]
        third = await ask(openai, [*said, {"role": "user", "content": "approve"}])
    assert third.output_text == "It is settled."
    assert [request.path for request in target.requests] == ["/orders", "/payments"]


async def test_who_looks_it_up_sees_what_somebody_else_has_decided(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """In the background too: a question ends the looking, and the same response goes on after it."""
    models.add(*sends(target))
    async with client(acting) as openai:
        accepted = await ask(openai, "Send it please", background=True)
        question = await look(openai, accepted.id)
        assert "asks to call" in question.output_text
        [approval] = await pending(acting, run_of(accepted)["run_id"])
        await decided(acting, approval, type="approve")
        await acting.ended(run_of(accepted)["run_id"])
        found = await look(openai, accepted.id)
        models.add(*solo())
        models.rules[:] = models.rules[-len(solo()) :]
        after = await ask(openai, "Please do it", previous_response_id=accepted.id)
    assert found.output_text == "It is settled."
    assert after.output_text == "Done it."
    assert run_of(after)["run_id"] != run_of(found)["run_id"]
    assert run_of(after)["thread_id"] == run_of(found)["thread_id"]


async def test_another_tenants_responses_are_not_there(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Whatever is done with them; and who may not decide does not decide here."""
    models.add(*sends(target))
    _, owner = await issue(acting_once)
    _, writer = await issue(acting_once, "runs:write", "runs:read")
    _, other = await issue(acting_once, "admin", tenant="theirs")
    async with client(acting_once, owner) as openai:
        first = await ask(openai, "Send it please")
    async with client(acting_once, writer) as openai:
        with pytest.raises(APIStatusError) as refused:
            await ask(openai, "approve", previous_response_id=first.id)
    assert refused.value.status_code == 403
    async with client(acting_once, other) as openai:
        for attempt in (
            lambda: ask(openai, "approve", previous_response_id=first.id),
            lambda: openai.responses.retrieve(first.id),
            lambda: openai.responses.retrieve(first.id, stream=True),
            lambda: openai.responses.cancel(first.id),
            lambda: openai.responses.delete(first.id),
        ):
            with pytest.raises(APIStatusError) as caught:
                await attempt()
            assert (caught.value.status_code, caught.value.code) == (404, "not-found")
            assert "error" in caught.value.response.json()
    assert not target.requests


async def test_a_request_that_is_repeated_makes_one_run(
    product: Product, models: FakeModelServer
) -> None:
    models.add(*solo())
    headers = {"idempotency-key": "one"}
    body = {"model": "signalbox", "input": "Please do it", "background": True}
    first = await product.client.post(PATH, json=body, headers=headers)
    again = await product.client.post(PATH, json=body, headers=headers)
    other = await product.client.post(PATH, json={**body, "input": "No"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reuse")


async def test_a_client_that_leaves_stops_nothing(
    product: Product, models: FakeModelServer
) -> None:
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with client(product) as openai:
        stream = await openai.responses.create(model="signalbox", input="Please do it", stream=True)
        first = response_of(await anext(aiter(stream)))
        await stream.close()
        held.set()
        run = await product.ended(run_of(first)["run_id"])
        assert (await openai.responses.retrieve(first.id)).output_text == "Done it."
    assert run["status"] == "completed"


async def test_a_stream_that_the_server_ends_says_that_the_run_goes_on(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """Here one that waits for its turn on the thread, behind a run that asks a person."""
    models.add(*sends(target))
    events: Events = []
    begun = asyncio.Event()

    async def read(openai: AsyncOpenAI, thread: str) -> None:
        wish: dict[str, Any] = {"model": "signalbox", "input": "And now?", "conversation": thread}
        async for event in await openai.responses.create(**wish, stream=True):
            events.append(event)
            begun.set()

    async with start(models=models, http_allow=target.address) as product:
        openai = client(product)
        first = await ask(openai, "Send it please")
        reading = asyncio.create_task(read(openai, run_of(first)["thread_id"]))
        async with asyncio.timeout(SECONDS):
            await begun.wait()
    async with asyncio.timeout(SECONDS), openai:
        await reading
    last = events[-1]
    assert isinstance(last, ResponseErrorEvent)
    assert last.code == "deadline-exceeded"
    assert response_of(events[0]).id in last.message
    assert last.sequence_number > events[-2].sequence_number


async def test_a_run_that_takes_longer_says_where_it_is(
    start: Start, models: FakeModelServer
) -> None:
    """A whole answer is waited for as long as any request is; the run goes on."""
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with start(models=models, max_wait=0.2) as product, client(product) as openai:
        with pytest.raises(APIStatusError) as caught:
            await ask(openai, "Please do it")
        run_id = caught.value.response.headers["signalbox-run"]
        response_id = run_id.replace("run_", "resp_")
        assert response_id in caught.value.message
        assert (await openai.responses.retrieve(response_id)).status == "in_progress"
        held.set()
        await product.ended(run_id)
        assert (await openai.responses.retrieve(response_id)).output_text == "Done it."
    assert (caught.value.status_code, caught.value.code) == (504, "deadline-exceeded")


async def test_what_the_page_shows_works(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block of it, without a model."""
    assert len(DOCUMENT.curls) == 2
    languages = {"sh": 0, "python": 0}
    async with start() as product:
        for curl in DOCUMENT.curls:
            response = await product.client.request(
                curl.method, curl.path, headers=curl.headers, content=curl.body
            )
            assert response.status_code == 200, response.text
        for block in DOCUMENT.blocks:
            languages[block.language] += 1
            if block.language == "python":
                code = block.text.replace("http://localhost:8000", product.base_url)
                await asyncio.to_thread(exec, compile(code, DOCUMENT.name, "exec"), {})
    assert languages == {"sh": 1, "python": 2}
    printed = capsys.readouterr().out
    assert [printed.count(each) > 0 for each in ("13.6", "15.3", "17")] == [True, True, True]


async def test_a_refusal_that_comes_too_late_is_no_task(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """It is told how it went; other words go on from there, also where they begin with a no."""
    models.add(*sends(target))
    async with client(acting) as openai:
        first = await ask(openai, "Send it please")
        second = await ask(openai, "approve", previous_response_id=first.id)
        late = await ask(openai, "reject: too dear", previous_response_id=first.id)
        assert (late.id, late.output_text) == (second.id, "It is settled.")
        task = await ask(openai, "No, the other one", previous_response_id=first.id)
    assert run_of(task)["run_id"] != run_of(first)["run_id"]
    assert len(target.requests) == 1


@pytest.mark.parametrize("chat", [False, True])
async def test_a_schema_with_a_number_that_cannot_be_written_is_refused(
    product: Product, *, chat: bool
) -> None:
    """It is read as infinity, which is no JSON any more."""
    form: dict[str, Any] = {"schema": {"maximum": 1}}
    body: dict[str, Any] = {"input": "Do it", "text": {"format": {"type": "json_schema", **form}}}
    if chat:
        body = {
            "messages": [{"role": "user", "content": "Do it"}],
            "response_format": {"type": "json_schema", "json_schema": form},
        }
    content = json.dumps({"model": "signalbox", **body}).replace('"maximum": 1', '"maximum": 1e999')
    answer = await product.client.post(
        "/openai/v1/chat/completions" if chat else PATH,
        content=content,
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-error")
    assert "too large" in answer.json()["detail"]
