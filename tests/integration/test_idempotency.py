"""`Idempotency-Key`: a request that is repeated makes no second run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, read_frames
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, start_run, turns
from tests.integration.people import post as post_call
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, decisions, solo, unauthorised

KEY = {"idempotency-key": "order-1"}


class Posts:
    """A request for every POST route there is: each makes what it needs, and can be sent again."""

    def __init__(self, product: Product, models: FakeModelServer, target: CountingTarget) -> None:
        self._product = product
        self._models = models
        self._target = target

    def all(self) -> dict[str, Callable[[], Awaitable[Request]]]:
        """Return how to make the request of each route."""
        return {
            "/v1/runs": self.create,
            "/api/workflow": self.create_short,
            "/api/workflow/stream": self.stream_short,
            "/v1/runs/{run_id}/cancel": self.cancel,
            "/v1/runs/{run_id}/retry": self.retry,
            "/v1/runs/{run_id}/notes": self.tell,
            "/v1/runs/{run_id}/feedback": self.judge,
            "/v1/runs/{run_id}/fork": self.fork,
            "/v1/runs/{run_id}/decisions": self.decide_several,
            "/v1/approvals/{approval_id}/decision": self.decide,
            "/v1/actions/{action_id}/resolution": self.resolve,
        }

    async def create(self) -> Request:
        self._models.add(*solo())
        return Request("/v1/runs", {"task": "Do it"}, {"task": "Do that"})

    async def create_short(self) -> Request:
        return (await self.create())._replace(path="/api/workflow")

    async def stream_short(self) -> Request:
        return (await self.create())._replace(path="/api/workflow/stream")

    async def cancel(self) -> Request:
        self._models.event("never")
        self._models.add(*solo(gate="never"))
        run_id = await start_run(self._product)
        return Request(f"/v1/runs/{run_id}/cancel", {"reason": "late"}, {"reason": "dear"})

    async def retry(self) -> Request:
        refusal = unauthorised()
        self._models.rules.insert(0, refusal)
        run = await self._product.finished("Do it")
        self._models.rules.remove(refusal)
        self._models.add(*solo())
        budgets = ({"budget": {"max_tokens": most}} for most in (500_000, 600_000))
        return Request(f"/v1/runs/{run['id']}/retry", *budgets)

    async def tell(self) -> Request:
        self._models.add(*solo(gate="never"))
        self._models.event("never")
        path = f"/v1/runs/{await start_run(self._product)}/notes"
        return Request(path, {"text": "Hurry up."}, {"text": "Take your time."})

    async def judge(self) -> Request:
        self._models.add(*solo())
        run = await self._product.finished("Do it")
        path = f"/v1/runs/{run['id']}/feedback"
        return Request(path, {"key": "helpful", "score": 1}, {"key": "helpful", "score": 0})

    async def fork(self) -> Request:
        self._models.add(*solo())
        run = await self._product.finished("Do it")
        return Request(f"/v1/runs/{run['id']}/fork", {}, {"task": "Do that"})

    async def _approval(self) -> dict[str, Any]:
        self._target.drop("/orders")
        self._models.add(
            *decisions(("coder", "Send it")),
            turns("Send it", Reply.calls(post_call(self._target, "/orders")), Reply(text="Sent.")),
        )
        return await asked(self._product, await start_run(self._product))

    async def decide(self) -> Request:
        path = f"/v1/approvals/{(await self._approval())['id']}/decision"
        return Request(path, {"type": "approve"}, {"type": "reject"})

    async def decide_several(self) -> Request:
        approval = await self._approval()
        one, other = (
            {"decisions": [{"approval_id": approval["id"], "type": type_}]}
            for type_ in ("approve", "reject")
        )
        return Request(f"/v1/runs/{approval['run_id']}/decisions", one, other)

    async def resolve(self) -> Request:
        approval = await self._approval()
        await decided(self._product, approval, type="approve")
        [action] = (await self._product.ended(approval["run_id"]))["actions"]
        assert action["status"] == "in_doubt"
        path = f"/v1/actions/{action['id']}/resolution"
        return Request(path, {"outcome": "done"}, {"outcome": "not_done"})


class Request(NamedTuple):
    """A POST, and the same with another body."""

    path: str
    body: dict[str, Any]
    other: dict[str, Any]


ROUTES = (
    "/v1/runs",
    "/api/workflow",
    "/api/workflow/stream",
    "/v1/runs/{run_id}/cancel",
    "/v1/runs/{run_id}/retry",
    "/v1/runs/{run_id}/notes",
    "/v1/runs/{run_id}/feedback",
    "/v1/runs/{run_id}/fork",
    "/v1/runs/{run_id}/decisions",
    "/v1/approvals/{approval_id}/decision",
    "/v1/actions/{action_id}/resolution",
)
"""Every POST that has a body."""

BODYLESS = ("/v1/runs/{run_id}/deliveries/{delivery_id}/redeliver",)
"""Those without one: another body cannot come under the same key. See test_webhooks.py."""


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product with the fake model server, in memory."""
    async with start(models=models) as running_product:
        yield running_product


