"""Limits of requests: how many a caller may make in a minute, and what it is told."""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple

import httpx

from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, solo


class Told(NamedTuple):
    """What an answer says about its caller's rate."""

    limit: int
    window: int
    left: int
    seconds: int


def told(response: httpx.Response) -> Told:
    """Read the headers of an answer."""
    policy = re.fullmatch(r'"requests";q=(\d+);w=(\d+)', response.headers["ratelimit-policy"])
    rate = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', response.headers["ratelimit"])
    assert policy
    assert rate
    return Told(int(policy[1]), int(policy[2]), int(rate[1]), int(rate[2]))


async def test_a_caller_is_told_what_is_left(start: Start) -> None:
    """On every answer it gets, whatever it is; and nobody else's count changes it."""
    async with start(requests_per_minute=50) as product:
        _, headers = await issue(product, "runs:read")
        _, others = await issue(product, "runs:read")
        paths = ("/v1/info", "/v1/runs/x", "/nothing")
        answers = [await product.client.get(path, headers=headers) for path in paths]
        assert [answer.status_code for answer in answers] == [200, 404, 404]
        assert [told(answer)[:3] for answer in answers] == [(50, 60, left) for left in (49, 48, 47)]
        refused = await product.client.post("/v1/runs", json={"task": "x"}, headers=headers)
        assert_problem(refused, "forbidden")
        assert told(refused).left == 46
        first = await product.client.get("/v1/info", headers=others)
    assert told(first).left == 49


async def test_beyond_its_limit_a_caller_has_to_wait(start: Start) -> None:
    """The answer says for how long; others go on, and probes are not counted."""
    async with start(requests_per_minute=3) as product:
        _, headers = await issue(product)
        _, others = await issue(product)
        for _ in range(3):
            assert (await product.client.get("/v1/info", headers=headers)).status_code == 200
        response = await product.client.get("/v1/info", headers=headers)
        problem = assert_problem(response, "rate-limited")
        assert problem["retryable"] is True
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert told(response).left == 0
        assert (await product.client.get("/v1/info", headers=others)).status_code == 200
        assert (await product.client.get("/health/ready", headers=headers)).status_code == 200


async def test_a_key_may_have_a_limit_of_its_own(start: Start) -> None:
    """More or less than the server's; also where that has none."""
    async with start(requests_per_minute=0) as product:
        _, headers = await issue(product, requests_per_minute=1)
        _, free = await issue(product)
        assert told(await product.client.get("/v1/info", headers=headers)).limit == 1
        over = await product.client.get("/v1/info", headers=headers)
        assert_problem(over, "rate-limited")
        unlimited = await product.client.get("/v1/info", headers=free)
    assert unlimited.status_code == 200
    assert "ratelimit" not in unlimited.headers


async def test_who_needs_no_key_is_not_limited(start: Start) -> None:
    """Whoever sits at the machine of a server without keys."""
    async with start(requests_per_minute=1) as product:
        answers = [await product.client.get("/v1/info") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "ratelimit" not in answers[0].headers


async def test_who_is_not_known_has_no_rate(product: Product) -> None:
    """An answer to a wrong key has no rate: nobody is known whose it could be."""
    await issue(product)
    response = await product.client.get("/v1/info")
    assert_problem(response, "unauthenticated")
    assert "ratelimit" not in response.headers


# Runs.


async def test_a_full_queue_takes_no_more_runs(start: Start, models: FakeModelServer) -> None:
    """While as many wait as may, a run is refused with the time to come back; then it is taken."""
    models.add(*solo(gate="work"), *solo(), *solo())
    gate = models.event("work")
    async with start(models=models, max_queued=1, max_concurrent_runs=1) as product:
        first = await product.client.post("/v1/runs", json={"task": "Tidy up"})
        async with asyncio.timeout(SECONDS):
            while await status_of(product, first) != "running":
                pass
        once = {"idempotency-key": "second"}
        second = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=once)
        assert second.status_code == 202
        refused = await product.client.post("/v1/runs", json={"task": "Tidy up"})
        assert_problem(refused, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        # What was created before is there all the same.
        again = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=once)
        assert again.json()["id"] == second.json()["id"]
        gate.set()
        await product.ended(second.json()["id"])
        async with asyncio.timeout(SECONDS):
            while (
                await product.client.post("/v1/runs", json={"task": "Tidy up"})
            ).status_code != 202:
                pass


async def test_one_key_fills_half_of_the_queue(start: Start, models: FakeModelServer) -> None:
    """The other half is for others; what it has asked for before is there all the same."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    async with start(models=models, max_queued=4, max_concurrent_runs=1) as product:
        _, busy = await issue(product)
        _, other = await issue(product)
        first = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=busy)
        async with asyncio.timeout(SECONDS):
            while await status_of(product, first, busy) != "running":
                pass
        once = {**busy, "idempotency-key": "once"}
        waiting = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=once)
        more = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=busy)
        assert (waiting.status_code, more.status_code) == (202, 202)
        refused = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=busy)
        assert_problem(refused, "rate-limited")
        assert int(refused.headers["retry-after"]) >= 1
        again = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=once)
        assert again.json()["id"] == waiting.json()["id"]
        taken = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=other)
        assert taken.status_code == 202
        gate.set()


async def test_a_key_has_only_so_many_runs_at_once(start: Start, models: FakeModelServer) -> None:
    """By its own number, in place of the server's; another key's runs are not held up."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    async with start(models=models) as product:
        _, limited = await issue(product, concurrent_runs=1)
        _, free = await issue(product)
        first = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=limited)
        async with asyncio.timeout(SECONDS):
            while await status_of(product, first, limited) != "running":
                pass
        second = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=limited)
        other = await product.client.post("/v1/runs", json={"task": "Tidy up"}, headers=free)
        async with asyncio.timeout(SECONDS):
            while await status_of(product, other, free) != "running":
                pass
        assert await status_of(product, second, limited) == "queued"
        gate.set()
        path = f"/v1/runs/{second.json()['id']}?wait=30"
        ended = await product.client.get(path, headers=limited)
    assert ended.json()["status"] == "completed"


async def status_of(
    product: Product, created: httpx.Response, headers: dict[str, str] | None = None
) -> str:
    """Return where a run stands that was created."""
    path = f"/v1/runs/{created.json()['id']}"
    return str((await product.client.get(path, headers=headers)).json()["status"])
