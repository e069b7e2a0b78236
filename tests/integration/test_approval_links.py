"""Approve where you are: a link in the message about a question leads to a page that decides once."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Connection, select, update

from domain.caller import Scope
from domain.errors import ConfigurationError
from service.http.edge import MAX_FORM_BYTES
from service.ids import SystemClock
from service.rates import LINKS_PER_MINUTE
from service.settings import read_settings
from service.store.tables import actions
from service.store.webhook_tables import approval_links, deliveries
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.people import decided, pending, post, results, turns, waiting
from tests.integration.receiving import (
    create,
    delivery,
    hook,
    message,
    pass_time,
    received,
    redeliver,
)
from tests.integration.team_script import decisions

PUBLIC: Final = "https://signalbox.example.com/box"
UNSEEN: Final = "\u202e\u200b\u115f\u1160\u3164\uffa0\u2800\u034f\ufe0f\U000e0041\U000e0101"
"""Characters that show nothing, or turn others round."""

TASK: Final = "Do it <b>now</b> & well"


def one_post(target: CountingTarget, body: str = "{}") -> list[Any]:
    """Return the script of a coder that sends one thing and says that it did."""
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders", body)), Reply(text="Sent.")),
    ]


@asynccontextmanager
async def linking(
    start: Start, models: FakeModelServer, target: CountingTarget, **more: Any
) -> AsyncIterator[Product]:
    """Run the product where people reach it under an address of its own."""
    values = {"public_url": PUBLIC, "http_allow": target.address, **more}
    async with start(models=models, **values) as product:
        yield product


@pytest.fixture
async def linked(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> AsyncIterator[Product]:
    async with linking(start, models, target) as product:
        yield product


async def question(product: Product, target: CountingTarget, **body: Any) -> dict[str, Any]:
    """Create a run that asks; return what its message says of the one approval."""
    path = f"/hook{len(target.requests)}"
    await create(product, TASK, **hook(target, path), **body)
    await target.arrived(path)
    [approval] = message(received(target, path)[0])["data"]["approvals"]
    return dict(approval)


def path_of(approval: dict[str, Any]) -> str:
    """Return the path of an approval's page, as the server sees it behind its public address."""
    url: str = approval["link"]["url"]
    assert url.startswith(f"{PUBLIC}/approve/")
    return url.removeprefix(PUBLIC)


def token_of(page: httpx.Response) -> str:
    """Return the token of a form."""
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


async def press(
    product: Product, approval: dict[str, Any], choice: str, text: str = ""
) -> httpx.Response:
    """Open a page and press a button, as a browser does."""
    path = path_of(approval)
    form = {"token": path.rpartition("/")[2], "choice": choice, "message": text}
    return await product.client.post(path, data=form)


