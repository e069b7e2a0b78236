"""API keys: who is let in, to do what, and who is not."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.requests import Request

from domain.caller import SCOPES, Scope
from service import callers
from service.http import door
from service.http.application import ROUTERS
from service.http.caller import scopes_of
from service.http.door import is_loopback, is_public, read_credentials
from service.rates import FAILURES_PER_MINUTE
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue, key_store
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, solo

TASK: Final = {"task": "What is 17% of 80?"}

UNKNOWN: Final = f"sbx_{'A' * 43}"


async def refusal(product: Product, path: str = "/v1/info", **headers: str) -> dict[str, Any]:
    """Return the problem of a request that nobody is known by; it says how to be."""
    response = await product.client.get(path, headers=headers)
    problem = assert_problem(response, "unauthenticated")
    assert response.headers["www-authenticate"].startswith('Bearer realm="signalbox"')
    return problem


async def test_without_keys_this_machine_may_do_everything(product: Product) -> None:
    """A server without keys serves whoever sits at it, whatever a client sends along."""
    assert (await product.client.get("/v1/runs")).status_code == 200
    stray = {"authorization": f"Bearer {UNKNOWN}"}
    assert (await product.client.post("/v1/runs", json=TASK, headers=stray)).status_code == 202


async def test_with_a_key_nobody_is_served_without_one(product: Product) -> None:
    """One key closes every route that is not public, also those there are not."""
    await issue(product)
    for path in ("/v1/runs", "/v1/info", "/api/workflow", "/v1/nothing", "/nothing"):
        problem = await refusal(product, path)
        assert "signalbox keys create" in problem["detail"]
    assert_problem(await product.client.post("/v1/runs", json=TASK), "unauthenticated")
    broken: dict[str, Any] = {"content": b"{", "headers": {"content-type": "application/json"}}
    assert_problem(await product.client.post("/api/workflow", **broken), "unauthenticated")


async def test_probes_and_the_description_need_no_key(product: Product) -> None:
    """What a load balancer and a newcomer ask for is answered to anybody."""
    await issue(product)
    for path in ("/health/live", "/health/ready", "/openapi.json", "/docs", "/"):
        assert (await product.client.get(path)).status_code == 200, path


async def test_a_good_key_creates_and_reads_its_run(start: Start, models: FakeModelServer) -> None:
    """The run is its caller's: what was spent is listed under the key."""
    models.add(*solo())
    async with start(models=models) as product:
        key, headers = await issue(product, "runs:write", "runs:read")
        url = "/v1/runs?wait=20"
        created = await product.client.post(url, json=TASK, headers=headers)
        assert created.status_code == 200, created.text
        path = f"/v1/runs/{created.json()['id']}"
        assert (await product.client.get(path, headers=headers)).status_code == 200
        usage = await product.client.get("/v1/usage?group_by=key", headers=headers)
    assert [row["key"] for row in usage.json()["data"]] == [key.id]