async def post(
    product: Product, path: str = "/v1/runs", *, task: str = "Tidy up", **body: object
) -> httpx.Response:
    """Post a task with the key."""
    return await product.client.post(path, json={"task": task, **body}, headers=KEY)


async def count(product: Product) -> int:
    """Return how many runs there are."""
    return len((await product.client.get("/v1/runs?limit=100")).json()["data"])


async def test_a_repeated_request_gets_the_same_run(
    modelled: Product, models: FakeModelServer
) -> None:
    """The answer to the repetition is the first one's, marked, with the run as it stands now."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    first = await post(modelled)
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    again = await post(modelled)
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["id"] == first.json()["id"]
    gate.set()
    run = await modelled.ended(first.json()["id"])
    after = await post(modelled)
    assert (after.status_code, after.headers["idempotency-replayed"]) == (202, "true")
    assert after.json() == run
    assert await count(modelled) == 1
    models.assert_all_used()
    assert len(models.requests) == 3


async def test_a_repeated_request_may_wait(product: Product, models: FakeModelServer) -> None:
    """Both requests wait for the one run and are answered alike."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(post(product, "/v1/runs?wait=30"))
        second = tasks.create_task(post(product, "/v1/runs?wait=30"))
        short = await post(product)
        assert short.status_code == 202
        gate.set()
    answers = [first.result(), second.result(), await post(product, "/v1/runs?wait=30")]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.json()["id"] for answer in answers} == {short.json()["id"]}
    assert answers[2].json()["status"] == "completed"
    assert answers[2].headers["idempotency-replayed"] == "true"
    assert await count(product) == 1


async def test_a_repeated_request_for_a_failed_run_is_told_of_the_failure(
    product: Product, models: FakeModelServer
) -> None:
    """A failure is repeated, not tried again and not turned into a success."""
    models.add(unauthorised())
    first = await post(product, "/v1/runs?wait=30")
    asked = len(models.requests)
    again = await post(product, "/v1/runs?wait=30")
    problems = [assert_problem(answer, "model-error") for answer in (first, again)]
    assert problems[0]["run"] == problems[1]["run"]
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-should-retry"] == "false"
    assert len(models.requests) == asked


async def test_a_repeated_request_may_ask_for_the_stream(
    product: Product, models: FakeModelServer
) -> None:
    """A client that lost its stream repeats the request and gets the whole of it."""
    models.add(*solo())
    run = (await post(product, "/v1/runs?wait=30")).json()
    headers = {**KEY, "accept": "text/event-stream"}
    body = {"task": "Tidy up"}
    async with (
        asyncio.timeout(SECONDS),
        product.client.stream("POST", "/v1/runs", json=body, headers=headers) as response,
    ):
        assert response.headers["idempotency-replayed"] == "true"
        frames = [frame async for frame in read_frames(response)]
    assert [int(frame["_id"]) for frame in frames] == list(range(1, run["last_seq"] + 1))
    assert await count(product) == 1


async def test_another_body_under_the_same_key_is_refused(
    modelled: Product, models: FakeModelServer
) -> None:
    """The key is a promise about the body, down to its smallest field."""
    models.add(*solo())
    await post(modelled, "/v1/runs?wait=30", tags=["a"])
    for body in ({"task": "Tidy down", "tags": ["a"]}, {}, {"tags": ["b"]}):
        values: dict[str, object] = {"task": "Tidy up", **body}
        response = await modelled.client.post("/v1/runs", json=values, headers=KEY)
        assert_problem(response, "idempotency-key-reuse")
    assert await count(modelled) == 1


async def test_the_same_body_written_otherwise_is_the_same(
    product: Product, models: FakeModelServer
) -> None:
    """Spaces, the order of fields and fields at their default do not make another request."""
    models.add(*solo())
    headers = {**KEY, "content-type": "application/json"}
    answers = [
        await product.client.post("/v1/runs", content=body, headers=headers)
        for body in (
            '{"task": "Tidy up é", "tags": ["a"], "metadata": {"x": 1, "y": 2}}',
            '{"metadata":{"y":2,"x":1},"tags":["a"],"task":"Tidy up \\u00e9"}',
            '{ "task": "Tidy up é", "tags": ["a"], "metadata": {"x": 1, "y": 2}, "cache": null }',
        )
    ]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["id"] for answer in answers}) == 1
    await product.ended(answers[0].json()["id"])


