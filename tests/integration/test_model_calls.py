"""One call of a model: its tries, the models that take its place, its limits, and what is booked of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from agents._kit.asking import by_schema
from agents._kit.models import ModelGateway, ModelSettings, Request
from domain.agent import TIERS, AgentSpec, Assignment
from domain.budget import PlannedCall
from domain.errors import BudgetReachedError, ModelCallError, RunFailedError
from domain.usage import ModelCall
from tests.fakes.model_script import ModelRequest, Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer

MESSAGES: list[BaseMessage] = [HumanMessage("Say something")]
SCHEMA: dict[str, Any] = {
    "title": "Thing",
    "description": "A thing.",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}


@dataclass
class Watcher:
    """A guard that lets everything through, or as much as it is told, and remembers what it saw."""

    most_tokens: int | None = None
    refuse: RunFailedError | None = None
    seconds: Callable[[], float | None] = lambda: None
    planned: list[PlannedCall] = field(default_factory=list)
    settled: list[tuple[str, ModelCall | None]] = field(default_factory=list)

    async def reserve(self, planned: PlannedCall) -> int:
        """Let a call through."""
        if self.refuse:
            raise self.refuse
        self.planned.append(planned)
        return self.most_tokens or planned.max_tokens

    async def settle(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Note what a call came to."""
        self.settled.append((planned.key, call))

    def note(self, run_id: str, call: ModelCall) -> None:
        """Do nothing: nothing here comes from outside."""

    def tried(self, run_id: str, key: str) -> int:
        """Return that nothing is repeated."""
        del run_id, key
        return 0

    def seconds_left(self, run_id: str) -> float | None:
        """Return what the test says."""
        del run_id
        return self.seconds()


@dataclass
class Bench:
    """A gateway with a fake provider, and what it told."""

    models: FakeModelServer
    gateway: ModelGateway
    guard: Watcher
    booked: list[ModelCall] = field(default_factory=list)
    written: list[ModelCall] = field(default_factory=list)
    retries: list[tuple[str, float, int]] = field(default_factory=list)

    async def ask(self, **more: Any) -> AIMessage:
        """Make one call."""
        schema = more.get("schema")

        async def invoke(model: BaseChatModel, sent: list[BaseMessage]) -> AIMessage:
            asked = by_schema(model, schema) if schema else model
            answer: AIMessage = await asked.ainvoke(sent)
            return answer

        values: dict[str, Any] = {
            "run_id": "run",
            "attempt": 1,
            "agent": "coder",
            "tier": "standard",
            "round": 2,
            "key": "k",
            "messages": MESSAGES,
            "streamed": schema is None,
            **more,
        }
        return await self.gateway.call(
            Request(**values),
            invoke,
            on_retry=lambda *told: self.retries.append(told),
            write=self.written.append,
        )

    def rows(self) -> list[tuple[str, str, bool]]:
        """Return key, status and whether it was counted of all that was booked."""
        assert self.booked == self.written
        assert self.booked == [call for _, call in self.guard.settled if call]
        assert len(self.guard.planned) == len(self.guard.settled)
        return [(call.key, call.status, call.metered) for call in self.booked]


Open = Callable[..., Bench]


@pytest.fixture
async def bench(models: FakeModelServer) -> AsyncIterator[Open]:
    """Return how to open a gateway with a chain for its tier `standard`."""
    gateways: list[ModelGateway] = []

    def begin(chain: str = "openai:one, openai:two", **more: Any) -> Bench:
        tiers = dict.fromkeys(TIERS, "openai:other") | {"standard": chain}
        values: dict[str, Any] = {
            "openai_base_url": models.base_url,
            "first_delay_seconds": 0.0,
            "timeout_seconds": 5.0,
            **more,
        }
        gateway = ModelGateway(ModelSettings(tiers=tiers, **values), ())
        gateways.append(gateway)
        guard = Watcher()
        bench = Bench(models, gateway, guard)
        gateway.guard = guard
        gateway.on_booked = lambda _, call: bench.booked.append(call)
        return bench

    yield begin
    for gateway in gateways:
        await gateway.aclose()


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_one_provider_refuses_the_next_may_answer(
    bench: Open, models: FakeModelServer, status: int
) -> None:
    """The fallback is told with its name, and a refusal is not billed."""
    models.add(Rule(when=When(model="one"), reply=Reply.error(status)))
    one = bench()
    message = await one.ask()
    assert message.response_metadata["signalbox"]["model"] == "openai:two"
    ((reason, delay, number),) = one.retries
    assert "openai:two is asked in the place of openai:one" in reason
    assert (delay, number) == (0.0, 2)
    assert one.rows() == [("k~2", "completed", True)]
    assert one.guard.settled[0] == ("k", None)
    assert (one.booked[0].model, one.booked[0].round) == ("openai:two", 2)


