"""Work that outgrows its model's window: old results leave the prompts, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import pytest

from tests.fakes.model_script import ModelRequest, Reply, Rule, When, message_text
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.checking import judge, verdict
from tests.integration.conftest import Start
from tests.integration.people import turns
from tests.integration.team_script import decisions

CHARS_A_TOKEN: Final = 4
WINDOW: Final = 24_000
ANSWER: Final = 1_000
SMALL: Final = f"openai:fake-1?context={WINDOW}&max_tokens={ANSWER}"
NAMES: Final = [f"part{number}.txt" for number in range(14)]
NOTE: Final = "was cleared to save space"
LINE: Final = (
    "The keepers of the light wrote down what they saw, hour by hour and night by night.\n"
)


def part(name: str) -> str:
    """Return a text of six thousand characters that is about a file."""
    return f"{name} counts {4000 + NAMES.index(name)} ships.\n" + LINE * 70


FILES: Final = [
    {"name": name, "content_base64": base64.b64encode(part(name).encode()).decode()}
    for name in NAMES
]


def reading(answer: str = "Done.", names: Sequence[str] = NAMES) -> Rule:
    """Return the rule of an agent that reads two files at a time, then answers."""
    calls = [("read_file", {"path": name}) for name in names]
    reads = [Reply.calls(*calls[place : place + 2]) for place in range(0, len(calls), 2)]
    return turns("Read them", *reads, Reply(text=answer))


def tokens(request: ModelRequest) -> int:
    """Return how many tokens the fake provider's tokenizer finds in a prompt."""
    given = json.dumps([request.body.get("tools"), request.body["messages"]])
    return len(given) // CHARS_A_TOKEN


def windowed(rule: Rule, window: int, said: str) -> Rule:
    """Return a rule of a provider that refuses what is too long for its window."""
    inner = rule.reply

    def reply(request: ModelRequest) -> Reply:
        wanted = tokens(request) + request.body["max_completion_tokens"]
        if wanted > window:
            return Reply.error(400, message=said.format(window=window, wanted=wanted))
        return inner if isinstance(inner, Reply) else inner(request)

    return Rule(when=rule.when, reply=reply, name="windowed")


def prompts(models: FakeModelServer, *, system: str = "") -> list[list[dict[str, Any]]]:
    """Return the messages of the agent's calls, or of whose system prompt begins so."""
    found = [
        request.body["messages"]
        for request in models.requests
        if (request.system.startswith(system) if system else "<assignment>" in request.user)
    ]
    assert found
    return found


def results(messages: list[dict[str, Any]]) -> list[str]:
    """Return the tool results of a prompt."""
    return [message_text(m) for m in messages if m["role"] == "tool"]


def retries(events: list[dict[str, Any]]) -> list[str]:
    """Return why calls were made again."""
    return [e["data"]["reason"] for e in events if e["type"] == "agent.retrying"]


async def booked_as_billed(product: Product, models: FakeModelServer, run: dict[str, Any]) -> None:
    """Fail unless a run's usage is what its provider would bill: refusals cost nothing."""
    usage = run["usage"]
    assert usage["calls"] == len(models.bills)
    assert usage["unmetered_calls"] == 0
    assert usage["input_tokens"] == sum(bill.input_tokens for _, bill in models.bills)


async def test_a_conversation_stays_within_a_small_window_and_its_beginning_stays_the_same(
    modelled_small: Product, models: FakeModelServer
) -> None:
    """84 000 characters through a window of 24 000 tokens: the oldest results leave in large pieces."""
    models.add(
        *decisions(("analyst", "Read them")),
        windowed(reading("4000 ships at first."), WINDOW, "maximum context length is {window}"),
    )
    run = await modelled_small.finished("Count the ships", files=FILES)
    assert run["status"] == "completed", run
    sent = prompts(models)
    assert len(sent) == len(NAMES) // 2 + 1
    for number, messages in enumerate(sent):
        found = results(messages)
        assert found[-4:] == [part(name) for name in NAMES[: 2 * number][-4:]]
        assert "<assignment>\nRead them\n" in message_text(messages[1])
        # The model's own words stay: each call with what it was made for.
        calls = [call["function"] for m in messages for call in m.get("tool_calls", [])]
        assert [json.loads(call["arguments"])["path"] for call in calls] == NAMES[: 2 * number]
    last = results(sent[-1])
    assert NOTE in last[0]
    assert f"{len(part(NAMES[0]))} characters" in last[0]
    assert "call read_file again" in last[0]
    assert "\n" not in last[0]
    assert sum(tokens(request) > WINDOW - ANSWER for request in models.requests) == 0
    anew = [now[: len(before)] != before for before, now in pairwise(sent)]
    assert 1 <= sum(anew) <= 2
    assert retries(await modelled_small.events(run["id"])) == []
    await booked_as_billed(modelled_small, models, run)


