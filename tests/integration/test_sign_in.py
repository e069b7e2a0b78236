"""The sign-in of the page: a browser gives its key once and is known by a cookie, on this server's pages only."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest

from service import callers
from service.callers import MAX_CREDENTIAL
from service.http import door
from service.http.edge import MAX_SIGN_IN_BYTES
from service.rates import FAILURES_PER_MINUTE
from service.secrets import hash_of, new_cookie
from service.store import SqlRunStore
from service.store.sign_ins import MOST_PER_CALLER, SqlSignInStore
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue, key_store
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, solo

TASK: Final = {"task": "What is 17% of 80?"}
COOKIE: Final = "signalbox_session"
HERE: Final = {"sec-fetch-site": "same-origin"}
"""What a browser says of a request that a page of the server has made."""

UNKNOWN: Final = f"sbx_{'A' * 43}"


def sign_ins(product: Product) -> SqlSignInStore:
    return SqlSignInStore(cast("SqlRunStore", product.services.store).database)


async def post_key(product: Product, key: str, **headers: str) -> httpx.Response:
    """Send a key as the page does; the client of the product keeps no cookie of it."""
    response = await product.client.post("/session", json={"api_key": key}, headers=HERE | headers)
    product.client.cookies.clear()
    return response


def cookie_in(response: httpx.Response) -> Morsel[str]:
    """Return the one cookie that an answer sets."""
    [header] = response.headers.get_list("set-cookie")
    return SimpleCookie(header)[COOKIE]


async def signed_in(product: Product, given: dict[str, str]) -> dict[str, str]:
    """Sign in with the key of a header; return what the browser sends from then on."""
    response = await post_key(product, given["authorization"].removeprefix("Bearer "))
    assert response.status_code == 204, response.text
    return {"cookie": f"{COOKIE}={cookie_in(response).value}"}


async def who(product: Product, **headers: str) -> dict[str, Any]:
    """Return what the page learns of who looks at it."""
    response = await product.client.get("/session", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return dict(response.json())


async def test_without_keys_nobody_has_to_sign_in(product: Product) -> None:
    """This machine is served as it is, cookie or not, and needs to prove nothing."""
    told = await who(product)
    assert (told["signed_in"], told["needed"]) == (False, False)
    assert (told["caller"]["id"], told["caller"]["tenant_id"]) == ("default", "default")
    stray = {"cookie": f"{COOKIE}=left-over"}
    assert (await product.client.post("/v1/runs", json=TASK, headers=stray)).status_code == 202
    assert_problem(await post_key(product, UNKNOWN), "unauthenticated")
    elsewhere = await product.client.get("/session", headers={"host": "rebound.example"})
    assert_problem(elsewhere, "forbidden")


async def test_a_browser_that_has_signed_in_works_like_its_key(product: Product) -> None:
    """It creates a run, follows it, gets its files, and is told who it is; signing out ends that."""
    key, given = await issue(product, "runs:write", "runs:read")
    assert await who(product) == {"signed_in": False, "needed": True, "caller": None}
    browser = await signed_in(product, given)
    assert await who(product, **browser) == {
        "signed_in": True,
        "needed": True,
        "caller": {
            "id": key.id,
            "tenant_id": "default",
            "scopes": ["runs:read", "runs:write"],
        },
    }
    body = {"task": "Draw a chart of 1, 4, 9, 16"}
    created = await product.client.post("/v1/runs", json=body, headers=browser | HERE)
    assert created.status_code == 202, created.text
    path = f"/v1/runs/{created.json()['id']}"
    types = [frame["type"] async for frame in product.frames(f"{path}/events", headers=browser)]
    assert types[-1] == "run.completed"
    listed = await product.client.get(f"{path}/artifacts", headers=browser)
    name = listed.json()["data"][0]["name"]
    file = await product.client.get(f"{path}/artifacts/{name}", headers=browser)
    assert file.status_code == 200
    usage = await product.client.get("/v1/usage?group_by=key", headers=browser)
    assert [row["key"] for row in usage.json()["data"]] == [key.id]
    refused = await product.client.get("/v1/approvals", headers=browser)
    assert refused.status_code == 200
    ended = await product.client.delete("/session", headers=browser | HERE)
    assert (ended.status_code, cookie_in(ended)["max-age"]) == (204, "0")
    told = assert_problem(await product.client.get(path, headers=browser), "unauthenticated")
    assert "Sign in again" in told["detail"]
    assert (await who(product, **browser))["signed_in"] is False
    again = await product.client.delete("/session", headers=browser | HERE)
    assert again.status_code == 204


async def test_a_scope_that_the_key_has_not_is_refused(product: Product) -> None:
    _, given = await issue(product, "runs:read")
    browser = await signed_in(product, given)
    refused = await product.client.post("/v1/runs", json=TASK, headers=browser | HERE)
    assert "runs:write" in assert_problem(refused, "forbidden")["detail"]


PLACE: Final = "signalbox.example:8000"


OURS: Final[list[dict[str, str]]] = [
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin", "origin": f"http://{PLACE}"},
    {"origin": f"http://{PLACE}"},
    {"origin": f"http://{PLACE.upper()}"},
]
FOREIGN: Final[list[dict[str, str]]] = [
    {},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "origin": f"http://{PLACE}"},
    {"sec-fetch-site": ""},
    {"origin": "null"},
    {"origin": "http://evil.example"},
    {"origin": f"http://evil.example#{PLACE}"},
    {"origin": "http://signalbox.example"},
    {"origin": "http://signalbox.example:8001"},
    {"origin": f"https://{PLACE}"},
    {"referer": f"http://{PLACE}/"},
]


async def changing(product: Product, headers: dict[str, str]) -> list[httpx.Response]:
    """Return the answers to a request of each unsafe method; the last one ends the sign-in."""
    client = product.client
    return [
        await client.post("/v1/runs", json=TASK, headers=headers),
        await client.patch("/v1/runs/run_0", json={"metadata": {}}, headers=headers),
        await client.delete("/v1/runs/run_0", headers=headers),
        await client.delete("/session", headers=headers),
    ]


async def test_pages_of_this_server_change_what_the_key_may(product: Product) -> None:
    """Also where a browser does not say whose page it was, as over plain http."""
    _, given = await issue(product)
    for sent in OURS:
        browser = {**await signed_in(product, given), "host": PLACE}
        answers = await changing(product, browser | sent)
        assert [answer.status_code for answer in answers] == [202, 404, 404, 204], sent


async def test_other_pages_change_nothing(product: Product) -> None:
    """Every unsafe method needs the browser's word for it, and so has signing in; the key in a header has not."""
    _, given = await issue(product)
    browser = {**await signed_in(product, given), "host": PLACE}
    body = {"api_key": given["authorization"].removeprefix("Bearer ")}
    for sent in FOREIGN:
        answers = await changing(product, browser | sent)
        answers.append(
            await product.client.post("/session", json=body, headers=sent | {"host": PLACE})
        )
        for answer in answers:
            assert "Sec-Fetch-Site" in assert_problem(answer, "forbidden")["detail"], sent
        read = await product.client.get("/v1/runs", headers=browser | sent)
        assert read.json()["data"] == []
    for sent in FOREIGN:
        with_key = await product.client.patch(
            "/v1/runs/run_0", json={"metadata": {}}, headers=browser | sent | given
        )
        assert_problem(with_key, "not-found")


