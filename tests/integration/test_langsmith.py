"""LangSmith: a run is one tree, whoever executes it; nothing waits for it, and nothing secret goes there."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.langsmith_server import (
    FEEDBACK,
    INGEST,
    ORGANISATION_ID,
    PROJECT_ID,
    PROJECTS,
    FakeLangSmith,
    Tree,
    uuid_of,
)
from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, start_run, turns
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, composer, decisions, solo, worker

TASK = "Ask the lighthouse about its canary 5d1e"
ANSWER = "It sings at 77a0"

# The tracer's first error reads source files for its traceback, and an agent's folder is real.
pytestmark = pytest.mark.may_block


@pytest.fixture
async def langsmith() -> AsyncIterator[FakeLangSmith]:
    """Run a LangSmith of the test's own."""
    async with FakeLangSmith() as server:
        yield server


def names(tree: Tree, part: dict[str, Any]) -> list[str]:
    """Return the names of a part's children in order."""
    children = sorted(tree.below(part), key=lambda each: str(each["dotted_order"]))
    return [str(each["name"]) for each in children]


def send_and_look(models: FakeModelServer, target: CountingTarget) -> None:
    """Script two agents at once, of which one asks."""
    models.add(
        *decisions(("coder", "Send it"), ("researcher", "Look")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        worker("Look", Reply(text="Found.")),
        composer(Reply(text="Both.")),
    )


async def test_a_run_that_asks_is_one_tree_over_two_processes(
    start: Start,
    models: FakeModelServer,
    target: CountingTarget,
    langsmith: FakeLangSmith,
    tmp_path: Path,
) -> None:
    """Its id is the run's own; segments are its children, and agents, tools and calls are below those."""
    send_and_look(models, target)
    settings = langsmith.settings(
        http_allow=target.address, database_url=f"sqlite:///{tmp_path}/runs.db"
    )
    async with start(models=models, **settings) as product:
        run_id = await start_run(product, "Do two things", tags=["demo"])
        approval = await asked(product, run_id)
    async with start(models=models, **settings) as product:
        await decided(product, approval, type="approve")
        run = await product.ended(run_id)
    [tree] = await langsmith.whole(run_id)

    assert tree.id == uuid_of(run_id)
    assert tree.root["inputs"] == {"task": "Do two things"}
    assert tree.root["outputs"] == {"status": "completed", "stop_reason": "done", "output": "Both."}
    assert tree.root["tags"] == ["signalbox", run_id, "demo"]
    assert tree.root["extra"]["metadata"]["agents"] == ["coder", "researcher"]
    first, second = tree.below(tree.root)
    assert (first["name"], second["name"]) == ("segment 1", "segment 2")
    assert names(tree, first) == ["supervisor", "coder", "researcher", "supervisor", "ask"]
    assert names(tree, second) == ["ask", "supervisor", "coder", "supervisor", "answer"]
    [called] = tree.named("http_request")
    assert called["dotted_order"].startswith(second["dotted_order"])
    assert called["run_type"] == "tool"
    assert sum(part["run_type"] == "llm" for part in tree.parts.values()) == len(models.requests)
    assert {part["session_name"] for part in tree.parts.values()} == {"signalbox"}
    for part in tree.parts.values():
        metadata = part["extra"]["metadata"]
        assert (metadata["run_id"], metadata["thread_id"]) == (run_id, run["thread_id"])
    of_coder = [p for p in tree.parts.values() if p["extra"]["metadata"].get("agent") == "coder"]
    assert {p["extra"]["metadata"]["attempt"] for p in of_coder} == {1, 2}
    url = f"/o/{ORGANISATION_ID}/projects/p/{PROJECT_ID}/r/{tree.id}"
    assert url in run["trace_url"]
    assert {r.headers["x-api-key"] for r in langsmith.requests} == {settings["LANGSMITH_API_KEY"]}


async def test_nothing_of_it_is_in_checkpoints(
    start: Start, models: FakeModelServer, langsmith: FakeLangSmith, tmp_path: Path
) -> None:
    """Neither tags nor metadata: what LangGraph keeps is the same with a tracer as without."""
    kept: list[set[str]] = []
    for number, more in enumerate(({}, langsmith.settings())):
        models.add(*solo())
        path = tmp_path / f"runs{number}.db"
        async with start(models=models, database_url=f"sqlite:///{path}", **more) as product:
            await product.finished("Do it")
            with closing(sqlite3.connect(path)) as database:
                rows = database.execute("SELECT CAST(metadata AS TEXT) FROM checkpoints").fetchall()
        assert rows
        assert "segment 1" not in str(rows)
        kept.append({name for (row,) in rows for name in json.loads(row)})
    assert kept[0] == kept[1]


@pytest.mark.parametrize("hidden", [("inputs",), ("outputs",), ("inputs", "outputs")])
async def test_what_is_hidden_does_not_leave(
    start: Start,
    models: FakeModelServer,
    target: CountingTarget,
    langsmith: FakeLangSmith,
    hidden: tuple[str, ...],
) -> None:
    """That there was something is told; not what, nor in the question that a segment ends with."""
    models.add(
        *decisions(("coder", "Do it")),
        turns("Do it", Reply.calls(post(target, "/x", "A secret body")), Reply(text=ANSWER)),
    )
    hides = {f"LANGSMITH_HIDE_{name.upper()}": True for name in hidden}
    settings = langsmith.settings(http_allow=target.address, **hides)
    async with start(models=models, **settings) as product:
        run_id = await start_run(product, TASK)
        await decided(product, await asked(product, run_id), type="approve")
        await product.ended(run_id)
        path = f"/v1/runs/{run_id}/feedback"
        await product.client.post(path, json={"key": "good", "comment": ANSWER})
        [tree] = await langsmith.whole(run_id)
        await langsmith.arrived(FEEDBACK)
    assert len(tree.parts) > 10
    for name in hidden:
        assert {str(part.get(name, {})) for part in tree.parts.values()} == {"{}"}
    errors = {part["error"] for part in tree.parts.values() if part.get("error")}
    assert errors == {"GraphInterrupt"}
    if len(hidden) > 1:  # what one part answers another is given
        sent = "".join(request.body for request in langsmith.requests)
        assert not [text for text in (TASK, ANSWER, "A secret body") if text in sent]


async def test_what_is_secret_is_taken_out(
    start: Start, models: FakeModelServer, langsmith: FakeLangSmith, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that repeats the key it was given, the tool that another's was put into, a key of ours in a task."""
    own = f"sbx_{'x' * 43}"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-9b")

    def repeat(request: ModelRequest) -> Reply:
        return Reply(text=f"{request.headers['authorization']} and sk-ant-canary-9b")

    models.add(*decisions(("coder", "Do it")))
    models.add(Rule(when=When(schema=False, user="<assignment>\nDo it\n"), reply=repeat))
    settings = langsmith.settings(OPENAI_API_KEY="sk-canary-of-openai")
    async with start(models=models, **settings) as product:
        run = await product.finished(f"Use {own}")
        assert "sk-canary-of-openai" in run["result"]["output"], "it was there to be sent"
        path = f"/v1/runs/{run['id']}/feedback"
        comment = {"key": "safe", "comment": f"Not with {own} in it."}
        assert (await product.client.post(path, json=comment)).status_code == 201
        [tree] = await langsmith.whole(run["id"])
        await langsmith.arrived(FEEDBACK)
    sent = "".join(request.body for request in langsmith.requests)
    for secret in ("sk-canary-of-openai", "sk-ant-canary-9b", own, settings["LANGSMITH_API_KEY"]):
        assert secret not in sent
    assert "****" in tree.root["outputs"]["output"]


async def test_who_does_not_ask_for_traces_has_none_sent(
    start: Start, models: FakeModelServer, langsmith: FakeLangSmith
) -> None:
    """A key alone is not enough; nor is a run traced that is not among the share that is."""
    for more in ({"LANGSMITH_TRACING": False}, {"LANGSMITH_TRACING_SAMPLING_RATE": 0}):
        models.add(*solo())
        async with start(models=models, **langsmith.settings(**more)) as product:
            run = await product.finished("Do it")
            path = f"/v1/runs/{run['id']}/feedback"
            assert (await product.client.post(path, json={"key": "good"})).status_code == 201
        assert run["trace_url"] is None
    assert {request.path for request in langsmith.requests} <= {PROJECTS}


@pytest.mark.slow
async def test_a_run_without_an_address_is_given_it_when_that_is_known(
    start: Start, models: FakeModelServer, langsmith: FakeLangSmith
) -> None:
    """LangSmith makes a project with its first trace; until then it cannot say where its pages are."""
    langsmith.know_project(there=False)
    models.add(*solo())
    async with start(models=models, **langsmith.settings()) as product:
        run_id = (await product.finished("Do it"))["id"]
        await langsmith.whole(run_id)
        urls = [(await product.ended(run_id))["trace_url"]]
        langsmith.know_project()
        async with asyncio.timeout(3 * SECONDS):
            while urls[-1] is None:
                urls.append((await product.ended(run_id))["trace_url"])
    assert urls[0] is None
    assert uuid_of(run_id) in urls[-1]


async def test_runs_end_as_they_do_where_langsmith_refuses_everything(
    start: Start,
    models: FakeModelServer,
    langsmith: FakeLangSmith,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line says so, of ours; what the library has to say of each batch is not said."""
    for path in (INGEST, PROJECTS, "/runs/batch", "/info"):
        langsmith.reply(path, status=403, body=b"{}")
    async with start(models=models, **langsmith.settings()) as product:
        for _ in range(3):
            models.add(*solo())
            assert (await product.finished("Do it"))["status"] == "completed"
        await langsmith.arrived(PROJECTS)
    warned = [r for r in caplog.records if r.levelno >= logging.WARNING and "trace" in r.message]
    assert {record.name for record in warned} == {"signalbox.langsmith"}
    said = [getattr(record, "action", "") for record in warned]
    assert said.count("langsmith_unreachable") == 1
    assert langsmith.settings()["LANGSMITH_API_KEY"][-4:] not in caplog.text


async def test_a_cancelled_run_has_an_end_too(
    start: Start, models: FakeModelServer, langsmith: FakeLangSmith, target: CountingTarget
) -> None:
    """Whoever ends it tells of it: here a caller, while it waits and no segment is left."""
    send_and_look(models, target)
    settings = langsmith.settings(http_allow=target.address)
    async with start(models=models, **settings) as product:
        run_id = await start_run(product)
        await asked(product, run_id)
        await product.client.post(f"/v1/runs/{run_id}/cancel")
        [tree] = await langsmith.whole(run_id)
    assert (tree.root["error"], tree.root["outputs"]["status"]) == ("cancelled", "cancelled")


async def test_feedback_is_kept_told_and_erased(
    start: Start, models: FakeModelServer, langsmith: FakeLangSmith
) -> None:
    """Once under one key, on the run's trace; it is in the export, and goes with the run."""
    models.add(*solo())
    async with start(models=models, **langsmith.settings()) as product:
        run = await product.finished("Do it")
        path, keyed = f"/v1/runs/{run['id']}/feedback", {"idempotency-key": "one"}
        sent: list[dict[str, Any]] = [
            {"key": "helpful", "score": True, "comment": "It did it."},
            {"key": "speed", "score": 0.25},
            {"key": "seen"},
        ]
        kept = []
        for body in sent:
            response = await product.client.post(path, json=body, headers=keyed)
            assert response.status_code == 201, response.text
            kept.append(response.json())
            keyed = {}
        again = await product.client.post(path, json=sent[0], headers={"idempotency-key": "one"})
        assert (again.json(), again.headers["idempotency-replayed"]) == (kept[0], "true")
        await langsmith.arrived(FEEDBACK, len(sent))
        exported = (await product.client.get(f"/v1/runs/{run['id']}/export")).json()
        assert exported["feedback"] == kept
        assert (await product.client.delete(f"/v1/runs/{run['id']}")).status_code == 204
        assert_problem(await product.client.post(path, json=sent[2]), "not-found")
    assert [kept[0][name] for name in ("run_id", "by", "score")] == [run["id"], "default", True]
    told = langsmith.feedback
    assert {each["trace_id"] for each in told} == {uuid_of(run["id"])}
    assert {each["session_id"] for each in told} == {PROJECT_ID}
    assert [each["key"] for each in told] == ["helpful", "speed", "seen"]
    assert [each.get("score") for each in told] == [True, 0.25, None]
    assert [uuid_of(each["id"]) for each in kept] == [each["id"] for each in told]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": "two words"},
        {"key": "x" * 65},
        {"key": "a", "score": 1_000_001},
        {"key": "a", "score": "1"},
        {"key": "a", "comment": "x" * 2_001},
        {"key": "a", "value": 1},
    ],
)
async def test_feedback_that_is_none_is_refused(product: Any, body: dict[str, Any]) -> None:
    """Whatever is not named, out of bounds or of another kind."""
    run = await product.finished("What is 17% of 80?")
    response = await product.client.post(f"/v1/runs/{run['id']}/feedback", json=body)
    assert_problem(response, "validation-error")