async def test_a_link_decides_once_and_the_call_is_made(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    page = await linked.client.get(path_of(approval))
    assert (page.status_code, token_of(page)) == (200, path_of(approval).rpartition("/")[2])
    done = await press(linked, approval, "approve", "Checked with the harbour.")
    assert (done.status_code, "<h1>Approved</h1>" in done.text) == (200, True)
    run = await linked.ended(approval["run_id"])
    assert (run["status"], run["result"]["output"]) == ("completed", "Sent.")
    assert target.count("/orders") == 1
    found = (await linked.client.get(f"/v1/approvals/{approval['id']}")).json()
    sent = received(target, "/hook0")[0].headers["webhook-id"]
    made = found["decision"]
    assert (made["type"], made["by"]) == ("approve", f"link:{sent}")
    assert made["comment"] == "Checked with the harbour."


async def test_the_page_shows_all_of_it_and_is_kept_nowhere(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    body = json.dumps({"note": "<script>alert(1)</script>", "long": "x" * 30_000})
    models.add(*one_post(target, f"{body}{UNSEEN}"))
    approval = await question(linked, target)
    page = await linked.client.get(path_of(approval))
    for shown in ("http_request", target.url("/orders"), body, TASK, approval["run_id"]):
        assert html.escape(shown) in page.text
    assert "<script" not in page.text
    for character in UNSEEN:
        assert character not in page.text
        assert f"\\u{{{ord(character):04x}}}" in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in page.headers["x-robots-tag"]
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "set-cookie" not in page.headers


async def test_looking_decides_nothing(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Previews of links look at them, with whatever query."""
    models.add(*one_post(target))
    approval = await question(linked, target)
    path = path_of(approval)
    query = f"?choice=approve&token={path.rpartition('/')[2]}"
    for ask in (path, path + query, path):
        assert (await linked.client.get(ask)).status_code == 200
    assert (await linked.client.head(path)).status_code == 405
    assert [each["id"] for each in await pending(linked, approval["run_id"])] == [approval["id"]]


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"choice": "approve"},
        {"choice": "approve", "token": "x"},
        {"choice": "edit", "token": None},
        {"choice": "", "token": None},
        {"choice": "respond", "message": "do", "token": None},
        {"choice": "reject", "message": "a\x00b", "token": None},
        {"choice": "reject", "message": "a" * 16_001, "token": None},
        {"choice": "approve", "message": "a" * 2_001, "token": None},
    ],
)
async def test_a_form_that_is_not_the_pages_decides_nothing(
    form: dict[str, str | None], linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    path = path_of(approval)
    token = path.rpartition("/")[2]
    fields = {name: token if value is None else value for name, value in form.items()}
    answer = await linked.client.post(path, data=fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    await waiting(linked, approval["run_id"])


async def test_json_is_no_form(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    path = path_of(approval)
    body = {"token": path.rpartition("/")[2], "choice": "approve"}
    assert (await linked.client.post(path, json=body)).status_code == 422
    await waiting(linked, approval["run_id"])


async def test_a_link_that_was_used_shows_what_was_decided(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Whoever has it later, or has stolen it, decides nothing any more."""
    models.add(*one_post(target))
    approval = await question(linked, target)
    first = await press(linked, approval, "reject", "not before Monday")
    assert first.status_code == 200
    again = await press(linked, approval, "reject", "not before Monday")
    assert again.status_code == 200
    for other in ("approve", "reject"):
        late = await press(linked, approval, other)
        assert late.status_code == 409
        assert "what was decided stands" in late.text
        assert "not before Monday" in late.text
    seen = await linked.client.get(path_of(approval))
    assert (seen.status_code, "<h1>Rejected</h1>" in seen.text) == (410, True)
    for page in (first, again, seen):
        assert "http_request" in page.text
        for content in (target.url("/orders"), html.escape(TASK)):
            assert content not in page.text
    await linked.ended(approval["run_id"])
    assert results(models.requests[-2]) == ["A person refused this call: not before Monday"]
    assert target.count("/orders") == 0


async def test_of_twenty_who_press_at_once_one_is_the_one(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    choices = ["approve", "reject"] * 10
    answers = await asyncio.gather(*(press(linked, approval, choice) for choice in choices))
    run = await linked.ended(approval["run_id"])
    made = (await linked.client.get(f"/v1/approvals/{approval['id']}")).json()["decision"]["type"]
    codes = {
        choice: {a.status_code for a, c in zip(answers, choices, strict=True) if c == choice}
        for choice in ("approve", "reject")
    }
    other = "reject" if made == "approve" else "approve"
    assert (codes[made], codes[other]) == ({200}, {409})
    assert target.count("/orders") == (made == "approve")
    assert run["status"] == "completed"
    types = [event["type"] for event in await linked.events(run["id"])]
    assert types.count("approval.resolved") == 1


async def test_what_was_decided_elsewhere_is_shown(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    await decided(linked, approval["id"], type="approve")
    late = await press(linked, approval, "reject")
    assert (late.status_code, "<h1>Approved</h1>" in late.text) == (409, True)
    assert "By default" in late.text


async def test_a_link_of_a_call_that_has_changed_decides_nothing(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Nothing of ours changes a call that waits; a link would not follow it if something did."""
    models.add(*one_post(target))
    approval = await question(linked, target)

    def change(connection: Connection) -> None:
        one = actions.c.id == approval["id"]
        connection.execute(update(actions).where(one).values(args_digest="sha256:other"))

    await write(linked, change)
    for answer in (
        await linked.client.get(path_of(approval)),
        await press(linked, approval, "approve"),
    ):
        assert (answer.status_code, "has changed" in answer.text) == (409, True)
    await waiting(linked, approval["run_id"])


async def test_a_link_is_over_after_its_time(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    assert approval["link"]["expires_at"] < approval["expires_at"]

    def age(connection: Connection) -> None:
        past = SystemClock().now() - timedelta(seconds=1)
        connection.execute(update(approval_links).values(expires_at=past))

    await write(linked, age)
    for answer in (
        await linked.client.get(path_of(approval)),
        await press(linked, approval, "approve"),
    ):
        assert (answer.status_code, "Too late" in answer.text) == (410, True)
        assert target.url("/orders") not in answer.text
    await decided(linked, approval["id"], type="reject")


async def test_a_link_of_a_run_that_has_ended_decides_nothing(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    approval = await question(linked, target)
    await linked.client.post(f"/v1/runs/{approval['run_id']}/cancel")
    late = await press(linked, approval, "approve")
    assert (late.status_code, "has ended" in late.text) == (410, True)
    assert target.count("/orders") == 0


async def test_an_address_sees_so_many_pages_a_minute(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Then it has to wait, and nothing is looked up or decided meanwhile."""
    models.add(*one_post(target))
    approval = await question(linked, target)
    for _ in range(LINKS_PER_MINUTE):
        assert (await linked.client.get("/approve/x")).status_code == 404
    for answer in (
        await linked.client.get(path_of(approval)),
        await press(linked, approval, "approve"),
    ):
        assert (answer.status_code, "Too many requests" in answer.text) == (429, True)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    await waiting(linked, approval["run_id"])


async def test_a_form_has_its_own_bound(linked: Product) -> None:
    """It is far below what a run may bring."""
    form = {"message": "a" * MAX_FORM_BYTES}
    assert (await linked.client.post("/approve/x", data=form)).status_code == 413


async def test_a_strange_link_is_not_found(linked: Product) -> None:
    for token in ("x", "A" * 43, "%00", "a" * 5_000):
        page = await linked.client.get(f"/approve/{token}")
        assert page.status_code == 404
        sent = await linked.client.post(f"/approve/{token}", data={"token": token})
        assert sent.status_code == 404


async def test_each_link_is_for_its_own_question(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(post(target, "/one"), post(target, "/two")),
            Reply(text="Sent."),
        ),
    )
    created = await create(linked, TASK, **hook(target))
    await target.arrived("/hook")
    first, second = message(received(target)[0])["data"]["approvals"]
    assert (await press(linked, first, "approve")).status_code == 200
    left = await pending(linked, created.json()["id"])
    assert [each["id"] for each in left] == [second["id"]]
    assert (await press(linked, second, "reject")).status_code == 200
    await linked.ended(created.json()["id"])
    counts = {path: target.count(path) for path in ("/one", "/two")}
    assert sorted(counts.values()) == [0, 1]


async def test_a_question_to_the_user_is_answered_on_its_page(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(("ask_user", {"question": "Which account?"})),
            Reply(text="Sent."),
        ),
    )
    approval = await question(linked, target)
    page = await linked.client.get(path_of(approval))
    assert "Which account?" in page.text
    assert ">Approve<" not in page.text
    assert (await press(linked, approval, "respond", "  ")).status_code == 422
    assert (await press(linked, approval, "respond", "The second one.")).status_code == 200
    assert (await linked.ended(approval["run_id"]))["status"] == "completed"
    assert results(models.requests[-2]) == ["The second one."]


async def test_a_budget_is_finished_on_its_page_and_never_raised(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    budget = {"unknown_prices": "ask", "max_cost_usd": "1"}
    approval = await question(linked, target, budget=budget)
    assert approval["type"] == "budget"
    page = await linked.client.get(path_of(approval))
    assert "Finish with what there is" in page.text
    assert ">Approve<" not in page.text
    assert (await press(linked, approval, "approve")).status_code == 422
    assert (await press(linked, approval, "finish")).status_code == 200
    found = (await linked.client.get(f"/v1/approvals/{approval['id']}")).json()
    assert found["decision"]["type"] == "reject"
    await linked.ended(approval["run_id"])


async def test_without_an_address_there_is_no_link(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    async with linking(start, models, target, public_url=None) as product:
        approval = await question(product, target)
        assert approval["link"] is None
        assert "SIGNALBOX_PUBLIC_URL" in approval["no_link"]


def test_in_production_no_link_leaves_in_the_clear() -> None:
    """Whoever reads one may decide."""
    with pytest.raises(ConfigurationError, match=r"SIGNALBOX_PUBLIC_URL.*https://"):
        read_settings(env="production", public_url="http://signalbox.example", _env_file=None)
    for env, scheme in (("production", "https"), ("development", "http")):
        url = f"{scheme}://signalbox.example"
        assert read_settings(env=env, public_url=url, _env_file=None).public_url == url


async def test_what_is_for_somebody_else_has_no_link(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """Whoever holds a link may be the one who created the run."""
    models.add(*one_post(target))
    rules = json.dumps([{"tool": "http_request", "gate": "ask", "by": "other"}])
    async with linking(start, models, target, gates=rules) as product:
        approval = await question(product, target)
        assert approval["link"] is None
        assert "else" in approval["no_link"]


@pytest.mark.parametrize("decides", [True, False])
async def test_who_may_not_decide_is_sent_no_link(
    start: Start, models: FakeModelServer, target: CountingTarget, decides: bool
) -> None:
    """Else a key that only creates runs could approve what its own runs ask, through its own webhook."""
    models.add(*one_post(target))
    scopes: tuple[Scope, ...] = ("runs:write", "runs:read")
    async with linking(start, models, target) as product:
        _, key = await issue(product, *scopes, *(("approvals:decide",) if decides else ()))
        product.client.headers.update(key)
        approval = await question(product, target)
    assert (approval["link"] is not None) is decides
    assert decides or "approvals:decide" in approval["no_link"]


async def test_links_are_kept_no_longer_than_they_are_sent(
    linked: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Each attempt has the same ones; who asks for it again gets new ones, for what is still open."""
    models.add(*one_post(target))
    target.reply("/hook", status=503)
    created = await create(linked, TASK, **hook(target))
    run_id = created.json()["id"]
    await delivery(linked, run_id, "pending", attempts=1, last_status=503)
    target.forget("/hook")
    await pass_time(linked, timedelta(hours=1))
    sent = await delivery(linked, run_id, "delivered", attempts=2)
    first, second = received(target)
    assert first.body == second.body
    [approval] = message(first)["data"]["approvals"]
    token = path_of(approval).rpartition("/")[2]
    assert token not in await dump(linked)
    await redeliver(linked, sent)
    await delivery(linked, run_id, "delivered", attempts=3)
    [again] = message(received(target)[2])["data"]["approvals"]
    assert again["link"]["url"] != approval["link"]["url"]
    assert (await press(linked, again, "approve")).status_code == 200
    assert (await press(linked, approval, "reject")).status_code == 409
    await linked.ended(run_id)
    await target.arrived("/hook", 4)
    await redeliver(linked, sent)
    await target.arrived("/hook", 5)
    [closed] = message(received(target)[4])["data"]["approvals"]
    assert (closed["link"], closed["no_link"]) == (None, "It was closed before this was sent.")


async def test_a_token_is_in_no_log_and_no_event(
    linked: Product,
    models: FakeModelServer,
    target: CountingTarget,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "signalbox")
    models.add(*one_post(target))
    approval = await question(linked, target)
    await press(linked, approval, "approve")
    run = await linked.ended(approval["run_id"])
    log = (await linked.client.get(f"/v1/runs/{run['id']}/deliveries")).text
    token = path_of(approval).rpartition("/")[2]
    assert token not in f"{caplog.text}{run}{await linked.events(run['id'])}{log}"


async def write(product: Product, work: Any) -> Any:
    """Do something to the database that nothing of ours does."""
    store: Any = product.services.store
    return await store.database.write(work)


async def dump(product: Product) -> str:
    """Return what the database has of deliveries and links."""

    def read(connection: Connection) -> str:
        found = [connection.execute(select(t)).all() for t in (deliveries, approval_links)]
        return str(found)

    return str(await write(product, read))