async def test_the_public_address_counts_where_a_proxy_names_another(start: Start) -> None:
    """A browser says the address it has; `Host` may be that of the network behind."""
    async with start(public_url="https://signalbox.example/box") as product:
        _, given = await issue(product)
        browser = await signed_in(product, given)
        for origin, status in (
            ("https://signalbox.example", 202),
            ("https://signalbox.example:443", 202),
            ("http://signalbox.example", 403),
        ):
            sent = {**browser, "origin": origin, "host": "inside:8000"}
            answer = await product.client.post("/v1/runs", json=TASK, headers=sent)
            assert answer.status_code == status, origin


async def test_the_cookie_is_kept_from_scripts_other_sites_and_the_clear(start: Start) -> None:
    async with start(public_url="https://signalbox.example") as product:
        _, given = await issue(product)
        secret = given["authorization"].removeprefix("Bearer ")
        sent: list[tuple[dict[str, str], bool]] = [
            ({}, False),
            ({"x-forwarded-proto": "https"}, True),
            ({"x-forwarded-proto": "http"}, False),
            ({"host": "signalbox.example"}, True),
        ]
        for headers, secure in sent:
            response = await post_key(product, secret, **headers)
            cookie = cookie_in(response)
            assert response.status_code == 204
            assert response.headers["cache-control"] == "no-store"
            assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
            assert (cookie["max-age"], cookie["domain"]) == (str(7 * 86_400), "")
            assert bool(cookie["secure"]) is secure, headers
            assert secret not in str(response.headers)


