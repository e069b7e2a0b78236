"""An agent in a service of its own: the run is the same, and whatever the service does harms nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from agents._kit import instances as places
from agents._kit.remote_wire import agent_version
from agents.coder import AGENT as CODER
from service.commands.doctor_agents import agent_services
from service.settings import read_settings
from tests.e2e.test_outside_agents import TALKER, write_module
from tests.fakes.agent_service import Says, keeping_quiet, serving_agent, serving_nonsense
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import ModelRequest, Reply, Rule, TokenUsage, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.fakes.search_server import FakeWeb, html, result
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.recorded import record, replay
from tests.integration.team_script import decisions

SECRET: Final = "a-secret-of-the-test"
NOWHERE: Final = "http://127.0.0.1:9"
WRITE: Final = ("write_file", {"path": "a.txt", "content": "Forty-two."})

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serve(models: FakeModelServer, tmp_path: Path, knowledge: Path) -> Serve:
    """Return how to serve an agent whose models are the fake server's."""

    def begin(name: str = "coder", **more: Any) -> AbstractAsyncContextManager[str]:
        given = {"OPENAI_BASE_URL": models.base_url, "knowledge_dir": knowledge, **more}
        return serving_agent(name, tmp_path / "agent", **given)

    return begin


def hurry(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a product not wait before it tries again."""
    gateway = product.services.gateway
    monkeypatch.setattr(gateway, "first_delay_seconds", 0.0)
    for remote in gateway.remotes.values():
        monkeypatch.setattr(remote.instances, "first_wait_seconds", 0.0)


def coding(*replies: Reply) -> list[Any]:
    """Return the script of a run in which the coder alone takes these turns."""
    return [*decisions(("coder", "Do it")), turns("Do it", *replies)]


def plain(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what events tell, without what differs between any two runs."""
    return [
        (e["type"], e["agent"], e["path"], e["round"], _steady(e["data"]))
        for e in events
        if e["type"] not in {"run.created", "usage.updated", "run.started", "run.completed"}
    ]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        varying = (
            "duration_ms",
            "run_id",
            "id",
            "url",
            "created_at",
            "trace_id",
            "seconds",
            "budget",
        )
        return {k: _steady(v) for k, v in value.items() if k not in varying}
    return [_steady(each) for each in value] if isinstance(value, list) else value


async def test_a_run_is_the_same_wherever_its_agent_works(
    start: Start, serve: Serve, models: FakeModelServer
) -> None:
    script = (Reply.calls(WRITE), Reply(text="It is in a.txt, piece by piece."))
    told = []
    for elsewhere in (False, True):
        models.rules.clear()
        models.add(*coding(*script))
        models.rules[-1].gate = "go"
        followed = models.event("go")
        async with (
            serve() as url,
            start(models=models, agent_urls={"coder": (url,)} if elsewhere else {}) as product,
        ):
            frames = []
            run_id = await start_run(product)
            async for frame in product.frames(f"/v1/runs/{run_id}/events"):
                frames.append(frame)
                if frame["type"] == "agent.started":
                    followed.set()
            run = await product.ended(run_id)
            assert run["status"] == "completed"
            calls = (await product.client.get(f"/v1/runs/{run['id']}/receipt")).json()
            told.append(
                (
                    plain(await product.events(run["id"])),
                    "".join(f["data"]["text"] for f in frames if f["type"] == "message.delta"),
                    run["usage"],
                    run["result"]["output"],
                    [a["name"] for a in run["result"]["artifacts"]],
                    sorted(calls),
                )
            )
    for here, there in zip(*told, strict=True):
        assert there == here
    assert told[1][1].startswith("It is in a.txt"), "it is told as it is written"
    # Nothing of the caller's but the conversation reached the agent's model.
    assert all(SECRET not in json.dumps(r.body) for r in models.requests)


async def test_a_gated_call_is_asked_about_and_made_here(
    start: Start, serve: Serve, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*coding(Reply.calls(post(target, "/order")), Reply(text="Sent.")))
    async with (
        serve() as url,
        start(models=models, agent_urls={"coder": (url,)}, http_allow=target.address) as product,
    ):
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        assert target.requests == []
        await decided(product, approval, type="approve")
        run = await product.ended(run_id)
        assert run["result"]["output"] == "Sent."
        assert len(target.requests) == 1
        assert [a["status"] for a in run["actions"]] == ["done"]


async def test_an_instance_that_is_away_is_passed_over(
    start: Start, serve: Serve, models: FakeModelServer
) -> None:
    models.add(*coding(Reply(text="Done.")))
    async with (
        serve() as url,
        start(models=models, agent_urls={"coder": (NOWHERE, url)}) as product,
    ):
        run = await product.finished("Do it")
        assert run["result"]["output"] == "Done."
        health = (await product.client.get("/health/ready")).json()
        assert health["components"]["agents"] == {
            **health["components"]["agents"],
            "status": "degraded",
            "detail": "1 of 2 instances of coder: cannot be reached",
        }


async def test_tools_that_need_no_run_work_at_the_service_and_their_sources_are_kept_here(
    start: Start, serve: Serve, models: FakeModelServer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "far.md").write_text("# The far lighthouse\n\nThe far lighthouse is painted green.\n")
    search = ("search_documents", {"query": "far lighthouse"})
    models.add(
        *decisions(("researcher", "Find it")),
        turns("Find it", Reply.calls(search), Reply(text="It is green [1].")),
    )
    async with (
        serve("researcher", knowledge_dir=other) as url,
        start(models=models, agent_urls={"researcher": (url,)}) as product,
    ):
        run = await product.finished("Find it")
        [citation] = run["result"]["citations"]
        assert "far.md" in citation["source"]
        source = await product.client.get(f"/v1/runs/{run['id']}/sources/{citation['sha256']}")
        assert "painted green" in source.text


async def test_what_its_provider_refuses_is_tried_again_as_here(
    start: Start, serve: Serve, models: FakeModelServer
) -> None:
    replies = iter([Reply.error(503), Reply(text="Done.")])
    models.add(*decisions(("coder", "Do it")))
    models.add(turns("Do it", Reply(text="Done.")))
    models.rules[-1].reply = lambda _: next(replies)
    async with serve() as url, start(models=models, agent_urls={"coder": (url,)}) as product:
        run = await product.finished("Do it")
        assert run["status"] == "completed"
        retries = [e for e in await product.events(run["id"]) if e["type"] == "agent.retrying"]
        assert [e["data"]["reason"] for e in retries] == ["The model provider answered HTTP 503."]


async def test_its_calls_are_paid_from_the_runs_budget_before_they_are_made(
    start: Start, serve: Serve, models: FakeModelServer, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text('openai:*: {input: "2", output: "10", cached: "0.5"}\n')
    used = TokenUsage(1_000, 500)
    steps = [Reply(tool_calls=Reply.calls(("list_files", {})).tool_calls, usage=used)] * 7
    models.add(*coding(*steps, Reply(text="Done.", usage=used)))
    async with (
        serve() as url,
        start(models=models, agent_urls={"coder": (url,)}, prices=prices) as product,
    ):
        run = await product.finished(
            "Do it", budget={"max_cost_usd": "0.04"}, approvals={"mode": "never"}
        )
        assert float(run["usage"]["cost_usd"]) <= 0.04
        assert run["stop_reason"] == "budget", run["stop_reason"]
        asked_for = [r.body["max_completion_tokens"] for r in models.requests if not r.schema]
        assert min(asked_for) < max(asked_for), "the last call might say less"


@pytest.mark.parametrize(
    ("there", "here", "why"),
    [
        (SECRET, "another-secret-of-the-test", "refused the secret"),
        (SECRET, None, "refused the secret"),
    ],
)
async def test_a_wrong_secret_is_refused(
    start: Start, serve: Serve, models: FakeModelServer, there: str, here: str | None, why: str
) -> None:
    models.add(*coding(Reply(text="Done.")))
    async with (
        serve(agent_secret=there) as url,
        start(models=models, agent_urls={"coder": (url,)}, agent_secret=here) as product,
    ):
        run = await product.finished("Do it")
        assert run["status"] == "failed"
        assert why in json.dumps(run)
        assert here is None or here not in json.dumps(await product.events(run["id"]))
        async with httpx.AsyncClient(base_url=url) as client:
            for path in ("/agent", "/metrics"):
                assert (await client.get(path)).status_code == 401
            assert (await client.post("/run", json={})).status_code == 401
            # That it is alive anybody may know.
            assert (await client.get("/health")).json() == {"status": "ok", "agent": "coder"}
            key = {"authorization": f"Bearer {there}"}
            metrics = (await client.get("/metrics", headers=key)).text
            assert 'signalbox_agent_service_refusals_total{agent="coder",why="secret"}' in metrics


async def test_another_agent_or_version_is_refused_with_what_to_do(serve: Serve) -> None:
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        order: dict[str, Any] = {
            "do": "answer",
            "agent": "coder",
            "run_id": "r",
            "version": agent_version(CODER),
        }
        order |= {"model": "openai:gpt-4.1", "messages": []}
        other = await client.post("/run", json={**order, "version": "older"})
        assert other.status_code == 409
        assert "'older'. Bring both to the same release." in other.text
        assert (await client.post("/run", json={**order, "agent": "analyst"})).status_code == 409
        assert (await client.post("/run", json={**order, "model": "no:model"})).status_code == 409
        for do in ("graph", "tool"):
            assert (await client.post("/run", json={**order, "do": do})).status_code == 422
        call = {"name": "write_file", "args": {}}
        wrong = await client.post("/run", json={**order, "do": "tool", "call": call})
        assert (wrong.status_code, "the node has to run it" in wrong.text) == (422, True)
        call = {"name": "publish_file", "args": {}}
        unknown = await client.post("/run", json={**order, "do": "tool", "call": call})
        assert "has no such tools: publish_file" not in unknown.text
        tools = [{"type": "function", "function": {"name": "web_search"}}]
        theirs = await client.post("/run", json={**order, "tools": tools})
        assert "has no such tools: web_search" in theirs.text
        assert (await client.post("/run", content=b"{" * 99)).status_code == 422
        assert (await client.post("/run", content=b"x" * (17 * 1024**2))).status_code == 413


ABOUT: Final[dict[str, Any]] = {
    "agent": "coder",
    "version": agent_version(CODER),
    "chains": {
        t: [{"model": "openai:far", "max_tokens": 900}] for t in ("fast", "standard", "deep")
    },
}


SLOW: Final = pytest.mark.slow

ENDLESS: Final = 2_000
"""Lines of a stream that is longer than anybody reads."""


def says(*lines: bytes | dict[str, Any], endless: bool = False) -> Says:
    """Return a service that says these lines, whatever it is asked."""

    async def say(request: Request) -> AsyncIterator[bytes]:
        del request
        # Whoever has gone does not hold it up, so it has an end after all.
        for _ in range(ENDLESS if endless else 1):
            for line in lines:
                yield line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"

    return say


def answers(**data: Any) -> dict[str, Any]:
    """Return the line of an answer."""
    return {"type": "answered", "message": {"type": "ai", "data": {"content": "", **data}}}


USED: Final = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
HELD: Final = {"held": {"turn": 0, "calls": [], "asks": [{"id": "apr_forged", "type": "action"}]}}
NOT_SAID: Final = {"type": "answered", "message": {"type": "system", "data": {}}}


@pytest.mark.parametrize(
    ("about", "saying", "why"),
    [
        pytest.param(b"\x00 no JSON", says(), "is no answer of an agent", marks=pytest.mark.slow),
        pytest.param(b"9" * 300_000, says(), "is no answer of an agent", marks=pytest.mark.slow),
        pytest.param(
            {**ABOUT, "agent": "analyst"}, says(), "is that of another one", marks=pytest.mark.slow
        ),
        ({**ABOUT, "version": "0"}, says(), "another version"),
        (ABOUT, says(b"garbage\n"), "what is no answer of an agent"),
        (ABOUT, says(b"x" * 65_536, endless=True), "what is no answer of an agent"),
        pytest.param(
            ABOUT,
            says({"type": "alive"}),
            "broke off before it had answered",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ABOUT,
            says({"type": "event", "agent": "analyst"}),
            "what is no answer of an agent",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ABOUT,
            says({"type": "result", "text": "hello"}),
            "what is no answer of an agent",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ABOUT,
            says({"type": "paused", "messages": []}),
            "what is no answer of an agent",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ABOUT,
            says(answers(tool_calls="all")),
            "what is no answer of an agent",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ABOUT,
            says(NOT_SAID),
            "no answer",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ABOUT,
            says({"type": "token", "text": "y" * 60_000}, endless=True),
            "no answer",
            marks=pytest.mark.slow,
        ),
        pytest.param(ABOUT, PlainTextResponse("Mend it.", 409), "the work: Mend it.", marks=SLOW),
        pytest.param(
            ABOUT, PlainTextResponse("no", 500), "answered HTTP 500", marks=pytest.mark.slow
        ),
        pytest.param(
            ABOUT,
            Response(status_code=307, headers={"location": NOWHERE}),
            "answered HTTP 307",
            marks=pytest.mark.slow,
        ),
    ],
)
async def test_a_service_that_misbehaves_is_an_agent_that_failed(
    start: Start,
    models: FakeModelServer,
    monkeypatch: pytest.MonkeyPatch,
    about: dict[str, Any] | bytes,
    saying: Says | Response,
    why: str,
) -> None:
    models.add(*decisions(("coder", "Do it")))
    async with (
        serving_nonsense(about, saying) as url,
        start(models=models, agent_urls={"coder": (url,)}, model_timeout=3) as product,
    ):
        hurry(product, monkeypatch)
        run = await product.finished("Do it")
        assert run["status"] == "failed"
        [failed] = [e for e in await product.events(run["id"]) if e["type"] == "agent.failed"]
        assert failed["agent"] == "coder"
        assert "coder" in failed["data"]["detail"]
        assert why in failed["data"]["detail"]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        {"input_tokens": -5, "output_tokens": -500, "total_tokens": -505},
    ],
)
async def test_a_service_that_bills_nothing_is_counted_at_the_most(
    start: Start, models: FakeModelServer, usage: dict[str, int] | None
) -> None:
    models.add(*decisions(("coder", "Do it")))
    about: dict[str, Any] = {"finish_reason": "stop"}
    saying = says(answers(content="Done.", response_metadata=about, usage_metadata=usage))
    async with (
        serving_nonsense(ABOUT, saying) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        run = await product.finished("Do it")
        assert run["result"]["output"] == "Done."
        assert run["budget"]["spent"]["tokens"] > 900, "what it might have said is counted"


async def test_calls_that_break_off_do_not_exceed_what_the_run_may_spend(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*decisions(("coder", "Do it")))
    asked_for = 0

    async def die(request: Request) -> AsyncIterator[bytes]:
        nonlocal asked_for
        del request
        asked_for += 1
        yield b'{"type": "alive"}\n'

    async with (
        serving_nonsense(ABOUT, die) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        limits = {"per_agent": {"coder": {"max_tokens": 6_000}}}
        run = await product.finished("Do it", budget=limits, approvals={"mode": "never"})
        spent = run["usage"]["by_agent"]["coder"]
        assert spent["unmetered_calls"] == asked_for == 1, "a second one might not have fitted"
        reached = [e for e in await product.events(run["id"]) if e["type"] == "budget.reached"]
        assert [e["data"]["scope"] for e in reached] == ["coder"]


async def test_a_service_cannot_call_what_the_agent_has_not(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*decisions(("coder", "Do it")))
    about = {"finish_reason": "stop"}
    fetch = {"name": "fetch_url", "args": {"url": NOWHERE}, "id": "1", "type": "tool_call"}
    saying = says(answers(tool_calls=[fetch], response_metadata=about, usage_metadata=USED))
    async with (
        serving_nonsense(ABOUT, saying) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        run = await product.finished("Do it")
        assert run["status"] == "failed"
        tools = [e for e in await product.events(run["id"]) if e["type"].startswith("tool.")]
        assert {e["type"] for e in tools} == {"tool.started", "tool.failed"}
        assert len(tools) == 2 * CODER.max_turns, "it is bounded"


async def test_a_service_cannot_put_questions_to_people(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*decisions(("coder", "Do it")))
    about = {"finish_reason": "stop"}
    saying = says(
        answers(
            content="Done.",
            response_metadata=about,
            usage_metadata=USED,
            additional_kwargs=HELD,
        )
    )
    async with (
        serving_nonsense(ABOUT, saying) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        run = await product.finished("Do it")
        assert (run["status"], run["result"]["output"]) == ("completed", "Done.")
        types = {e["type"] for e in await product.events(run["id"])}
        assert not {each for each in types if each.startswith("approval.")}


async def test_the_doctor_looks_at_each_instance(
    serve: Serve, models: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LOOK_SECONDS", 0.5)
    async with serve() as url, keeping_quiet() as quiet:
        settings = read_settings(
            agent_urls={"coder": (url, NOWHERE, quiet)}, data_dir=tmp_path, _env_file=None
        )
        well, away, silent = await agent_services(settings)
        assert (well.level, away.level, silent.level) == ("ok", "warn", "warn")
        assert "openai:gpt-4.1" in well.text
        assert "cannot be reached" in away.text
        assert "cannot be reached" in silent.text
    assert models.requests == []


async def test_an_order_says_whose_trace_it_is_of_and_how_long_it_is_waited_for(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*decisions(("coder", "Do it")))
    heard: list[dict[str, str]] = []

    async def say(request: Request) -> AsyncIterator[bytes]:
        heard.append(dict(request.headers))
        about = {"finish_reason": "stop"}
        line = answers(content="Done.", response_metadata=about, usage_metadata=USED)
        yield json.dumps(line).encode() + b"\n"

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with (
        serving_nonsense(ABOUT, say) as url,
        start(models=models, agent_urls={"coder": (url,)}, agent_secret=SECRET) as product,
    ):
        asked_for = {"task": "Do it", "budget": {"max_seconds": 20}}
        created = await product.client.post(
            "/v1/runs", json=asked_for, headers={"traceparent": parent}
        )
        await product.ended(created.json()["id"])
    [headers] = heard
    assert headers["traceparent"] == parent
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert 0 < float(headers["signalbox-deadline"]) <= 20


async def test_a_failure_that_a_service_tells_of_is_shown_bounded(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*decisions(("coder", "Do it")))
    fault = {"name": "A\x00" * 9_000, "said": "s" * 90_000, "text": "t" * 90_000}
    saying = says({"type": "failed", "fault": {**fault, "provider": False}})
    async with (
        serving_nonsense(ABOUT, saying) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        run = await product.finished("Do it")
        [failed] = [e for e in await product.events(run["id"]) if e["type"] == "agent.failed"]
        assert len(failed["data"]["detail"]) < 200


@pytest.mark.may_block  # it reads and writes files as the command does
async def test_a_recorded_run_is_replayed_without_the_service(
    serve: Serve, models: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.add(*coding(Reply.calls(WRITE), Reply(text="It is in a.txt.")))
    file = tmp_path / "recorded" / "run.jsonl"
    file.parent.mkdir()
    async with serve() as url:
        given: dict[str, Any] = {
            "OPENAI_BASE_URL": models.base_url,
            "agent_urls": {"coder": (url,)},
        }
        said = await record(file, "Do it", capsys, **given)
    assert said.code == 0, said.stderr
    asked_for = len(models.requests)
    again = await replay(file, capsys)
    assert again.code == 0, again.stderr
    assert again.run["result"]["output"] == said.run["result"]["output"]
    assert len(models.requests) == asked_for


async def test_a_graph_with_a_model_of_its_own_is_told_and_billed_as_here(
    start: Start,
    serve: Serve,
    models: FakeModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", models.base_url)
    folder = tmp_path / "theirs"
    write_module(folder / "anvil.py", TALKER)
    models.add(
        Rule(when=When(system="Acme drafts"), reply=Reply(text="A draft."), gate="go"),
        Rule(when=When(system="Acme polishes"), reply=Reply(text="Acme is polished.")),
        *decisions(("acme", "Say it")),
    )
    told = []
    for elsewhere in (False, True):
        followed = models.event("go")
        async with (
            serve("acme", agents=str(folder)) as url,
            start(
                models=models,
                agents=str(folder),
                agent_urls={"acme": (url,)} if elsewhere else {},
            ) as product,
        ):
            run_id = await start_run(product)
            text: dict[str, str] = {}
            async for frame in product.frames(f"/v1/runs/{run_id}/events"):
                if frame["type"] == "agent.started":
                    followed.set()
                if frame["type"] == "message.delta" and frame["agent"] == "acme":
                    name = frame["data"]["message_id"]
                    text[name] = text.get(name, "") + frame["data"]["text"]
            run = await product.ended(run_id)
            told.append((run["result"]["output"], run["usage"], sorted(text.values())))
    assert told[0] == told[1]
    assert told[1][2] == ["A draft.", "Acme is polished."]


async def test_a_page_is_opened_elsewhere_only_where_the_run_may_open_it(
    start: Start, serve: Serve, models: FakeModelServer, web: FakeWeb
) -> None:
    link = "<a href='/plan'>P</a>"
    page = web.page("/fastnet", html("Fastnet", f"<p>{'Completed in 1904. ' * 20}</p>{link}"))
    plan = web.page("/plan", html("Plan", f"<p>{'It is 54 metres tall. ' * 20}</p>"))
    lost = web.page("/lost", html("Lost", f"<p>{'Nobody leads here. ' * 20}</p>"))
    web.found(result("Fastnet", page, "A lighthouse."))
    search = ("web_search", {"query": "Fastnet tower"})
    models.add(
        *decisions(("researcher", "Find it")),
        turns(
            "Find it",
            Reply.calls(search),
            Reply.calls(("fetch_url", {"url": page})),
            Reply.calls(("fetch_url", {"url": plan}), ("fetch_url", {"url": lost})),
            Reply(text="Built in 1904 [2], 54 metres tall [3]."),
        ),
    )
    there = {"TAVILY_BASE_URL": web.base_url, "search_keyless": True, "http_allow": web.address}
    async with (
        serve("researcher", **there) as url,
        start(models=models, agent_urls={"researcher": (url,)}) as product,
    ):
        run = await product.finished("Find it")
        ended = [e for e in await product.events(run["id"]) if e["type"].startswith("tool.")]
        assert [e["type"] for e in ended].count("tool.failed") == 1
        [failed] = [e for e in ended if e["type"] == "tool.failed"]
        assert "This url is not opened" in failed["data"]["detail"]
        assert web.opened == ["/fastnet", "/plan"]
        assert [c["source"] for c in run["result"]["citations"]] == [page, plan]
        for citation, said in zip(run["result"]["citations"], ("1904", "54 metres"), strict=True):
            path = f"/v1/runs/{run['id']}/sources/{citation['sha256']}"
            assert said in (await product.client.get(path)).text


async def test_the_secret_is_changed_while_all_of_them_work(
    start: Start, serve: Serve, models: FakeModelServer, tmp_path: Path
) -> None:
    """In the order of docs/deployment.md: a service with both, then a server with the new one first, then alone."""
    new = "the-new-secret-of-the-test"
    steps = [
        (SECRET, SECRET),
        (f"{SECRET},{new}", SECRET),
        (f"{SECRET},{new}", f"{new},{SECRET}"),
        (new, f"{new},{SECRET}"),
        (new, new),
    ]
    models.add(*coding(Reply(text="Done.")))
    for there, here in steps:
        async with (
            serve(agent_secret=there) as url,
            start(models=models, agent_urls={"coder": (url,)}, agent_secret=here) as product,
        ):
            run = await product.finished("Do it", cache={"max_age": 0})
            assert run["status"] == "completed", (there, here, run["error"])
            assert run["degraded"] == []


NESTED: Final = """
    import os

    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.types import interrupt

    model = ChatOpenAI(
        base_url=os.environ["OPENAI_BASE_URL"], api_key="none", model="acme-1", stream_usage=True
    )


    async def draft(state: MessagesState):
        return {"messages": [await model.ainvoke([("system", "Acme drafts"), *state["messages"]])]}


    async def ask(state: MessagesState):
        said = [interrupt("First?"), interrupt("Second?")]
        return {"messages": [AIMessage(" ".join(said))]}


    def within(**nodes):
        graph = StateGraph(MessagesState)
        before = START
        for name, node in nodes.items():
            graph.add_node(name, node)
            graph.add_edge(before, name)
            before = name
        return graph.compile()


    inner = within(draft=draft, ask=ask)
    AGENT = AgentSpec(name="acme", description="Asks.", graph=within(outer=within(inner=inner)))
"""


async def test_a_graph_within_graphs_asks_and_is_billed_wherever_it_works(
    start: Start,
    serve: Serve,
    models: FakeModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", models.base_url)
    folder = tmp_path / "theirs"
    write_module(folder / "anvil.py", NESTED)
    models.add(
        Rule(when=When(system="Acme drafts"), reply=Reply(text="A draft.")),
        *decisions(("acme", "Say it")),
    )
    told = []
    for elsewhere in (False, True):
        async with (
            serve("acme", agents=str(folder)) as url,
            start(
                models=models,
                agents=str(folder),
                agent_urls={"acme": (url,)} if elsewhere else {},
            ) as product,
        ):
            run_id = await start_run(product)
            for question in ("First?", "Second?"):
                approval = await asked(product, run_id)
                assert approval["description"] == question
                await decided(product, approval, type="respond", message=f"To {question} yes.")
            run = await product.ended(run_id)
            assert run["result"]["output"] == "To First? yes. To Second? yes."
            told.append((run["usage"], [e["type"] for e in await product.events(run_id)]))
    assert told[0] == told[1]
    assert sum("Acme drafts" in r.system for r in models.requests) == 2


@pytest.mark.parametrize("ends", ["cancelled", "deadline"])
async def test_a_run_that_ends_amid_an_order_ends_the_work_at_the_service(
    start: Start, serve: Serve, models: FakeModelServer, ends: str
) -> None:
    hangs = asyncio.Event()

    def hang(_: ModelRequest) -> Reply:
        hangs.set()
        return Reply(fault="hang")

    models.add(*decisions(("coder", "Do it")), Rule(when=When(schema=False), reply=hang))
    budget = {"max_seconds": 1} if ends == "deadline" else {}
    async with (
        serve() as url,
        start(models=models, agent_urls={"coder": (url,)}, model_timeout=30) as product,
        httpx.AsyncClient(base_url=url) as client,
    ):
        run_id = await start_run(product, budget=budget)
        await hangs.wait()
        if ends == "cancelled":
            await product.client.post(f"/v1/runs/{run_id}/cancel")
        run = await product.ended(run_id)
        assert run["status"] == "cancelled" or run["error"]["code"] == "deadline-exceeded"
        assert run["usage"]["by_agent"]["coder"]["unmetered_calls"] == 1
        idle = 'signalbox_agent_service_in_work{agent="coder"} 0.0'
        async with asyncio.timeout(5):
            while idle not in (await client.get("/metrics")).text:
                pass


async def test_the_doctor_says_where_an_agent_has_no_model_though_the_server_has(
    models: FakeModelServer, knowledge: Path, tmp_path: Path
) -> None:
    async with serving_agent("coder", tmp_path / "agent", knowledge_dir=knowledge) as url:
        given: dict[str, Any] = {"agent_urls": {"coder": (url,)}, "data_dir": tmp_path}
        [found] = await agent_services(read_settings(**given, _env_file=None))
        assert found.level == "ok"
        given["OPENAI_BASE_URL"] = models.base_url
        [found] = await agent_services(read_settings(**given, _env_file=None))
        assert (found.level, "has no language model" in found.text) == ("warn", True)
