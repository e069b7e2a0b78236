"""What the graphs of others ask of models of their own is counted as it is made, here and in a service of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.test_outside_agents import write_module
from tests.fakes.agent_service import serving_nonsense
from tests.fakes.model_script import ModelRequest, Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, start_run
from tests.integration.team_script import decisions
from tests.integration.test_agent_services import Serve, serve
from tests.integration.test_agent_services import says as service_says

__all__ = ["serve"]

HEAD: Final = """
    import os

    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langchain_openai import ChatOpenAI, OpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.types import interrupt

    BASE = os.environ["OPENAI_BASE_URL"]
    model = ChatOpenAI(base_url=BASE, api_key="none", model="acme-1", stream_usage=True, max_retries=0)


    def spec(*nodes):
        graph = StateGraph(MessagesState)
        before = START
        for node in nodes:
            graph.add_node(node)
            graph.add_edge(before, node.__name__)
            before = node.__name__
        return AgentSpec(name="acme", description="Asks.", graph=graph.compile())


    async def streamed(system):
        whole = None
        async for piece in model.astream([("system", system)]):
            whole = piece if whole is None else whole + piece
        return AIMessage(whole.text, id=whole.id, usage_metadata=whole.usage_metadata)
"""

MANY_WAYS: Final = """
    async def think(state: MessagesState):
        await model.ainvoke([("system", "Acme thinks")])


    def weigh(state: MessagesState):
        model.invoke([("system", "Acme weighs")])
        model.with_structured_output({"title": "Verdict", "type": "object", "properties": {}}).invoke("x")


    async def fail(state: MessagesState):
        try:
            await model.ainvoke([("system", "Acme is refused")])
        except Exception:
            pass


    async def past_it(state: MessagesState):
        used = {"input_tokens": 1000, "output_tokens": 2000, "total_tokens": 3000}
        return {"messages": [AIMessage("By hand.", usage_metadata=used)]}


    async def answer(state: MessagesState):
        return {"messages": [await streamed("Acme answers")]}


    AGENT = spec(think, weigh, fail, past_it, answer)
"""

ASKING: Final = """
    async def draft(state: MessagesState):
        return {"messages": [await streamed("Acme drafts"), await model.ainvoke([("system", "Acme doubts")])]}


    async def ask(state: MessagesState):
        return {"messages": [AIMessage(interrupt("May I?"))]}


    AGENT = spec(draft, ask)
