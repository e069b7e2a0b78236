"""What each fault of a model provider leads to: retried, then an honest failure or a named gap.

Never a hang, never a 200 for a failure, never a key or a prompt in what clients see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.team_script import SECONDS, composer, decisions, worker

SECRET = "sk-canary-0123456789"


@dataclass(frozen=True)
class Fault:
    """What the provider does, how often it is asked, and what a client is told."""

    reply: Reply
    tries: int
    said: str


FAULTS = {
    "401": Fault(Reply.error(401, message=f"Incorrect API key provided: {SECRET}"), 1, "API key"),
    "403": Fault(Reply.error(403, message=SECRET), 1, "credentials"),
    "404": Fault(Reply.error(404, message="no such model"), 1, "no such model"),
    "400": Fault(Reply.error(400, message=SECRET), 1, "HTTP 400"),
    "429": Fault(Reply.error(429, retry_after="0", message=SECRET), 3, "rate limit"),
    "500": Fault(Reply.error(500, retry_after="0"), 3, "HTTP 500"),
    "503": Fault(Reply.error(503, retry_after="0"), 3, "HTTP 503"),
    "stream without an end": Fault(Reply(text="Half of it", fault="truncate"), 3, "broke off"),
    "malformed chunk": Fault(Reply(text="Some words here", fault="malformed"), 3, "malformed"),
    "broken connection": Fault(Reply(text="Some words here", fault="disconnect"), 3, "connection"),
    "nothing at all": Fault(Reply(fault="empty"), 3, "nothing"),
    "a page of HTML": Fault(Reply(text="x", fault="not_json"), 3, "malformed|broke off|nothing"),
    "content filter": Fault(Reply(text="x", fault="content_filter"), 1, "content filter"),
    "silence": Fault(Reply(fault="hang"), 3, "in time"),
}


@pytest.fixture
async def product(
    start: Start,
    models: FakeModelServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Product]:
    """Run the product with no pause before a new try and, where silence is waited out, a short patience."""
    silent = "silence" in request.node.name
    patience = 2.0 if silent else SECONDS
    async with start(models=models, model_timeout=patience, OPENAI_API_KEY=SECRET) as running:
        monkeypatch.setattr(running.services.gateway, "first_delay_seconds", 0.0)
        yield running


def calls_of(models: FakeModelServer, name: str) -> int:
    """Return how often a rule answered."""
    return models.counts[name]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_of_one_agent_is_named_and_the_others_answer(
    product: Product, models: FakeModelServer, fault: Fault
) -> None:
    """The run completes with what there is and says what is missing and why."""
    bad = Rule(
        name="bad",
        when=When(schema=False, user="<assignment>\nFail\n"),
        reply=fault.reply,
    )
    models.add(
        *decisions(("coder", "Fail"), ("analyst", "Work")),
        bad,
        worker("Work", Reply(text="Worked.")),
    )
    response = await product.run("Two things")
    assert response.status_code == 200, response.text
    run = response.json()
    assert run["status"] == "completed"
    assert run["result"]["agents"]["analyst"]["status"] == "completed"
    (part,) = run["degraded"]
    assert part["agent"] == "coder"
    assert any(word in part["reason"] for word in fault.said.split("|")), part
    assert part["reason"] in run["result"]["output"]
    assert calls_of(models, "bad") == fault.tries
    events = await product.events(run["id"])
    assert sum(e["type"] == "agent.retrying" for e in events) == fault.tries - 1
    assert [e["agent"] for e in events if e["type"] == "agent.failed"] == ["coder"]
    assert SECRET not in response.text + str(events)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_of_the_supervisor_is_an_honest_failure(
    product: Product, models: FakeModelServer, fault: Fault
) -> None:
    """Nobody could be set to work: 502, with the reason and without the key."""
    if fault.reply.fault == "truncate":
        pytest.skip("a decision is not streamed, so it cannot break off midway")
    models.add(Rule(name="bad", when=When(schema=True), reply=fault.reply))
    response = await product.run("Anything")
    assert response.status_code == 502, response.text
    problem = response.json()
    assert problem["code"] == "model-error"
    assert any(word in problem["detail"] for word in fault.said.split("|")), problem["detail"]
    assert problem["run"]["status"] == "failed"
    assert response.headers["x-should-retry"] == "false"
    assert calls_of(models, "bad") == fault.tries
    assert SECRET not in response.text


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_that_passes_leaves_no_trace_in_the_answer(
    product: Product, models: FakeModelServer, fault: Fault
) -> None:
    """One bad call, then a good one: the run is whole where the fault is worth another try."""
    models.add(
        *decisions(("coder", "Do it")),
        Rule(when=When(schema=False, user="<assignment>\nDo it\n"), reply=fault.reply, times=1),
        worker("Do it", Reply(text="Done.")),
    )
    run = await product.finished("Do it")
    if fault.tries == 1:
        assert run["status"] == "failed"
    else:
        assert (run["status"], run["degraded"]) == ("completed", [])
        assert run["result"]["output"] == "Done."


async def test_a_later_fault_of_the_supervisor_keeps_the_results(
    product: Product, models: FakeModelServer
) -> None:
    """What the agents have found is the answer, and the supervisor is named as missing."""
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.error(401)),
        *decisions(("coder", "Do it")),
        worker("Do it", Reply(text="Done.")),
    )
    run = await product.finished("Do it")
    assert run["status"] == "completed"
    assert run["result"]["output"].startswith("Done.")
    assert [part["agent"] for part in run["degraded"]] == ["supervisor"]


async def test_an_answer_that_cannot_be_composed_is_the_results_themselves(
    product: Product, models: FakeModelServer
) -> None:
    """Both results stand one after the other, and the supervisor is named as missing."""
    models.add(
        *decisions(("coder", "One"), ("analyst", "Two")),
        worker("One", Reply(text="First.")),
        worker("Two", Reply(text="Second.")),
        composer(Reply.error(400)),
    )
    run = await product.finished("Both")
    assert run["status"] == "completed"
    assert "First." in run["result"]["output"]
    assert "Second." in run["result"]["output"]
    assert [part["agent"] for part in run["degraded"]] == ["supervisor"]


async def test_an_answer_cut_at_the_limit_says_so(
    product: Product, models: FakeModelServer
) -> None:
    """What came before the limit is kept and marked."""
    models.add(
        *decisions(("coder", "Do it")),
        worker("Do it", Reply(text="A long answer that goes on", fault="length")),
    )
    run = await product.finished("Do it")
    assert run["status"] == "completed"
    assert "cut off at the limit" in run["result"]["output"]


async def test_every_call_that_was_answered_is_booked(
    product: Product, models: FakeModelServer
) -> None:
    """Tokens by agent and model add up, and an unknown price is unknown, not zero."""

    def usage(_: ModelRequest) -> Reply:
        return Reply(text="Done.")

    models.add(*decisions(("coder", "Do it")), Rule(when=When(schema=False), reply=usage))
    run = await product.finished("Do it")
    total = run["usage"]
    assert total["calls"] == 3
    assert (total["cost_known"], total["cost_usd"]) == (False, None)
    for field in ("input_tokens", "output_tokens", "calls"):
        assert sum(share[field] for share in total["by_agent"].values()) == total[field]
        assert sum(share[field] for share in total["by_model"].values()) == total[field]
    assert set(total["by_agent"]) == {"supervisor", "coder"}
    assert total["input_tokens"] > 0


async def test_a_broken_tool_call_does_not_end_the_agent(
    product: Product, models: FakeModelServer
) -> None:
    """A model whose call was cut off at its limit is told, or the agent fails by name; no hang."""
    models.add(
        *decisions(("coder", "Do it")),
        Rule(when=When(after_tool=True), reply=Reply(text="Done.")),
        worker("Do it", Reply.calls(("write_file", {"path": "a.txt"}))),
    )
    run = await product.finished("Do it")
    assert run["status"] == "completed"
    assert run["result"]["output"] == "Done."


async def test_what_is_no_text_and_no_number_does_not_break_a_run(
    product: Product, models: FakeModelServer
) -> None:
    """Half a surrogate pair, `NaN` and a huge integer reach clients as something they can read."""
    args = {"path": "a\ud800.txt", "content": "x", "more": float("nan"), "big": 10**40}
    models.add(
        *decisions(("coder", "Do it")),
        Rule(when=When(after_tool=True), reply=Reply(text="Done \ud83d half.")),
        worker("Do it", Reply.calls(("write_file", args))),
    )
    run = await product.finished("Do it")
    assert run["status"] == "completed", run["error"]
    assert run["result"]["output"].startswith("Done ")
    events = await product.events(run["id"])
    started = next(e for e in events if e["type"] == "tool.started")
    assert started["data"]["args"]["more"] == "nan"
    assert started["data"]["args"]["big"] == str(10**40)
    streamed = await product.stream(run["id"])
    assert streamed[-1]["type"] == "run.completed"
