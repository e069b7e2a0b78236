"""The service of an agent among callers that mean harm, and callers among services that do."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from langgraph.checkpoint.memory import InMemorySaver
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from agents._kit import instances as places
from agents._kit.instances import Instances, RemoteError
from agents._kit.remote_graph import _load
from agents._kit.remote_wire import agent_version
from agents.analyst import AGENT as ANALYST
from agents.coder import AGENT as CODER
from agents.researcher import AGENT as RESEARCHER
from domain.errors import ConfigurationError, RunFailedError
from service.agent_edge import MOST_AT_ONCE
from service.commands import agent as command
from service.settings import read_settings
from tests.e2e.test_outside_agents import write_module
from tests.fakes.agent_service import hanging_up, serving, serving_nonsense
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.integration.conftest import Start
from tests.integration.team_script import decisions
from tests.integration.test_agent_services import (
    ABOUT,
    Serve,
    answers,
    coding,
    hurry,
    says,
    serve,
)

__all__ = ["serve"]

ORDER: Final[dict[str, Any]] = {
    "do": "answer",
    "agent": "coder",
    "version": agent_version(CODER),
    "run_id": "run_1",
    "model": "openai:gpt-4.1",
    "messages": [{"type": "human", "data": {"content": "Do it"}}],
}
DONE: Final[dict[str, Any]] = {
    "content": "Done.",
    "response_metadata": {"finish_reason": "stop"},
    "usage_metadata": {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10},
}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"function": "web_search"}]},
        {"tools": [{"function": None}]},
        {"run_id": "x" * 1_000},
        {"at": "x" * 1_000},
        {"messages": [{"type": "human", "data": {"content": ""}}] * 10_001},
    ],
)
async def test_an_order_of_another_form_is_refused_in_words(
    serve: Serve, more: dict[str, Any]
) -> None:
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        refused = await client.post("/run", json={**ORDER, **more})
        assert refused.status_code == 422, refused.text
        assert len(refused.text) < 200


async def test_an_order_cannot_have_a_model_say_more_than_the_service_lets_it(
    serve: Serve, models: FakeModelServer
) -> None:
    models.add(Rule(when=When(), reply=Reply(text="Done.")))
    async with serve(model_max_output=500) as url, httpx.AsyncClient(base_url=url) as client:
        done = await client.post("/run", json={**ORDER, "max_tokens": 10**12})
        assert '"answered"' in done.text
    [request] = models.requests
    assert request.body["max_completion_tokens"] == 500


async def test_orders_that_are_still_being_read_have_their_places_too(serve: Serve) -> None:
    """Else so many at once would be held in memory as there are connections."""
    head = "POST /run HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n"
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        where = httpx.URL(url)
        opened = [
            await asyncio.open_connection(where.host, where.port) for _ in range(MOST_AT_ONCE)
        ]
        for _, writer in opened:
            writer.write(head.encode() + b"{")
            await writer.drain()
        working = f'signalbox_agent_service_in_work{{agent="coder"}} {MOST_AT_ONCE}.0'
        while working not in (await client.get("/metrics")).text:
            pass
        refused = await client.post("/run", json=ORDER)
        assert refused.status_code == 503
        for _, writer in opened:
            writer.close()
        idle = 'signalbox_agent_service_in_work{agent="coder"} 0.0'
        while idle not in (await client.get("/metrics")).text:
            pass


@pytest.mark.slow  # as long as a head may take
async def test_a_connection_on_which_nothing_is_asked_is_closed(serve: Serve) -> None:
    async with serve() as url:
        where = httpx.URL(url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"POST /run HTTP/1.1\r\nhost: x\r\n")
        await writer.drain()
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()


def test_where_a_graph_had_come_to_names_nothing_to_be_made() -> None:
    made = {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "HumanMessage"]}
    packed = ["json", base64.b64encode(json.dumps(made).encode()).decode()]
    text = json.dumps({"steps": [["", "1", packed, packed, None]], "writes": [], "blobs": []})
    with pytest.raises(RunFailedError, match="cannot be read"):
        _load(InMemorySaver(), text)


@pytest.mark.parametrize(
    "told",
    [
        {"usage_metadata": {"input_tokens": 10**30, "output_tokens": 1, "total_tokens": 1}},
        {"additional_kwargs": {"number": 10**30}},
        {"content": [{"type": "text", "text": "Done.", "number": float("nan")}]},
        {"tool_calls": [{"name": "n", "args": {}, "id": "1", "type": "tool_call"}] * 129},
    ],
)
async def test_an_answer_that_cannot_be_kept_is_none(
    start: Start,
    models: FakeModelServer,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, Any],
) -> None:
    models.add(*decisions(("coder", "Do it")))
    saying = says(answers(**{**DONE, **told}))
    async with (
        serving_nonsense(ABOUT, saying) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        hurry(product, monkeypatch)
        run = await product.finished("Do it")
        assert run["status"] == "failed"
        assert "answered with what is no answer of an agent" in run["error"]["detail"]
        assert run["usage"]["by_agent"]["coder"]["output_tokens"] < 10_000


async def test_an_answer_takes_no_earlier_messages_place(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*decisions(("coder", "Do it")))
    heard: list[list[str]] = []

    async def say(request: Request) -> AsyncIterator[bytes]:
        messages = (await request.json())["messages"]
        heard.append([each["type"] for each in messages])
        call = {"name": "list_files", "args": {}, "id": "1", "type": "tool_call"}
        more = {"content": "", "tool_calls": [call], "id": messages[-1]["data"]["id"]}
        line = answers(**(DONE if len(heard) > 2 else {**DONE, **more}))
        yield json.dumps(line).encode() + b"\n"

    async with (
        serving_nonsense(ABOUT, say) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        run = await product.finished("Do it")
        assert run["status"] == "completed"
    assert heard[-1] == ["human", "ai", "tool", "ai", "tool"]


async def test_an_instance_of_another_version_is_passed_over(
    start: Start, serve: Serve, models: FakeModelServer
) -> None:
    models.add(*coding(Reply(text="Done.")))
    older = {**ABOUT, "version": "older"}
    refusing = PlainTextResponse("this is version older", 409)
    async with (
        serve() as url,
        serving_nonsense(older, refusing) as first,
        serving_nonsense(older, refusing) as last,
        start(models=models, agent_urls={"coder": (url, first, last)}) as product,
    ):
        for _ in range(2):
            run = await product.finished("Do it")
            assert run["result"]["output"] == "Done."


@pytest.mark.parametrize(
    "secret", ["s\u00e9cret-of-a-test-1", "a-secret\nof-the-test-2", "a" * 16 + " "]
)
def test_a_secret_that_fits_no_header_is_refused_at_the_start(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="visible ASCII characters") as refused:
        read_settings(agent_secret=secret, _env_file=None)
    assert secret not in str(refused.value)


async def test_an_address_that_is_no_name_of_a_host_breaks_no_check() -> None:
    instances = Instances("coder", ("http://xn--",), None)
    assert await instances.well(instances.all[0]) == "cannot be reached"
    await instances.aclose()


@pytest.mark.slow  # as long as one may take to say what it is
async def test_an_instance_that_never_comes_to_its_point_is_passed_over() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await reader.read()
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, serving_nonsense(ABOUT, says()) as url:
        urls = (url, f"http://127.0.0.1:{port}")
        instances = Instances("coder", urls, None)
        about = await instances.about()  # the second of them is asked first
        assert about.agent == "coder"
        assert [each.resting for each in instances.all] == [False, True]
        await instances.aclose()


async def test_an_instance_that_takes_orders_and_answers_none_costs_a_run_nothing(
    start: Start, serve: Serve, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that speaks TLS at an address with http://: it is given no order that would count."""
    monkeypatch.setattr(places, "SKIP_SECONDS", 0.0)
    look = Reply.calls(("list_files", {}))
    models.add(*coding(look, look, look, Reply(text="Done.")))
    async with (
        serve() as url,
        hanging_up() as bad,
        start(models=models, agent_urls={"coder": (url, bad)}) as product,
    ):
        run = await product.finished("Do it")
        assert run["result"]["output"] == "Done."
        assert run["usage"]["unmetered_calls"] == 0
        types = [e["type"] for e in await product.events(run["id"])]
        assert "agent.retrying" not in types


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({**ABOUT, "agent": "analyst"}, "another agent, or another version of it"),
        ({**ABOUT, "version": "older"}, "another agent, or another version of it"),
        (b"<html>", "answered what is no answer of an agent"),
    ],
)
async def test_an_instance_that_does_not_fit_is_not_well(
    start: Start, models: FakeModelServer, about: dict[str, Any] | bytes, why: str
) -> None:
    async with (
        serving_nonsense(about, says()) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        health = (await product.client.get("/health/ready")).json()
        assert health["components"]["agents"]["detail"] == f"1 of 1 instances of coder: {why}"


def _untrusted(file: Path) -> ssl.SSLContext:
    """Return what speaks TLS with a certificate that nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    began = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    kept = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(kept + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.may_block  # certificates are read
async def test_what_is_spoken_otherwise_than_its_address_says_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "both.pem"
    tls = _untrusted(file)
    async with hanging_up() as url, hanging_up(tls) as secure:
        urls = {
            url: "says http:// where https:// is spoken",
            url.replace("http:", "https:"): "does not speak TLS",
            secure: "says http:// where https:// is spoken",
            secure.replace("http:", "https:"): "SSL_CERT_FILE",
        }
        for address, said in urls.items():
            found = Instances("coder", (address,), None)
            found.first_wait_seconds = 0.0
            with pytest.raises(RemoteError, match=re.escape(said)):
                await found.about()
            await found.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        vouched = Instances("coder", (secure.replace("http:", "https:"),), None)
        vouched.first_wait_seconds = 0.0
        with pytest.raises(RemoteError, match="takes connections"):
            await vouched.about()
        await vouched.aclose()


def test_one_that_fails_again_and_again_is_asked_ever_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(places, "time", SimpleNamespace(monotonic=lambda: now))
    instance = places.Instance("http://127.0.0.1:9")
    rests = []
    for _ in range(5):
        instance.failed()
        began = now
        while instance.resting:
            instance.failed()  # nor is it counted that it fails meanwhile
            now += 1.0
        rests.append(now - began)
    assert rests == [5, 10, 20, 40, 40]


async def test_what_a_service_that_stops_does_not_end_in_time_breaks_off_without_a_complaint(
    models: FakeModelServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(command, "DRAIN_SECONDS", 0)
    models.add(Rule(when=When(), reply=Reply(fault="hang")))
    settings = read_settings(
        data_dir=tmp_path, OPENAI_BASE_URL=models.base_url, search_keyless=False, _env_file=None
    )
    async with AsyncExitStack() as stack:
        host = await asyncio.to_thread(command.open_host, settings, "coder", stack)
        server = command.make_server(settings, host)
        async with serving(server) as url, httpx.AsyncClient(base_url=url) as client:
            async with client.stream("POST", "/run", json=ORDER) as answer:
                server.handle_exit(signal.SIGTERM, None)
                said = await answer.aread()
            assert b"answered" not in said
    assert not [each.message for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "chain",
    [
        [{"model": "openai:far\x00", "max_tokens": 900}],
        [{"model": "openai:\x1b[31mfar", "max_tokens": 900}],
        [{"model": "openai:" + "x" * 300, "max_tokens": 900}],
        [{"model": f"openai:far-{number}", "max_tokens": 900} for number in range(65)],
    ],
)
async def test_models_that_cannot_be_told_of_are_none(
    start: Start,
    models: FakeModelServer,
    monkeypatch: pytest.MonkeyPatch,
    chain: list[dict[str, Any]],
) -> None:
    models.add(*decisions(("coder", "Do it")))
    about = {**ABOUT, "chains": {**ABOUT["chains"], "standard": chain}}
    async with (
        serving_nonsense(about, says()) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        hurry(product, monkeypatch)
        run = await product.finished("Do it")
        assert "answered with what is no answer of an agent" in run["error"]["detail"]
        assert run["usage"]["by_agent"].keys() == {"supervisor"}


@pytest.mark.parametrize("status", [409, 422])
async def test_why_a_service_refuses_is_told_without_what_nobody_can_see(
    start: Start, models: FakeModelServer, status: int
) -> None:
    models.add(*decisions(("coder", "Do it")))
    said = b"Mend\x00 \x1b[31mit,\r\n \xe2\x80\xae\xff now."
    async with (
        serving_nonsense(ABOUT, Response(said, status)) as url,
        start(models=models, agent_urls={"coder": (url,)}) as product,
    ):
        run = await product.finished("Do it")
        told = "refused the work: Mend [31mit, \N{REPLACEMENT CHARACTER} now."
        assert run["error"]["detail"].endswith(told)


NAMELESS: Final = """
    from domain.agent import AgentSpec
    from langchain_core.messages import AIMessage
    from langgraph.graph import START, MessagesState, StateGraph


    async def say(state: MessagesState):
        about = {"model_name": "acme\\x00" + "x" * 10_000}
        used = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
        return {"messages": [AIMessage("Done.", response_metadata=about, usage_metadata=used)]}


    graph = StateGraph(MessagesState).add_node(say).add_edge(START, "say").compile()
    AGENT = AgentSpec(name="acme", description="Names a model as it likes.", graph=graph)
"""


async def test_a_graphs_models_are_named_as_the_ledger_can_keep_it(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    write_module(folder / "anvil.py", NAMELESS)
    models.add(*decisions(("acme", "Do it")))
    async with start(models=models, agents=str(folder)) as product:
        run = await product.finished("Do it")
        assert run["result"]["output"] == "Done."
        [name] = [name for name in run["usage"]["by_model"] if name.startswith("acme")]
        assert (len(name), "\x00" in name) == (300, False)
        assert run["usage"]["by_agent"]["acme"]["calls"] == 1


async def test_agents_elsewhere_that_break_off_in_parallel_stay_within_one_budget(
    start: Start, models: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text('openai:*: {input: "2", output: "10", cached: "0.5"}\n')
    specs = (CODER, ANALYST, RESEARCHER)
    models.add(*decisions(*((spec.name, "Do it") for spec in specs)))
    orders = 0

    async def say(request: Request) -> AsyncIterator[bytes]:
        nonlocal orders
        order = await request.json()
        orders += 1
        yield b'{"type": "token", "text": "Half of"}\n'
        if orders % 2:
            yield b'{"type": "answer'
            return
        used = {"input_tokens": 800, "output_tokens": order["max_tokens"], "total_tokens": 0}
        call = {"name": order["tools"][0]["function"]["name"], "args": {}, "id": "1"}
        more = {"tool_calls": [{**call, "type": "tool_call"}], "usage_metadata": used}
        yield json.dumps(answers(**{**DONE, **more})).encode() + b"\n"

    async with AsyncExitStack() as stack:
        urls = {}
        for spec in specs:
            about = {**ABOUT, "agent": spec.name, "version": agent_version(spec)}
            urls[spec.name] = (await stack.enter_async_context(serving_nonsense(about, say)),)
        given: dict[str, Any] = {"models": models, "agent_urls": urls, "prices": prices}
        product = await stack.enter_async_context(start(**given))
        hurry(product, monkeypatch)
        run = await product.finished(
            "Do it", budget={"max_cost_usd": "0.1"}, approvals={"mode": "never"}
        )
    assert orders > len(specs)
    spent = run["budget"]["spent"]
    assert 0.05 < float(spent["cost_usd"]) <= 0.1
    by_agent = run["usage"]["by_agent"]
    assert sum(by_agent[spec.name]["calls"] for spec in specs if spec.name in by_agent) == orders