async def test_twenty_requests_at_once_make_one_run(
    modelled: Product, models: FakeModelServer
) -> None:
    """Whoever comes first makes the run; all others are told of it."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    async with asyncio.timeout(SECONDS):
        answers = await asyncio.gather(*(post(modelled) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [202] * 20
    assert len({answer.json()["id"] for answer in answers}) == 1
    replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert sorted(replayed, key=str) == [None, *["true"] * 19]
    assert await count(modelled) == 1
    gate.set()
    await modelled.ended(answers[0].json()["id"])


async def test_a_key_belongs_to_one_route(product: Product, models: FakeModelServer) -> None:
    """The same key on another route is another key."""
    models.add(*solo())
    full = await post(product, "/v1/runs?wait=30")
    short = await post(product, "/api/workflow")
    assert full.status_code == short.status_code == 200
    assert full.json()["id"] != short.json()["id"]
    assert "idempotency-replayed" not in short.headers
    again = await post(product, "/api/workflow")
    assert again.json() == short.json()
    assert again.headers["idempotency-replayed"] == "true"
    streams = [await post(product, "/api/workflow/stream") for _ in range(2)]
    assert streams[0].headers["location"] == streams[1].headers["location"]
    assert "idempotency-replayed" not in streams[0].headers
    assert streams[1].headers["idempotency-replayed"] == "true"
    assert await count(product) == 3


async def test_requests_without_a_key_or_with_another_are_different(
    product: Product, models: FakeModelServer
) -> None:
    """Only an equal key makes two requests one; it is compared letter by letter."""
    models.add(*solo())
    ids = set()
    for key in (None, None, "a", "A", "a" * 255, "~!@#$%^&*()"):
        headers = {"idempotency-key": key} if key else {}
        response = await product.client.post("/v1/runs", json={"task": "a"}, headers=headers)
        assert response.status_code == 202
        ids.add(response.json()["id"])
    assert len(ids) == 6
    for run_id in ids:
        await product.ended(run_id)


async def test_a_refused_request_does_not_use_up_its_key(
    product: Product, models: FakeModelServer
) -> None:
    """A body that was mended may be sent under the same key."""
    models.add(*solo())
    assert_problem(await post(product, task=""), "validation-error")
    assert_problem(await post(product, agents=["nobody"]), "validation-error")
    assert_problem(await post(product, thread_id="thr_1"), "not-found")
    response = await post(product, "/v1/runs?wait=30")
    assert response.status_code == 200
    assert "idempotency-replayed" not in response.headers


async def test_a_replay_survives_a_restart(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """The key is kept with the run, so another process on the same file knows it."""
    models.add(*solo(Reply(text="Done it once.")))
    url = f"sqlite:///{tmp_path}/runs.db"
    async with start(models=models, database_url=url) as product:
        first = await post(product, "/v1/runs?wait=30")
        assert first.status_code == 200
    asked = len(models.requests)
    async with start(models=models, database_url=url) as product:
        again = await post(product, "/v1/runs?wait=30")
        assert again.status_code == 200
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == first.json()
        assert_problem(await post(product, task="Another"), "idempotency-key-reuse")
        assert await count(product) == 1
    assert len(models.requests) == asked


async def test_every_post_is_among_those_that_can_be_repeated(product: Product) -> None:
    """A new one has to be made so first, and named here."""
    described = (await product.client.get("/openapi.json")).json()["paths"]
    assert {path for path, methods in described.items() if "post" in methods} == {
        *ROUTES,
        *BODYLESS,
    }


@pytest.mark.parametrize("route", ROUTES)
async def test_every_post_can_be_repeated(
    acting: Product, models: FakeModelServer, target: CountingTarget, route: str
) -> None:
    """The second is answered as the first one was, says so, and changes nothing; another body is refused."""
    request = await Posts(acting, models, target).all()[route]()
    first = await acting.client.post(request.path, json=request.body, headers=KEY)
    assert first.status_code in {200, 201, 202}, first.text
    assert "idempotency-replayed" not in first.headers
    models_asked, sent = len(models.requests), len(target.requests)
    again = await acting.client.post(request.path, json=request.body, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (first.status_code, "true")
    if "location" in first.headers:
        assert again.headers["location"] == first.headers["location"]
    refused = await acting.client.post(request.path, json=request.other, headers=KEY)
    assert_problem(refused, "idempotency-key-reuse")
    bad = await acting.client.post(
        request.path, json=request.body, headers={"idempotency-key": "not one"}
    )
    assert_problem(bad, "invalid-parameter")
    if route == "/v1/actions/{action_id}/resolution":
        assert (len(models.requests), len(target.requests)) == (models_asked, sent)


async def test_a_cancellation_that_comes_too_late_keeps_no_key(
    product: Product, models: FakeModelServer
) -> None:
    models.add(*solo())
    run = await product.finished("Do it")
    for reason in ("late", "later"):
        path = f"/v1/runs/{run['id']}/cancel"
        answer = await product.client.post(path, json={"reason": reason}, headers=KEY)
        assert_problem(answer, "run-terminal")


async def test_of_two_equal_cancellations_at_once_one_cancels(
    modelled: Product, models: FakeModelServer
) -> None:
    models.event("never")
    models.add(*solo(gate="never"))
    run_id = await start_run(modelled)
    path = f"/v1/runs/{run_id}/cancel"
    answers = await asyncio.gather(
        *(modelled.client.post(path, headers=KEY) for _ in range(5)),
    )
    assert [answer.status_code for answer in answers] == [202] * 5
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 4
    events = await modelled.events(run_id)
    assert [event["type"] for event in events].count("run.cancelled") == 1