async def test_the_header_wins_over_the_cookie(product: Product) -> None:
    """A wrong key is not made good by a browser's sign-in, and a good one is the caller."""
    _, one = await issue(product)
    key, other = await issue(product)
    browser = await signed_in(product, one)
    assert (await who(product, **browser, **other))["caller"]["id"] == key.id
    wrong = {**browser, "authorization": f"Bearer {UNKNOWN}"}
    assert_problem(await product.client.get("/v1/runs", headers=wrong), "unauthenticated")


async def test_two_cookies_are_none(product: Product) -> None:
    """A page of a neighbouring name could have set the other one."""
    _, given = await issue(product)
    value = (await signed_in(product, given))["cookie"]
    twice = await product.client.get("/v1/runs", headers={"cookie": f"{value}; {value}"})
    assert_problem(twice, "unauthenticated")
    beside = {"cookie": f"theme=dark; {value}; {COOKIE}_more=x"}
    assert (await product.client.get("/v1/runs", headers=beside)).status_code == 200


async def test_neither_a_key_nor_its_cookie_stands_for_the_other(product: Product) -> None:
    _, given = await issue(product)
    browser = await signed_in(product, given)
    secret = given["authorization"].removeprefix("Bearer ")
    value = browser["cookie"].partition("=")[2]
    assert (await product.client.get("/v1/runs", headers=given)).status_code == 200
    as_cookie = await product.client.get("/v1/runs", headers={"cookie": f"{COOKIE}={secret}"})
    assert_problem(as_cookie, "unauthenticated")
    as_key = await product.client.get("/v1/runs", headers={"authorization": f"Bearer {value}"})
    assert_problem(as_key, "unauthenticated")
    assert_problem(await post_key(product, value), "unauthenticated")