async def test_what_is_too_long_for_one_model_twice_the_next_may_answer_and_reads_it_whole(
    bench: Open, models: FakeModelServer
) -> None:
    """Asked once more with half of it; the refusals cost nothing, and the size that was told is remembered."""
    said = "This model's maximum context length is 9000 tokens."
    models.add(Rule(name="small", when=When(model="one"), reply=Reply.error(400, message=said)))
    one = bench("openai:one, openai:gpt-4.1")
    long = "All is well. " * 2_500
    message = await one.ask(messages=[HumanMessage(long)])
    assert message.response_metadata["signalbox"]["model"] == "openai:gpt-4.1"
    assert models.counts["small"] == 2
    first, second, third = (len(request.user) for request in models.requests)
    assert first == third == len(long)
    assert second < first / 2
    assert [number for _, _, number in one.retries] == [2, 3]
    assert "its window of 9000 tokens" in one.retries[-1][0]
    assert one.rows() == [("k~3", "completed", True)]


async def test_a_model_that_keeps_failing_hands_over_and_all_of_them_are_named(
    bench: Open, models: FakeModelServer
) -> None:
    """Three tries each; in the end the error says what each said."""
    models.add(Rule(name="bad", reply=Reply.error(500, retry_after="0")))
    one = bench()
    with pytest.raises(ModelCallError) as caught:
        await one.ask()
    assert models.counts["bad"] == 6
    assert caught.value.detail.count("HTTP 500") == 2
    assert "openai:one: " in caught.value.detail
    assert "openai:two: " in caught.value.detail
    assert [number for _, _, number in one.retries] == [2, 3, 4, 5, 6]
    assert one.rows() == []


@pytest.mark.parametrize("fault", ["content_filter", "length"])
async def test_what_was_withheld_or_cut_off_is_asked_of_nobody_else(
    bench: Open, models: FakeModelServer, fault: Any
) -> None:
    """It is final, and booked with what it used."""
    models.add(Rule(name="bad", reply=Reply(text='{"name": "abc"}', fault=fault)))
    one = bench()
    with pytest.raises(ModelCallError):
        await one.ask(schema=SCHEMA)
    assert models.counts["bad"] == 1
    assert one.rows() == [("k", "failed", True)]
    assert one.booked[0].input_tokens > 0


@pytest.mark.parametrize(
    ("reply", "metered"),
    [
        (Reply(text="Half of it", fault="truncate"), False),
        (Reply(text="Some words here", fault="malformed"), False),
        (Reply(text="Some words here", fault="disconnect"), False),
        (Reply(fault="empty"), True),
        (Reply(text="x", fault="not_json"), False),
        (Reply(fault="hang"), False),
    ],
    ids=["truncate", "malformed", "disconnect", "empty", "not_json", "hang"],
)
async def test_a_try_that_may_have_been_billed_is_booked_for_itself(
    bench: Open, models: FakeModelServer, reply: Reply, metered: bool
) -> None:
    """Counted where its provider has told what it used, else as a call of which nobody knows."""
    models.add(Rule(when=When(model="one"), reply=reply, times=1))
    one = bench(timeout_seconds=0.5 if reply.fault == "hang" else 5.0)
    await one.ask()
    assert one.rows() == [("k", "failed", metered), ("k~2", "completed", True)]
    bad = one.booked[0]
    assert bad.cost_usd is None
    assert bool(bad.input_tokens) is metered


async def test_reasoning_and_cached_tokens_are_booked(bench: Open, models: FakeModelServer) -> None:
    """As the provider tells them."""
    models.add(Rule(reply=Reply(text="Hi", usage=TokenUsage(90, 30, 40))))
    one = bench()
    await one.ask()
    (call,) = one.booked
    assert (call.input_tokens, call.output_tokens, call.cached_tokens) == (90, 30, 40)
    assert call.reasoning_tokens == 0