@pytest.mark.parametrize(
    "sent",
    [
        f"Bearer {UNKNOWN}",
        f"bearer {UNKNOWN}",
        "Bearer",
        "Basic c2J4Og==",
        UNKNOWN,
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        f"Bearer sbx_{'A' * 20_000}",
        "Bearer sbx_\u00e9\u00ff",
    ],
)
async def test_what_is_no_key_is_refused_and_not_repeated(
    product: Product, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the answer nor the log has what was sent."""
    caplog.set_level(logging.DEBUG)
    await issue(product)
    raw = {b"authorization": sent.encode("latin-1")}
    response = await product.client.get("/v1/info", headers=raw)
    assert_problem(response, "unauthenticated")
    secret = sent.rpartition(" ")[2]
    if len(secret) > 10:
        assert secret[:20] not in response.text
        assert secret[:20] not in "".join(
            r.getMessage() for r in caplog.records if "httpx" not in r.name
        )


async def test_two_credentials_are_none(product: Product) -> None:
    """A proxy and this server could each take another one for the right one."""
    _, headers = await issue(product)
    twice = [("authorization", headers["authorization"]), ("authorization", f"Bearer {UNKNOWN}")]
    assert_problem(await product.client.get("/v1/info", headers=twice), "unauthenticated")


async def test_a_revoked_key_is_refused_within_seconds(product: Product) -> None:
    """A running server sees it, though it keeps keys in mind for a moment."""
    # It is asked until it says no, as often as that takes.
    key, headers = await issue(product, requests_per_minute=1_000_000)
    assert (await product.client.get("/v1/info", headers=headers)).status_code == 200
    await key_store(product).revoke(key.id, datetime.now(UTC))
    async with asyncio.timeout(SECONDS):
        while (await product.client.get("/v1/info", headers=headers)).status_code == 200:
            pass
    assert "revoked" in (await refusal(product, **headers))["detail"]


async def test_a_stream_ends_when_its_key_does(
    start: Start, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever follows a run is looked at again; the run itself goes on, and other keys follow it still."""
    monkeypatch.setattr(door, "LOOK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(callers, "KNOWN_SECONDS", 0.0)
    models.add(*solo(Reply(text="Done."), gate="work"))
    gate = models.event("work")
    async with start(models=models) as product, asyncio.timeout(SECONDS):
        key, headers = await issue(product)
        _, others = await issue(product)
        created = await product.client.post("/v1/runs", json=TASK, headers=headers)
        path = f"/v1/runs/{created.json()['id']}/events"
        following = asyncio.Event()

        async def follow() -> list[str]:
            types = []
            async for frame in product.frames(path, headers=others):
                types.append(str(frame["type"]))
                following.set()
            return types

        staying = asyncio.create_task(follow())
        await following.wait()
        seen: list[str] = []
        async for frame in product.frames(path, headers=headers):
            if not seen:
                await key_store(product).revoke(key.id, datetime.now(UTC))
            seen.append(frame["type"])
        assert seen
        assert "run.completed" not in seen
        gate.set()
        assert (await staying)[-1] == "run.completed"


async def test_a_server_that_had_keys_stays_closed(start: Start, tmp_path: Path) -> None:
    """To revoke the last key does not open the server to everybody, not at the next start either."""
    url = f"sqlite:///{tmp_path}/runs.db"
    async with start(database_url=url) as product:
        key, _ = await issue(product)
        await key_store(product).revoke(key.id, datetime.now(UTC))
        await refusal(product)
    async with start(database_url=url) as product:
        await refusal(product)


async def test_an_expired_key_is_refused(product: Product) -> None:
    """A key that was good for a time is not after it."""
    _, headers = await issue(product, days=-1)
    assert "expired" in (await refusal(product, **headers))["detail"]


async def test_the_first_key_closes_a_running_server(product: Product) -> None:
    """Who made it need not restart anything."""
    assert (await product.client.get("/v1/info")).status_code == 200
    await issue(product)
    async with asyncio.timeout(SECONDS):
        while (await product.client.get("/v1/info")).status_code == 200:
            pass
    await refusal(product)


async def test_in_production_a_key_is_needed_from_the_start(start: Start) -> None:
    """There a server without keys serves nobody, and takes the first key that is made."""
    async with start(env="production") as product:
        await refusal(product)
        _, headers = await issue(product)
        assert (await product.client.get("/v1/info", headers=headers)).status_code == 200


async def test_the_use_of_a_key_is_noted(start: Start, tmp_path: Path) -> None:
    """Once a minute, and when the server stops."""
    url = f"sqlite:///{tmp_path}/runs.db"
    async with start(database_url=url) as product:
        key, headers = await issue(product)
        assert (await product.client.get("/v1/info", headers=headers)).status_code == 200
    async with start(database_url=url) as product:
        (found,) = await key_store(product).all()
    assert found.id == key.id
    assert found.last_used_at is not None
    assert found.last_used_at >= key.created_at


# Scopes.


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return every operation of the description with its method and path."""
    return [
        (method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def filled(path: str) -> str:
    """Return a path with ids that lead nowhere."""
    return re.sub(r"\{\w+\}", "x", path)


async def test_every_route_says_which_scope_it_needs() -> None:
    """A route without one would be open to every key: it fails here until it names its scope."""
    for router in ROUTERS:
        for route in router.routes:
            path = getattr(route, "path", "")
            assert is_public(path) or set(scopes_of(route)) & set(SCOPES), path


async def test_the_description_tells_of_scopes_and_refusals(product: Product) -> None:
    """Generated clients know the scheme, and each operation its scope."""
    schema = (await product.client.get("/openapi.json")).json()
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for method, path, operation in operations(schema):
        needed = [scope for each in operation["security"] for scope in each["bearer"]]
        assert bool(needed) is not is_public(path), (method, path)
        assert set(needed) <= set(SCOPES)
        if needed:
            assert {"401", "403", "429"} <= operation["responses"].keys(), (method, path)


async def test_a_key_without_the_scope_is_told_which_one(product: Product) -> None:
    """On every route, for every scope: it is refused by name, or let through."""
    given = {scope: (await issue(product, scope))[1] for scope in SCOPES}
    schema = (await product.client.get("/openapi.json")).json()
    for method, path, operation in operations(schema):
        needed = {scope for each in operation["security"] for scope in each["bearer"]}
        for scope, headers in given.items():
            response = await product.client.request(
                method, filled(path), headers={**headers, "content-type": "application/json"}
            )
            if not needed or scope == "admin" or scope in needed:
                assert response.status_code not in {401, 403}, (method, path, scope)
                continue
            problem = assert_problem(response, "forbidden")
            assert all(name in problem["detail"] for name in needed)
            assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
            assert "`signalbox keys create --scope " in problem["detail"]


async def test_who_may_not_decide_lifts_no_gate(product: Product) -> None:
    """Neither `never` nor a raised budget goes round the people who are to be asked."""
    _, headers = await issue(product, "runs:write", "runs:read")
    body = {**TASK, "approvals": {"mode": "never"}}
    refused = await product.client.post("/v1/runs", json=body, headers=headers)
    assert "approvals:decide" in assert_problem(refused, "forbidden")["detail"]
    created = await product.client.post("/v1/runs", json=TASK, headers=headers)
    path = f"/v1/runs/{created.json()['id']}"
    raised = {"budget": {"max_tokens": 100_000}}
    answer = await product.client.patch(path, json=raised, headers=headers)
    assert "approvals:decide" in assert_problem(answer, "forbidden")["detail"]
    noted = await product.client.patch(path, json={"metadata": {"a": 1}}, headers=headers)
    assert noted.status_code == 200


async def asked(product: Product, headers: dict[str, str]) -> tuple[str, str]:
    """Create a run that asks before it runs a program; return its id and the approval's."""
    body = {**TASK, "approvals": {"mode": "always"}}
    created = await product.client.post("/v1/runs?wait=20", json=body, headers=headers)
    run = created.json()
    assert run["status"] == "requires_action", run
    (approval_id,) = run["required_action"]["approval_ids"]
    return run["id"], approval_id


async def test_a_decision_is_by_the_key_that_made_it(product: Product) -> None:
    """Its record names the key, and a key that may decide need not be able to create."""
    _, author = await issue(product, "runs:write", "runs:read")
    key, decider = await issue(product, "approvals:decide")
    _, approval_id = await asked(product, author)
    path = f"/v1/approvals/{approval_id}"
    assert (await product.client.get(path, headers=decider)).status_code == 200
    body = {"type": "approve"}
    refused = await product.client.post(f"{path}/decision", json=body, headers=author)
    assert_problem(refused, "forbidden")
    made = await product.client.post(f"{path}/decision", json=body, headers=decider)
    assert made.status_code == 200, made.text
    assert made.json()["decision"]["by"] == key.id


async def test_somebody_else_has_to_decide_where_a_rule_says_so(start: Start) -> None:
    """Of two keys that may decide, the one that created the run may not."""
    rule = '[{"tool": "run_python", "gate": "ask", "by": "other"}]'
    async with start(gates=rule) as product:
        scopes: tuple[Scope, ...] = ("runs:write", "runs:read", "approvals:decide")
        _, author = await issue(product, *scopes)
        other, headers = await issue(product, *scopes)
        created = await product.client.post("/v1/runs?wait=20", json=TASK, headers=author)
        (approval_id,) = created.json()["required_action"]["approval_ids"]
        path = f"/v1/approvals/{approval_id}/decision"
        refused = await product.client.post(path, json={"type": "approve"}, headers=author)
        assert refused.json()["code"] == "forbidden"
        made = await product.client.post(path, json={"type": "approve"}, headers=headers)
    assert made.json()["decision"]["by"] == other.id


async def test_an_idempotency_key_is_its_callers(product: Product) -> None:
    """Two callers may use the same one; each has a run of its own."""
    _, first = await issue(product)
    _, second = await issue(product)
    once = {"idempotency-key": "order-1"}
    answers = [
        await product.client.post("/v1/runs", json=TASK, headers={**headers, **once})
        for headers in (first, second, first)
    ]
    ids = [answer.json()["id"] for answer in answers]
    assert ids[0] == ids[2] != ids[1]
    assert answers[2].headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in answers[1].headers


# Who guesses, and who comes from elsewhere.


async def test_who_guesses_is_slowed_down_and_others_are_not(product: Product) -> None:
    """After some wrong keys the address has to wait, but whoever has a good one there goes on."""
    _, headers = await issue(product)
    assert (await product.client.get("/v1/info", headers=headers)).status_code == 200
    answers: list[httpx.Response] = []
    for number in range(FAILURES_PER_MINUTE + 1):
        wrong = {"authorization": f"Bearer {UNKNOWN}{number}"}
        answers.append(await product.client.get("/v1/info", headers=wrong))
    assert {answer.status_code for answer in answers[:-1]} == {401}
    assert_problem(answers[-1], "rate-limited")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    _, unseen = await issue(product)
    for good in (headers, unseen):
        assert (await product.client.get("/v1/info", headers=good)).status_code == 200


@pytest.mark.parametrize(("trusted", "status"), [(None, 401), ("192.0.2.9", 429)])
async def test_what_a_proxy_says_of_its_callers_is_believed_of_some(
    start: Start, monkeypatch: pytest.MonkeyPatch, trusted: str | None, status: int
) -> None:
    """From this machine, where nobody else is named; else all behind it are one address."""
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    if trusted:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    async with start() as product:
        await issue(product)
        wrong = {"authorization": f"Bearer {UNKNOWN}"}
        answers = [
            await product.client.get("/v1/info", headers={**wrong, "x-forwarded-for": said})
            for said in ["192.0.2.1"] * (FAILURES_PER_MINUTE + 1) + ["192.0.2.2"]
        ]
    assert [answer.status_code for answer in answers[-2:]] == [429, status]


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "::ffff:127.0.0.1"])
def test_these_names_are_this_machine(name: str) -> None:
    """They lead nowhere else."""
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.evil.example", "x"])
def test_these_names_may_be_others(name: str) -> None:
    """Whoever listens there may be reached from elsewhere, or is."""
    assert not is_loopback(name)