async def test_a_revoked_key_ends_what_was_signed_in_with_it(
    start: Start, models: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a stream that is being followed; another browser's goes on."""
    monkeypatch.setattr(door, "LOOK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(callers, "KNOWN_SECONDS", 0.0)
    models.add(*solo(Reply(text="Done."), gate="work"))
    gate = models.event("work")
    async with start(models=models) as product, asyncio.timeout(SECONDS):
        key, given = await issue(product)
        browser = await signed_in(product, given)
        created = await product.client.post("/v1/runs", json=TASK, headers=browser | HERE)
        path = f"/v1/runs/{created.json()['id']}/events"
        seen: list[str] = []
        async for frame in product.frames(path, headers=browser):
            if not seen:
                await key_store(product).revoke(key.id, datetime.now(UTC))
            seen.append(frame["type"])
        assert seen
        assert "run.completed" not in seen
        refused = await product.client.get(path, headers=browser)
        assert "revoked" in assert_problem(refused, "unauthenticated")["detail"]
        again = await post_key(product, given["authorization"].removeprefix("Bearer "))
        assert_problem(again, "unauthenticated")
        gate.set()


async def test_a_sign_in_is_over_after_its_time(product: Product) -> None:
    """The same with a key that expires before; what is over is dropped."""
    key, given = await issue(product)
    await signed_in(product, given)
    now = datetime.now(UTC)
    old, new = new_cookie(), new_cookie()
    store = sign_ins(product)
    for secret, until in ((old, now), (new, now + timedelta(days=1))):
        await store.add(hash_of(secret), key.caller, by_key=True, now=now, until=until)
    for secret, status in ((old, 401), (new, 200)):
        headers = {"cookie": f"{COOKIE}={secret}"}
        assert (await product.client.get("/v1/runs", headers=headers)).status_code == status
    await product.services.callers.expire_sign_ins()
    assert await store.find(hash_of(old)) is None
    assert await store.find(hash_of(new)) is not None
    _, short = await issue(product, days=-1)
    expired = await post_key(product, short["authorization"].removeprefix("Bearer "))
    assert "expired" in assert_problem(expired, "unauthenticated")["detail"]


async def test_a_key_is_signed_in_with_in_so_many_browsers(product: Product) -> None:
    """The oldest makes room, of this key alone."""
    key, given = await issue(product)
    _, other = await issue(product)
    beside = await signed_in(product, other)
    first = await signed_in(product, given)
    store, now = sign_ins(product), datetime.now(UTC)
    for _ in range(MOST_PER_CALLER - 1):
        until = now + timedelta(days=1)
        await store.add(hash_of(new_cookie()), key.caller, by_key=True, now=now, until=until)
    last = await signed_in(product, given)
    statuses = [
        (await product.client.get("/v1/runs", headers=each)).status_code
        for each in (first, last, beside)
    ]
    assert statuses == [401, 200, 200]


async def test_browsers_of_two_tenants_see_nothing_of_each_other(product: Product) -> None:
    _, one = await issue(product, tenant="one")
    _, two = await issue(product, tenant="two")
    first, second = await signed_in(product, one), await signed_in(product, two)
    created = await product.client.post("/v1/runs", json=TASK, headers=first | HERE)
    path = f"/v1/runs/{created.json()['id']}"
    assert (await product.client.get(path, headers=first)).status_code == 200
    assert_problem(await product.client.get(path, headers=second), "not-found")
    assert (await who(product, **second))["caller"]["tenant_id"] == "two"


async def test_who_guesses_is_slowed_down_here_too(product: Product) -> None:
    """Wrong keys count with those of the other routes, and good ones are taken all the same."""
    _, given = await issue(product)
    answers = [await post_key(product, f"{UNKNOWN}{n}") for n in range(FAILURES_PER_MINUTE + 1)]
    assert {answer.status_code for answer in answers[:-1]} == {401}
    assert_problem(answers[-1], "rate-limited")
    guessed = await product.client.get("/session", headers={"cookie": f"{COOKIE}=guessed"})
    assert_problem(guessed, "rate-limited")
    await signed_in(product, given)


async def test_signing_in_counts_as_a_request_of_its_key(product: Product) -> None:
    _, given = await issue(product, requests_per_minute=1)
    await signed_in(product, given)
    again = await post_key(product, given["authorization"].removeprefix("Bearer "))
    assert_problem(again, "rate-limited")


@pytest.mark.may_block
async def test_neither_key_nor_cookie_is_kept_or_said(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the database, a log, or the answer to a body that is wrong."""
    caplog.set_level(logging.DEBUG)
    url = f"sqlite:///{tmp_path}/data/runs.db"
    said = []
    async with start(database_url=url) as product:
        _, given = await issue(product)
        secret = given["authorization"].removeprefix("Bearer ")
        browser = await signed_in(product, given)
        value = browser["cookie"].partition("=")[2]
        for body in (
            {"api_key": [secret]},
            {"api_key": secret, "more": 1},
            {"api_key": secret * (MAX_CREDENTIAL // len(secret) + 1)},
            {"key": secret},
        ):
            answer = await product.client.post("/session", json=body, headers=HERE)
            assert_problem(answer, "validation-error")
            said.append(answer.text)
        large = {"api_key": secret + "A" * MAX_SIGN_IN_BYTES}
        answer = await product.client.post("/session", json=large, headers=HERE)
        assert_problem(answer, "payload-too-large")
        await product.client.post("/v1/runs?wait=20", json=TASK, headers=browser | HERE)
        said.append(answer.text + (await product.client.get("/session", headers=browser)).text)
        kept = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    logged = "".join(r.getMessage() for r in caplog.records if not r.name.startswith("http"))
    assert hash_of(value).encode() in b"".join(kept), "what is kept was read"
    for mark in (secret[:24], value[:24]):
        assert mark not in logged + "".join(said)
        assert mark.encode() not in b"".join(kept)