async def test_what_left_the_prompt_is_still_told_kept_and_checked(
    start: Start, models: FakeModelServer
) -> None:
    """Events are whole, and the validator finds a figure of the first file, which the model does not see any
    more; one that no file has is found out all the same."""
    models.add(
        judge(verdict()),
        *decisions(("analyst", "Read them")),
        reading(f"{NAMES[0]} counts 4000 ships."),
    )
    async with start(models=models, model_standard=SMALL, validation="on") as product:
        run = await product.finished("Count the ships", files=FILES)
        events = await product.events(run["id"])
    assert NOTE in results(prompts(models)[-1])[0]
    told = [e["data"]["summary"] for e in events if e["type"] == "tool.completed"]
    assert sorted(text.split(" ")[0] for text in told) == sorted(NAMES)
    assert all(NOTE not in text for text in told)
    assert run["result"]["validation"]["verdict"] == "accept", run["result"]
    assert run["result"]["output"] == f"{NAMES[0]} counts 4000 ships."


SAID: Final = {
    "openai": "This model's maximum context length is {window} tokens. However, you requested {wanted} tokens.",
    "llama.cpp": "request ({wanted} tokens) exceeds the available context size ({window} tokens), try increasing it",
    "without a size": "The prompt is too long: it exceeds the context window.",
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
async def test_a_refusal_for_length_is_answered_with_less_and_remembered(
    start: Start, models: FakeModelServer, said: str
) -> None:
    """Nobody knew how large the window is. The refused call costs nothing, and one refusal is enough."""
    models.add(
        *decisions(("analyst", "Read them")),
        windowed(reading("4000 ships at first."), 17_000, said),
    )
    async with start(models=models, model_standard=f"openai:fake-1?max_tokens={ANSWER}") as product:
        run = await product.finished("Count the ships", files=FILES)
        events = await product.events(run["id"])
        assert run["status"] == "completed", run
        await booked_as_billed(product, models, run)
    (reason,) = retries(events)
    assert "refused the prompt as too long" in reason
    assert len(prompts(models)) == len(NAMES) // 2 + 2
    assert results(prompts(models)[-1])[-4:] == [part(name) for name in NAMES[-4:]]


async def test_a_second_refusal_fails_the_agent_and_says_what_to_do(
    start: Start, models: FakeModelServer
) -> None:
    """The model is asked twice, not for ever; the reason names it."""
    bad = Rule(
        name="bad",
        when=When(schema=False, user="<assignment>\nRead them\n"),
        reply=Reply.error(400, message=SAID["without a size"]),
    )
    models.add(*decisions(("analyst", "Read them")), bad)
    async with start(models=models, model_standard="openai:fake-1") as product:
        response = await product.run(LINE * 60)
        run = response.json()["run"]
        assert run["usage"]["calls"] == len(models.bills)
    assert response.status_code == 502, response.text
    detail = response.json()["detail"]
    assert "too long for openai:fake-1 even with" in detail
    assert "larger window" in detail
    assert models.counts["bad"] == 2


async def test_what_cannot_be_made_to_fit_is_asked_of_the_next_model_without_asking_the_first(
    start: Start, models: FakeModelServer
) -> None:
    """A window too small for the agent's instructions alone: no request is wasted on it."""
    models.add(*decisions(("analyst", "Read them")), reading("Done.", NAMES[:1]))
    chain = "openai:tiny?context=1000, openai:large?context=128000"
    async with start(models=models, model_standard=chain) as product:
        run = await product.finished("Count the ships", files=FILES)
        events = await product.events(run["id"])
    assert run["status"] == "completed", run
    assert all(request.model != "tiny" for request in models.requests)
    assert part(NAMES[0]) in results(prompts(models)[-1])
    assert "window of 1000 tokens" in retries(events)[0]
    assert "openai:large is asked" in retries(events)[0]


async def test_a_small_model_decides_and_judges_over_long_results(
    start: Start, models: FakeModelServer
) -> None:
    """What the supervisor, the validator and the answer read is cut head and tail to the window."""
    long = "In the night nothing was seen, and by day little else.\n" * 350
    models.add(
        judge(verdict()),
        *decisions(("coder", "First"), ("analyst", "Second")),
        *(turns(name, Reply(text=long)) for name in ("First", "Second")),
        Rule(when=When(system="^Write the final answer"), reply=Reply(text="Nothing was seen.")),
    )
    task = f"BEGIN {LINE * 200}"
    small = "openai:fake-1?context=6000&max_tokens=1000"
    async with start(
        models=models, model_fast=small, model_standard=small, validation="on"
    ) as product:
        run = await product.finished(task)
    assert run["status"] == "completed", run
    assert run["degraded"] == [], run["degraded"]
    assert max(tokens(request) for request in models.requests) <= 5000
    assert run["rounds"] == 1
    for who in ("You supervise", "You check", "Write the final answer"):
        said = message_text(prompts(models, system=who)[-1][1])
        assert said.startswith("<task>\nBEGIN ")
        assert said.endswith("</results>")
        assert "characters left out" in said


@pytest.fixture
async def modelled_small(start: Start, models: FakeModelServer) -> Any:
    """Run the product with a model whose window is small."""
    async with start(models=models, model_standard=SMALL) as product:
        yield product