async def test_a_connection_that_cannot_be_made_is_not_billed(bench: Open) -> None:
    """Nothing was sent, so nothing is booked."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    one = bench("openai:one", openai_base_url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ModelCallError, match="could not be reached"):
        await one.ask()
    assert one.rows() == []
    assert len(one.guard.settled) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_provider_that_wants_a_longer_wait_than_there_is_time_hands_over_at_once(
    bench: Open, models: FakeModelServer, form: str
) -> None:
    """Retry-After in seconds or as a date; nobody waits for what comes too late."""
    late = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    said = "3600" if form == "seconds" else late
    models.add(Rule(name="busy", when=When(model="one"), reply=Reply.error(429, retry_after=said)))
    one = bench()
    await one.ask()
    assert models.counts["busy"] == 1
    assert one.booked[0].model == "openai:two"


async def test_what_the_guard_refuses_is_final(bench: Open, models: FakeModelServer) -> None:
    """No try, no other model, and the error as it was raised."""
    one = bench()
    one.guard.refuse = BudgetReachedError("Nothing is left.", scope="run", limits={}, asks=False)
    with pytest.raises(BudgetReachedError):
        await one.ask()
    assert models.counts["*"] == 0
    assert one.guard.settled == []


async def test_the_guard_sees_the_most_that_a_call_can_be_and_says_how_long_it_may_answer(
    bench: Open, models: FakeModelServer
) -> None:
    """What it grants is what the provider is asked for."""
    one = bench("openai:one?max_tokens=2000&temperature=0.5")
    one.guard.most_tokens = 700
    await one.ask()
    (planned,) = one.guard.planned
    assert (planned.model, planned.max_tokens, planned.tier) == ("openai:one", 2000, "standard")
    assert planned.input_tokens >= one.booked[0].input_tokens
    body = models.requests[0].body
    assert body["max_completion_tokens"] == 700
    assert body["temperature"] == 0.5


async def test_a_call_ends_with_its_runs_time(bench: Open, models: FakeModelServer) -> None:
    """A try is cut off at the run's end and booked as one of which nobody knows."""
    models.add(Rule(reply=Reply(fault="hang")))
    one = bench()
    ends = asyncio.get_running_loop().time() + 0.3
    one.guard.seconds = lambda: ends - asyncio.get_running_loop().time()
    with pytest.raises(RunFailedError) as caught:
        await one.ask()
    assert caught.value.code == "deadline-exceeded"
    assert one.rows() == [("k", "failed", False)]
    with pytest.raises(RunFailedError):
        await one.ask()
    assert models.counts["*"] == 1


async def test_a_cancelled_call_is_booked_as_such(bench: Open, models: FakeModelServer) -> None:
    """Whoever stops it does not leave its reservation standing."""
    models.event("never")
    arrived = asyncio.Event()

    def reply(_: ModelRequest) -> Reply:
        arrived.set()
        return Reply(text="Hi")

    models.add(Rule(reply=reply, gate="never"))
    one = bench()
    call = asyncio.create_task(one.ask())
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert one.rows() == [("k", "cancelled", False)]


async def test_a_provider_is_given_no_more_calls_at_once_than_it_takes(
    bench: Open, models: FakeModelServer
) -> None:
    """Two at a time, and all of them are answered."""
    models.barrier("pair", 2)
    models.add(Rule(name="paired", reply=Reply(text="Hi"), gate="pair"))
    one = bench("openai:one?parallel=2")
    await asyncio.gather(*(one.ask(key=f"k{n}") for n in range(6)))
    assert models.most_in_flight["paired"] == 2
    assert len(one.booked) == 6


async def test_the_tier_of_an_assignment_comes_before_that_of_its_agent(bench: Open) -> None:
    """One place decides which chain a piece of work gets."""
    one = bench()
    spec = AgentSpec(name="a", description="A.", tier="standard")
    work = Assignment(agent="a", task="t", path="a", round=1)
    assert one.gateway.get_model_for_task(work, spec).name == "openai:one"
    assert one.gateway.get_model_for_task({**work, "tier": "deep"}, spec).tier == "deep"
    assert one.gateway.get_model_for_task("decision", None).tier == "fast"
