"""Forks: a new run begins at a checkpoint of another, with what had been finished by then."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.forking import fork, forked, history
from tests.integration.people import start_run, turns
from tests.integration.problem_checks import assert_problem
from tests.integration.retrying import REFUSED, half, mend, types_of
from tests.integration.team_script import composer, decisions, solo, worker


def together() -> list[Rule]:
    """Return the rules of a round in which two work, and of the answer."""
    return [
        *decisions(("analyst", "Count it"), ("coder", "Write it")),
        worker("Count it", Reply(text="There are five.")),
        worker("Write it", Reply(text="Five words.")),
        composer(Reply(text="All of it.")),
    ]


async def test_another_task_with_the_results_there_are(
    modelled: Product, models: FakeModelServer
) -> None:
    """After a parallel round: both results are read for the other task, and neither is worked out again."""
    models.add(*together())
    run = await modelled.finished("Count and write", tags=["demo"], metadata={"ticket": 7})
    events = await modelled.events(run["id"])
    [point] = [each for each in await history(modelled, run["id"]) if each["next"] == ["answer"]]
    assert (point["round"], point["results"], point["forkable"]) == (1, 2, True)
    mend(
        models,
        Rule(when=When(schema=True, user="Sing(?s:.*)Sung"), reply=Reply.route()),
        Rule(
            when=When(schema=True, user="Sing(?s:.*)Five words"),
            reply=Reply.route(("coder", "Sing it")),
        ),
        worker("Sing it", Reply(text="Sung it.")),
        composer(Reply(text="All of it, sung.")),
    )
    response = await fork(
        modelled, run["id"], checkpoint_id=point["checkpoint_id"], task="Sing of it"
    )
    assert response.status_code == 202, response.text
    new = response.json()
    assert response.headers["location"] == f"/v1/runs/{new['id']}"
    assert new["forked_from"] == {"run_id": run["id"], "checkpoint_id": point["checkpoint_id"]}
    assert new["links"]["forked_from"] == f"/v1/runs/{run['id']}"
    assert (new["task"], new["tags"], new["metadata"]) == ("Sing of it", ["demo"], {"ticket": 7})
    assert new["thread_id"] != run["thread_id"]
    done = await modelled.ended(new["id"])
    assert (done["status"], done["result"]["output"]) == ("completed", "All of it, sung.")
    assert (done["rounds"], done["result"]["agents"]["analyst"]["output"]) == (1, "There are five.")
    assert done["usage"]["by_agent"].keys() == {"supervisor", "coder"}
    told = await modelled.events(new["id"])
    assert told[0]["data"]["forked_from"] == new["forked_from"]
    assert [e["agent"] for e in told if e["type"] == "agent.completed"] == ["coder"]
    assert await modelled.events(run["id"]) == events
    assert (await modelled.client.get(f"/v1/runs/{run['id']}")).json()["forked_from"] is None
    models.assert_all_used()


async def test_a_fork_of_what_has_its_answer_composes_it_anew(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*together())
    run = await modelled.finished("Count and write")
    mend(models, composer(Reply(text="Said otherwise.")))
    done = await modelled.ended(await forked(modelled, run["id"]))
    assert (done["status"], done["result"]["output"]) == ("completed", "Said otherwise.")
    assert done["usage"]["calls"] == 1


async def test_every_checkpoint_of_a_loop_can_be_gone_on_from(
    modelled: Product, models: FakeModelServer
) -> None:
    """What was finished by then is not done again; the rest is, and the run comes to its end."""
    models.add(
        Rule(when=When(schema=True, user="Third"), reply=Reply.route()),
        Rule(when=When(schema=True, user="Second"), reply=Reply.route(("coder", "Do three"))),
        Rule(when=When(schema=True, user="First"), reply=Reply.route(("analyst", "Do two"))),
        Rule(when=When(schema=True), reply=Reply.route(("coder", "Do one"))),
        worker("Do one", Reply(text="First.")),
        worker("Do two", Reply(text="Second.")),
        worker("Do three", Reply(text="Third.")),
        composer(Reply(text="One, two, three.")),
    )
    run = await modelled.finished("Do it all")
    points = await history(modelled, run["id"])
    assert [each["step"] for each in points] == list(range(len(points) - 2, -2, -1))
    assert [f["path"] for each in reversed(points) for f in each["finished"]] == [
        *("coder", "analyst", "coder"),
    ]
    assert [each["final"] for each in points] == [True] + [False] * (len(points) - 1)
    for point in points:
        models.requests.clear()
        new = await forked(modelled, run["id"], checkpoint_id=point["checkpoint_id"])
        done = await modelled.ended(new)
        assert (done["status"], done["result"]["output"]) == ("completed", "One, two, three."), (
            point
        )
        again = [e for e in await modelled.events(new) if e["type"] == "agent.completed"]
        assert len(again) == 3 - point["results"], point
        assert done["result"]["agents"].keys() == {"coder", "analyst"}


async def test_a_fork_of_a_run_that_failed(modelled: Product, models: FakeModelServer) -> None:
    """What had failed is decided anew, as by a retry; the failed run stays as it is."""
    models.add(*decisions(("coder", "Do it")), worker("Do it", REFUSED))
    run = await modelled.finished("Do it")
    assert (run["status"], run["error"]["code"]) == ("failed", "agents-failed")
    mend(models, *solo())
    done = await modelled.ended(await forked(modelled, run["id"]))
    assert (done["status"], done["result"]["output"], done["degraded"]) == (
        "completed",
        "Done it.",
        [],
    )
    assert (await modelled.client.get(f"/v1/runs/{run['id']}")).json() == run


async def test_a_fork_while_the_run_works(modelled: Product, models: FakeModelServer) -> None:
    """What one agent of the round has finished is kept; the other works for each run."""
    models.add(
        *decisions(("analyst", "Count it"), ("coder", "Write it")),
        worker("Count it", Reply(text="There are five.")),
        worker("Write it", Reply(text="Five words."), gate="writing"),
        composer(Reply(text="All of it.")),
    )
    gate = models.event("writing")
    run_id = await start_run(modelled, "Count and write")
    async with asyncio.timeout(10):
        while "agent.completed" not in await types_of(modelled, run_id):
            await modelled.client.get(f"/v1/runs/{run_id}")
    new = await forked(modelled, run_id)
    gate.set()
    for each in (run_id, new):
        done = await modelled.ended(each)
        assert (done["status"], done["result"]["output"]) == ("completed", "All of it.")
    by = Counter(e["agent"] for e in await modelled.events(new) if e["type"] == "agent.completed")
    assert by["coder"] == 1
    assert by["analyst"] <= 1


async def test_money_and_rounds_count_anew(modelled: Product, models: FakeModelServer) -> None:
    """The limits are those of the other run, but for what the request changes."""
    models.add(
        *half()[:-1], worker("Write it", Reply(text="Five words.")), composer(Reply(text="All."))
    )
    budget = {"max_tokens": 100_000, "max_rounds": 3}
    run = await modelled.finished("Count and write", budget=budget)
    response = await fork(modelled, run["id"], budget={"max_rounds": 2})
    new = response.json()
    assert (new["budget"]["max_tokens"], new["budget"]["max_rounds"]) == (100_000, 2)
    assert (new["usage"]["calls"], new["budget"]["remaining"]["tokens"]) == (0, 100_000)
    assert (await modelled.ended(new["id"]))["status"] == "completed"
    problem = assert_problem(
        await fork(modelled, run["id"], budget={"max_rounds": 50}), "validation-error"
    )
    assert problem["errors"][0]["pointer"] == "/budget/max_rounds"


async def test_files_are_those_of_now(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """The fork has a copy: neither sees what the other does, and each is deleted alone."""
    write = ("write_file", {"path": "notes/a.txt", "content": "as it was"})
    read = ("read_file", {"path": "notes/a.txt"})
    models.add(
        *decisions(("coder", "Do it")),
        turns("Do it", Reply.calls(write), Reply(text="Done it.")),
    )
    async with start(models=models) as product:
        run = await product.finished("Do it")
        mend(
            models,
            Rule(when=When(schema=True, user="Read"), reply=Reply.route(), optional=True),
            Rule(when=When(schema=True), reply=Reply.route(("coder", "Look it up"))),
            turns("Look it up", Reply.calls(read), Reply(text="Looked.")),
        )
        new = await forked(product, run["id"], task="Look", checkpoint_id=None)
        assert (await product.client.delete(f"/v1/runs/{run['id']}")).status_code == 204
        await product.ended(new)
        told = await product.events(new)
        [answer] = [e["data"]["summary"] for e in told if e["type"] == "tool.completed"]
        assert "as it was" in answer
        page = (await product.client.get(f"/v1/runs/{new}/artifacts")).json()
        assert page["data"] == []
        assert (await product.client.delete(f"/v1/runs/{new}")).status_code == 204
    left = await asyncio.to_thread(lambda: list((tmp_path / "data").rglob("run_*")))
    assert not left


async def test_a_key_makes_one_fork(modelled: Product, models: FakeModelServer) -> None:
    models.add(*solo())
    run = await modelled.finished("Do it")
    headers = {"idempotency-key": "one"}
    path = f"/v1/runs/{run['id']}/fork"
    both = await asyncio.gather(
        *(modelled.client.post(path, json={}, headers=headers) for _ in range(2))
    )
    assert {response.status_code for response in both} == {202}
    assert len({response.json()["id"] for response in both}) == 1
    assert sorted(r.headers.get("idempotency-replayed", "") for r in both) == ["", "true"]
    other = await modelled.client.post(path, json={"task": "Other"}, headers=headers)
    assert_problem(other, "idempotency-key-reuse")


async def test_a_history_has_pages(modelled: Product, models: FakeModelServer) -> None:
    models.add(*solo())
    run = await modelled.finished("Do it")
    whole = await history(modelled, run["id"])
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await modelled.client.get(f"/v1/runs/{run['id']}/history", params=query)).json()
        rows += page["data"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert rows == whole
    assert [each["parent_id"] for each in whole] == [
        each["checkpoint_id"] for each in whole[1:]
    ] + [None]
    assert [(f["path"], f["status"]) for each in whole for f in each["finished"]] == [
        ("coder", "completed")
    ]
    assert (whole[0]["next"], whole[0]["stop_reason"]) == ([], "done")


@pytest.mark.parametrize("query", ["cursor=x", "cursor=run_0"])
async def test_a_cursor_of_another_list_is_refused(product: Product, query: str) -> None:
    run = await product.finished("Do it", cache=False)
    response = await product.client.get(f"/v1/runs/{run['id']}/history?{query}")
    assert_problem(response, "malformed-cursor")


async def test_what_cannot_be_forked_is_said(modelled: Product, models: FakeModelServer) -> None:
    """A checkpoint of nobody or of an agent, a run that has not begun, one that has its answer from another."""
    models.add(*solo(gate="working"))
    gate = models.event("working")
    run_id = await start_run(modelled, cache={"max_age": 60})
    behind = (await modelled.client.get(f"/v1/runs/{run_id}")).json()["thread_id"]
    queued = await start_run(modelled, "Then", thread_id=behind)
    assert await history(modelled, queued) == []
    assert_problem(await fork(modelled, queued), "run-not-terminal")
    gate.set()
    await modelled.ended(run_id)
    nobody = "00000000-0000-0000-0000-000000000000"
    problem = assert_problem(await fork(modelled, run_id, checkpoint_id=nobody), "validation-error")
    assert problem["errors"][0]["pointer"] == "/checkpoint_id"
    shared = await modelled.finished("Do it", cache={"max_age": 60})
    assert shared["cache"]["run_id"] == run_id
    problem = assert_problem(await fork(modelled, shared["id"]), "run-incompatible")
    assert run_id in problem["detail"]
    assert_problem(await fork(modelled, f"run_{'0' * 32}"), "not-found")