"""

SLOW: Final = """
    async def think(state: MessagesState):
        await model.ainvoke([("system", "Acme thinks")])


    async def answer(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme answers")])]}


    AGENT = spec(think, answer)
"""

Open = Callable[[str], AbstractAsyncContextManager[Product]]


@pytest.fixture(params=["here", "elsewhere"])
def with_graph(
    request: pytest.FixtureRequest,
    start: Start,
    serve: Serve,
    models: FakeModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Open:
    """Return how to start the product with a graph of somebody else."""
    monkeypatch.setenv("OPENAI_BASE_URL", models.base_url)
    folder = tmp_path / "theirs"

    @asynccontextmanager
    async def begin(graph: str) -> AsyncIterator[Product]:
        write_module(folder / "anvil.py", HEAD + graph)
        models.add(*decisions(("acme", "Say it")))
        async with serve("acme", agents=str(folder)) as url:
            where = {"acme": (url,)} if request.param == "elsewhere" else {}
            async with start(models=models, agents=str(folder), agent_urls=where) as product:
                yield product

    return begin


def says(system: str, *used: int, text: str = "Hm.") -> Rule:
    usage = TokenUsage(*used)
    return Rule(when=When(system=system), reply=Reply(text=text, usage=usage))


async def called(product: Product, run_id: str, calls: int) -> dict[str, Any]:
    """Return what the graph's calls come to, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            run = (await product.client.get(f"/v1/runs/{run_id}")).json()
            used: dict[str, Any] = run["usage"]["by_agent"].get("acme", {"calls": 0})
            if used["calls"] == calls:
                return used


async def test_every_call_is_counted_once_whatever_becomes_of_its_answer(
    with_graph: Open, models: FakeModelServer
) -> None:
    """Of answers that are dropped, in threads, streamed and put together; of a provider past LangChain its message
    tells. What was refused cost nothing."""
    models.add(
        says("Acme thinks", 1, 10),
        says("Acme weighs", 2, 20),
        says("Acme answers", 4, 40, text="It is so."),
        Rule(when=When(system="Acme is refused"), reply=Reply.error(400)),
        Rule(
            when=When(schema=True, user="x"),
            reply=Reply(text="{}", usage=TokenUsage(8, 80)),
            times=1,
        ),
    )
    async with with_graph(MANY_WAYS) as product:
        run = await product.finished("Do it")
        assert run["result"]["agents"]["acme"]["output"] == "It is so."
        used = run["usage"]["by_agent"]["acme"]
        told = ("input_tokens", "output_tokens", "calls", "unmetered_calls")
        assert [used[name] for name in told] == [1015, 2150, 5, 0]
        told_last = [e for e in await product.events(run["id"]) if e["type"] == "usage.updated"][-1]
        assert told_last["data"]["usage"]["by_agent"]["acme"] == used


async def test_a_call_is_counted_when_it_has_ended_and_one_that_is_stopped_may_have_been_paid(
    with_graph: Open, models: FakeModelServer
) -> None:
    hangs = asyncio.Event()

    def hang(_: ModelRequest) -> Reply:
        hangs.set()
        return Reply(fault="hang")

    models.add(says("Acme thinks", 1, 10), Rule(when=When(system="Acme answers"), reply=hang))
    async with with_graph(SLOW) as product:
        run_id = await start_run(product)
        await hangs.wait()
        assert (await called(product, run_id, 1))["output_tokens"] == 10
        await product.client.post(f"/v1/runs/{run_id}/cancel", json={})
        assert (await product.ended(run_id))["status"] == "cancelled"
        used = await called(product, run_id, 2)
        assert (used["unmetered_calls"], used["output_tokens"]) == (1, 10)
        assert (used["cost_known"], used["cost_usd"]) == (False, None)


async def test_a_graph_that_asked_somebody_is_billed_once_for_what_it_did_before(
    with_graph: Open, models: FakeModelServer
) -> None:
    models.add(says("Acme drafts", 1, 10), says("Acme doubts", 2, 20))
    async with with_graph(ASKING) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        before = await called(product, run_id, 2)
        assert before["output_tokens"] == 30
        await decided(product, approval, type="respond", message="Yes.")
        run = await product.ended(run_id)
        assert run["result"]["output"] == "Yes."
        assert run["usage"]["by_agent"]["acme"] == before


BEGUN: Final = {"type": "calling", "place": "1", "model": "acme:1"}
USED: Final = {"own_id": "a|b\x00", "model": "acme:1", "output_tokens": 5, "metered": True}
ENDED: Final = {"type": "called", "place": "1", "used": USED}


@pytest.mark.parametrize(
    ("lines", "calls", "unmetered", "told"),
    [
        ([BEGUN, ENDED, {**BEGUN, "place": "2"}], 2, 1, 5),
        ([BEGUN, ENDED, BEGUN, ENDED, ENDED], 2, 0, 10),
        ([BEGUN, {"type": "called", "place": "1"}], 0, 0, 0),
        ([ENDED, {**ENDED, "place": "never begun"}], 0, 0, 0),
        ([BEGUN, {**ENDED, "used": {**USED, "output_tokens": -5}}], 1, 1, 0),
        ([BEGUN, {**ENDED, "used": {**USED, "cause": "a text"}}], 1, 1, 0),
        ([{**BEGUN, "model": "a\nb"}], 0, 0, 0),
        ([BEGUN, ENDED] * 10_001, 10_000, 0, 50_000),
    ],
)
async def test_what_a_service_tells_of_calls_is_counted_though_it_breaks_off(
    start: Start,
    models: FakeModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
    calls: int,
    unmetered: int,
    told: int,
) -> None:
    """What began and was not heard of again may have been paid; what cannot be read is not believed."""
    monkeypatch.setenv("OPENAI_BASE_URL", models.base_url)
    write_module(tmp_path / "theirs" / "anvil.py", HEAD + SLOW)
    models.add(*decisions(("acme", "Say it")))
    about: dict[str, Any] = {"agent": "acme", "chains": {}}
    async with (
        serving_nonsense(about, service_says(*lines)) as url,
        start(
            models=models, agents=str(tmp_path / "theirs"), agent_urls={"acme": (url,)}
        ) as product,
    ):
        about["version"] = product.services.gateway.remotes["acme"].version
        run = await product.finished("Do it")
        assert (run["status"], run["error"]["code"]) == ("failed", "agents-failed")
        used = run["usage"]["by_agent"].get("acme", {})
        names = ("calls", "unmetered_calls", "output_tokens")
        assert [used.get(name, 0) for name in names] == [calls, unmetered, told]


NOT_MADE: Final = """
    from typing import Any

    from langchain_core.caches import InMemoryCache
    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import ChatGeneration, ChatResult


    class Passing(BaseChatModel):
        _llm_type = "passing"

        def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=model.invoke(messages))])


    class Plain(BaseChatModel):
        _llm_type = "plain"

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("It is so."))])


    plain = Plain(cache=InMemoryCache())


    async def think(state: MessagesState):
        await Passing().ainvoke([("system", "Acme thinks")])
        try:
            await Passing().ainvoke([("system", "Acme breaks off")])
        except Exception:
            pass
        await plain.ainvoke("Is it?")


    async def answer(state: MessagesState):
        return {"messages": [await plain.ainvoke("Is it?")]}


    AGENT = spec(think, answer)
"""

PIECES: Final = """
    async def draft(state: MessagesState):
        whole = None
        async for piece in model.astream([("system", "Acme drafts")]):
            whole = piece if whole is None else whole + piece
        async for _ in model.astream([("system", "Acme doubts")]):
            break
        return {"messages": [whole]}


    async def ask(state: MessagesState):
        return {"messages": [AIMessage(interrupt("May I?"))]}


    AGENT = spec(draft, ask)
"""

GRINDING: Final = """
    def grind(state: MessagesState):
        for system in ("Acme begins", "Acme goes on"):
            try:
                model.invoke([("system", system)])
            except Exception:
                pass
        model.root_client.chat.completions.create(
            model="acme-1", messages=[{"role": "system", "content": "Acme is over"}]
        )


    AGENT = spec(grind)
"""


async def test_what_another_model_or_a_cache_has_answered_is_no_call_of_its_own(
    with_graph: Open, models: FakeModelServer
) -> None:
    """Of an answer out of a cache LangChain tells that it cost nothing, and no tokens where its model told none."""
    breaking = Rule(when=When(system="Acme breaks off"), reply=Reply(fault="disconnect"))
    models.add(says("Acme thinks", 1, 10), breaking)
    async with with_graph(NOT_MADE) as product:
        run = await product.finished("Do it")
        assert run["result"]["agents"]["acme"]["output"] == "It is so."
        used = run["usage"]["by_agent"]["acme"]
        told = ("output_tokens", "calls", "unmetered_calls")
        assert [used[name] for name in told] == [10, 3, 2]


async def test_an_answer_in_pieces_is_the_same_call_after_a_question(
    with_graph: Open, models: FakeModelServer
) -> None:
    """Also among what is counted in passing; one that the graph does not read to its end was cancelled."""
    models.add(says("Acme drafts", 1, 10), says("Acme doubts", 2, 20))
    async with with_graph(PIECES) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        await decided(product, approval, type="respond", message="Yes.")
        run = await product.ended(run_id)
        assert run["usage"]["by_agent"]["acme"]["calls"] == 2
        lines = (await product.client.get("/metrics")).text.splitlines()
        counted = [
            line.partition("status=")[2]
            for line in lines
            if line.startswith("signalbox_model_calls_total{") and 'agent="acme"' in line
        ]
        told = [f'"{status}",tier="standard"}} 1.0' for status in ("cancelled", "completed")]
        assert sorted(counted) in (told, [])  # a worker beside it has metrics of its own


async def test_a_node_that_works_on_in_a_thread_calls_no_more_models(
    with_graph: Open, models: FakeModelServer
) -> None:
    """No run counts what it asks after that, so it would cost what nobody knows of."""
    begun, over = asyncio.Event(), asyncio.Event()

    def hang(_: ModelRequest) -> Reply:
        begun.set()
        return Reply(fault="hang")

    def end(_: ModelRequest) -> Reply:
        over.set()
        return Reply(text="Hm.")

    models.add(
        Rule(when=When(system="Acme begins"), reply=hang),
        Rule(when=When(system="Acme is over"), reply=end),
    )
    async with with_graph(GRINDING) as product:
        run_id = await start_run(product)
        await begun.wait()
        await product.client.post(f"/v1/runs/{run_id}/cancel", json={})
        assert (await product.ended(run_id))["status"] == "cancelled"
        await idle(product)
        models.release.set()
        await over.wait()
        assert "Acme goes on" not in [request.system for request in models.requests]
        assert (await called(product, run_id, 1))["unmetered_calls"] == 1


async def idle(product: Product) -> None:
    """Return when the agent's service, if there is one, has nothing in work."""
    remote = product.services.gateway.remotes.get("acme")
    if remote is None:
        return
    async with asyncio.timeout(10), httpx.AsyncClient() as client:
        told = ""
        while 'signalbox_agent_service_in_work{agent="acme"} 0.0' not in told:
            told = (await client.get(f"{remote.instances.all[0].url}/metrics")).text


SPENDING: Final = """
    async def answer(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme answers")])]}


    AGENT = spec(answer)
"""


async def test_that_a_graph_has_nearly_used_a_budget_is_told_with_the_next_call_of_ours(
    with_graph: Open, models: FakeModelServer
) -> None:
    """Of the run's limit, and of the half of it that the agent has."""
    models.add(says("Acme answers", 80_000, 5_000))
    async with with_graph(SPENDING) as product:
        run = await product.finished("Do it", budget={"max_tokens": 100_000})
        assert run["status"] == "completed"
        events = await product.events(run["id"])
        told = [e["data"]["scope"] for e in events if e["type"] == "budget.warning"]
        assert sorted(told) == ["acme", "run"]


CONVERSING: Final = """
    from typing import Any

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import ChatGeneration, ChatResult


    class Conversing(BaseChatModel):
        _llm_type = "conversing"

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            used = {"input_tokens": 1, "output_tokens": 10, "total_tokens": 11}
            message = AIMessage("Hm.", id="conversation-7", usage_metadata=used)
            return ChatResult(generations=[ChatGeneration(message=message)])


    async def draft(state: MessagesState):
        return {"messages": [await Conversing().ainvoke("x"), await Conversing().ainvoke("y")]}


    async def ask(state: MessagesState):
        interrupt("May I?")
        return {"messages": [await Conversing().ainvoke("z"), await Conversing().ainvoke("z")]}


    AGENT = spec(draft, ask)
"""


async def test_answers_that_have_all_one_id_are_calls_of_their_own_after_a_question_too(
    with_graph: Open, models: FakeModelServer
) -> None:
    async with with_graph(CONVERSING) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        assert (await called(product, run_id, 2))["output_tokens"] == 20
        await decided(product, approval, type="respond", message="Yes.")
        run = await product.ended(run_id)
        used = run["usage"]["by_agent"]["acme"]
        assert (used["calls"], used["output_tokens"]) == (4, 40)