async def test_a_page_under_another_name_is_not_served_without_a_key(product: Product) -> None:
    """A browser that was led here under a foreign name says so in `Host`."""
    response = await product.client.get("/v1/runs", headers={"host": "rebound.example:8000"})
    assert "signalbox keys create" in assert_problem(response, "forbidden")["detail"]
    _, headers = await issue(product)
    async with asyncio.timeout(SECONDS):
        while (await product.client.get("/v1/runs")).status_code == 200:
            pass
    named = {**headers, "host": "signalbox.example"}
    assert (await product.client.get("/v1/runs", headers=named)).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
    ],
)
async def test_what_a_proxy_passes_on_is_not_served_without_a_key(
    product: Product, name: str, value: str
) -> None:
    """It is somebody else's, whoever it says that is: clients send such headers themselves."""
    response = await product.client.get("/v1/runs", headers={name: value})
    assert_problem(response, "forbidden")


@pytest.mark.parametrize(
    ("headers", "local"),
    [
        ({"host": "localhost"}, True),
        ({"host": "signalbox.example"}, False),
        ({"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        ({}, False),
    ],
)
def test_a_unix_socket_is_no_proof_of_who_asks(headers: dict[str, str], local: bool) -> None:
    """A proxy may stand before it, as it may before a port."""
    scope = {
        "type": "http",
        "server": ("/run/signalbox.sock", None),
        "client": None,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    assert read_credentials(Request(scope)).local is local
