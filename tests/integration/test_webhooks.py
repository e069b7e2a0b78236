"""Webhooks: what is sent, signed how, tried how often, and what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from service import bootstrap
from service.deliveries import PER_HOST
from tests.conftest import ROOT
from tests.docs.markdown import Document
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, post, turns
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.receiving import (
    SECRET_HEADER,
    create,
    delivery,
    hook,
    log_of,
    pass_time,
    received,
    redeliver,
    secret_of,
    verify,
)
from tests.integration.team_script import decisions, solo, unauthorised

TASK: Final = "What is 17% of 80?"
HOUR: Final = timedelta(hours=1)


@pytest.fixture
async def plain(start: Start) -> AsyncIterator[Product]:
    """Run the product with the offline planner, without a sandbox, which sums need not."""
    async with start(sandbox="off") as product:
        yield product


async def test_the_end_of_a_run_is_sent_signed(plain: Product, target: CountingTarget) -> None:
    created = await create(plain, TASK, **hook(target))
    secret, run_id = created.headers[SECRET_HEADER], created.json()["id"]
    assert secret.startswith("whsec_")
    await target.arrived("/hook")
    [request] = received(target)
    run = await plain.ended(run_id)
    said = verify(secret, request)
    assert said == {
        "type": f"run.{run['status']}",
        "timestamp": run["ended_at"],
        "data": {"run": said["data"]["run"]},
    }
    for name in ("id", "status", "result", "usage", "last_seq"):
        assert said["data"]["run"][name] == run[name]
    assert request.headers["content-type"] == "application/json"
    found = await delivery(plain, run_id, "delivered")
    assert found["id"] == request.headers["webhook-id"]
    assert found.keys() == {
        *("id", "object", "run_id", "type", "url", "status", "attempts", "next_attempt_at"),
        *("last_status", "last_error", "created_at", "delivered_at"),
    }
    assert (found["attempts"], found["last_status"], found["last_error"]) == (1, 200, None)
    with pytest.raises(WebhookVerificationError):
        verify("whsec_" + "A" * 40, request)


async def test_a_delivery_is_verified_as_the_page_shows(
    plain: Product, target: CountingTarget
) -> None:
    """The lines of docs/webhooks.md, as they stand there."""
    [block] = [b for b in Document(ROOT / "docs/webhooks.md").blocks if b.language == "python"]
    created = await create(plain, TASK, **hook(target))
    await target.arrived("/hook")
    [request] = received(target)
    names: dict[str, Any] = {"body": request.body, "headers": request.headers}
    exec(block.text.replace("whsec_…", created.headers[SECRET_HEADER]), names)
    assert names["document"]["data"]["run"]["id"] == created.json()["id"]


async def test_a_secret_is_shown_once(plain: Product, target: CountingTarget) -> None:
    """The query is not part of what an endpoint is."""
    first = await create(plain, TASK, **hook(target, "/hook?for=ann"))
    second = await create(plain, TASK, **hook(target, "/hook?for=bob"))
    other = await create(plain, TASK, **hook(target, "/other"))
    assert SECRET_HEADER not in second.headers
    assert other.headers[SECRET_HEADER] != first.headers[SECRET_HEADER]
    secret = first.headers[SECRET_HEADER]
    run = await plain.ended(first.json()["id"])
    events = await plain.events(run["id"])
    log = await log_of(plain, run["id"])
    assert secret not in f"{first.text}{run}{events}{log}"
    await target.arrived("/hook", 2)
    assert {r.query for r in received(target)} == {"for=ann", "for=bob"}
    assert all(verify(secret, each) for each in received(target))


async def test_only_what_is_asked_for_is_sent(plain: Product, target: CountingTarget) -> None:
    quiet = await create(plain, TASK, **hook(target, events=["run.cancelled"]))
    await plain.ended(quiet.json()["id"])
    assert await log_of(plain, quiet.json()["id"]) == []
    assert not target.requests


async def test_a_failure_is_sent(
    modelled: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(unauthorised())
    created = await create(modelled, "Do it", **hook(target))
    await target.arrived("/hook")
    said = verify(created.headers[SECRET_HEADER], received(target)[0])
    assert (said["type"], said["data"]["run"]["error"]["code"]) == ("run.failed", "model-error")


async def test_a_cancellation_is_sent(
    modelled: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.event("held")
    models.add(*solo(gate="held"))
    created = await create(modelled, "Do it", **hook(target))
    path = f"/v1/runs/{created.json()['id']}/cancel"
    assert (await modelled.client.post(path, json={"reason": "enough"})).status_code == 202
    await target.arrived("/hook")
    said = verify(created.headers[SECRET_HEADER], received(target)[0])
    assert (said["type"], said["data"]["run"]["status"]) == ("run.cancelled", "cancelled")


async def test_a_question_is_sent_with_what_is_asked(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    created = await create(acting, "Do it", **hook(target))
    run_id, secret = created.json()["id"], created.headers[SECRET_HEADER]
    approval = await asked(acting, run_id)
    await target.arrived("/hook")
    said = verify(secret, received(target)[0])
    assert said["type"] == "run.requires_action"
    assert said["data"]["run"]["required_action"]["approval_ids"] == [approval["id"]]
    [shown] = said["data"]["approvals"]
    assert shown.items() >= approval.items()
    await decided(acting, approval, type="approve")
    await target.arrived("/hook", 2)
    assert verify(secret, received(target)[1])["type"] == "run.completed"
    assert [each["type"] for each in await log_of(acting, run_id)] == [
        "run.completed",
        "run.requires_action",
    ]


async def test_who_shares_an_answer_reports_it_too(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """A run that follows another, and one that is answered as it is created."""
    held = models.event("held")
    models.add(*solo(gate="held"))
    async with start(models=models, cache_seconds=3600) as product:
        runs = [await create(product, "Do it", **hook(target, f"/{n}")) for n in range(2)]
        held.set()
        await product.ended(runs[0].json()["id"])
        runs.append(await create(product, "Do it", **hook(target, "/2")))
        for number, created in enumerate(runs):
            await target.arrived(f"/{number}")
            said = verify(created.headers[SECRET_HEADER], received(target, f"/{number}")[0])
            run = said["data"]["run"]
            assert (run["id"], run["status"]) == (created.json()["id"], "completed")
            assert (run["cache"] is None) == (number == 0)


async def test_what_a_process_wrote_it_sends_at_once(
    start: Start,
    models: FakeModelServer,
    target: CountingTarget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ends, questions, cancellations, answers from others: none waits for the next look at the outbox."""
    monkeypatch.setattr(bootstrap, "SEND_SECONDS", 3600.0)
    models.add(
        *decisions(("coder", "Send it"), task="Ask"),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
        *solo(),
    )
    async with start(models=models, cache_seconds=3600, http_allow=target.address) as product:
        for number in range(2):
            await create(product, "Do it", **hook(target))
            await target.arrived("/hook", number + 1)
        asking = (await create(product, "Ask", **hook(target))).json()["id"]
        await target.arrived("/hook", 3)
        await product.client.post(f"/v1/runs/{asking}/cancel")
        await target.arrived("/hook", 4)
        assert [json.loads(each.body)["type"] for each in received(target)] == [
            "run.completed",
            "run.completed",
            "run.requires_action",
            "run.cancelled",
        ]
        [_, question] = await log_of(product, asking)
        await redeliver(product, question)
        await target.arrived("/hook", 5)


async def test_what_fails_is_tried_again_with_the_same_id_and_body(
    plain: Product, target: CountingTarget
) -> None:
    target.reply("/hook", status=500)
    created = await create(plain, TASK, **hook(target))
    run_id = created.json()["id"]
    first = await delivery(plain, run_id, "pending", attempts=1, last_status=500)
    assert first["last_error"] == "It answered 500."
    assert first["next_attempt_at"] > first["created_at"]
    target.drop("/hook")
    await pass_time(plain, HOUR)
    broken = await delivery(plain, run_id, "pending", attempts=2, last_status=None)
    assert broken["last_error"] == "The connection broke before an answer came."
    target.forget("/hook")
    await pass_time(plain, HOUR)
    await delivery(plain, run_id, "delivered", attempts=3)
    arrived = received(target)
    assert len(arrived) == 3
    assert {(r.headers["webhook-id"], r.body) for r in arrived} == {(first["id"], arrived[0].body)}
    for request in arrived:
        verify(created.headers[SECRET_HEADER], request)


async def test_after_a_day_nothing_is_tried_any_more(
    plain: Product, target: CountingTarget
) -> None:
    target.reply("/hook", status=503)
    created = await create(plain, TASK, **hook(target))
    run_id = created.json()["id"]
    await delivery(plain, run_id, "pending", attempts=1, last_status=503)
    await pass_time(plain, timedelta(days=2))
    found = await delivery(plain, run_id, "failed", attempts=2)
    assert (found["next_attempt_at"], found["last_status"]) == (None, 503)
    target.forget("/hook")
    again = await redeliver(plain, found)
    assert (again.status_code, again.json()["id"]) == (202, found["id"])
    await delivery(plain, run_id, "delivered", attempts=3)


async def test_a_receiver_may_say_when(plain: Product, target: CountingTarget) -> None:
    target.reply("/hook", status=429, headers={"retry-after": "1200"})
    created = await create(plain, TASK, **hook(target))
    run_id = created.json()["id"]
    found = await delivery(plain, run_id, "pending", attempts=1, last_status=429)
    waits = moment(found["next_attempt_at"]) - moment(found["created_at"])
    assert timedelta(seconds=1200) <= waits < timedelta(seconds=1230)


async def test_who_says_gone_is_sent_nothing_more(plain: Product, target: CountingTarget) -> None:
    target.reply("/hook", status=503)
    waiting = (await create(plain, TASK, **hook(target))).json()["id"]
    await delivery(plain, waiting, "pending", attempts=1, last_status=503)
    target.reply("/hook", status=410)
    told = (await create(plain, TASK, **hook(target))).json()["id"]
    found = await delivery(plain, told, "disabled", attempts=1, last_status=410)
    assert "wants nothing more" in found["last_error"]
    await delivery(plain, waiting, "disabled", next_attempt_at=None)
    body = {"task": TASK, **hook(target)}
    refused = await plain.client.post("/v1/runs", json=body)
    problem = assert_problem(refused, "validation-error")
    assert (pointers(problem), "410 Gone" in problem["detail"]) == (["/webhook/url"], True)
    count = len(target.requests)
    target.forget("/hook")
    await redeliver(plain, found)
    await delivery(plain, told, "delivered", attempts=2)
    assert len(target.requests) == count + 1
    assert (await plain.client.post("/v1/runs", json=body)).status_code == 202


async def test_a_redirect_is_a_failure(plain: Product, target: CountingTarget) -> None:
    target.reply("/hook", status=307, headers={"location": target.url("/elsewhere")})
    created = await create(plain, TASK, **hook(target))
    found = await delivery(plain, created.json()["id"], "pending", attempts=1, last_status=307)
    assert found["last_error"] == "It answered 307: redirects are not followed."
    assert not received(target, "/elsewhere")


async def test_an_endless_answer_is_not_read_to_its_end(
    plain: Product, target: CountingTarget
) -> None:
    target.drop("/hook", after=b"x" * 5_000_000)  # whoever reads on finds it cut off
    created = await create(plain, TASK, **hook(target))
    await delivery(plain, created.json()["id"], "delivered", attempts=1)


async def test_who_hangs_holds_up_nobody_else(plain: Product, target: CountingTarget) -> None:
    """Only so many attempts are made to one host at a time; another gets its own meanwhile."""
    gate = target.hold("/hook")
    # Where another process executes the runs, it sends too.
    most = PER_HOST * (2 if plain.services.settings.dispatch == "queue" else 1)
    hanging = [(await create(plain, TASK, **hook(target))).json()["id"] for _ in range(most + 2)]
    await target.arrived("/hook", PER_HOST)
    async with CountingTarget() as other:
        created = await create(plain, TASK, **hook(other))
        await delivery(plain, created.json()["id"], "delivered")
    assert PER_HOST <= len(received(target)) <= most
    gate.open()
    for run_id in hanging:
        await delivery(plain, run_id, "delivered", attempts=1)


async def test_twenty_at_once_are_sent_once_each(plain: Product, target: CountingTarget) -> None:
    secret = await secret_of(plain, target)
    created = await asyncio.gather(*(create(plain, TASK, **hook(target)) for _ in range(20)))
    await target.arrived("/hook", 20)
    for each in created:
        await delivery(plain, each.json()["id"], "delivered", attempts=1)
    said = [verify(secret, request)["data"]["run"]["id"] for request in received(target)]
    assert sorted(said) == sorted(each.json()["id"] for each in created)


async def test_a_delivery_is_sent_again_on_request(plain: Product, target: CountingTarget) -> None:
    created = await create(plain, TASK, **hook(target))
    run_id = created.json()["id"]
    found = await delivery(plain, run_id, "delivered")
    for replayed in (False, True):
        response = await redeliver(plain, found, **{"idempotency-key": "again"})
        assert (response.status_code, response.json()["id"]) == (202, found["id"])
        assert ("idempotency-replayed" in response.headers) is replayed
        await delivery(plain, run_id, "delivered", attempts=2)
    assert len(received(target)) == 2
    assert {r.headers["webhook-id"] for r in received(target)} == {found["id"]}
    assert len({r.body for r in received(target)}) == 1


async def test_what_is_not_there_is_not_sent_again(plain: Product, target: CountingTarget) -> None:
    first = (await create(plain, TASK, **hook(target))).json()["id"]
    second = (await create(plain, TASK, **hook(target))).json()["id"]
    found = await delivery(plain, first, "delivered")
    for strange in ({**found, "id": "whd_" + "0" * 32}, {**found, "run_id": second}):
        assert_problem(await redeliver(plain, strange), "not-found")
    unknown = await plain.client.get(f"/v1/runs/run_{'0' * 32}/deliveries")
    assert_problem(unknown, "not-found")


async def test_the_log_comes_in_pages(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    run_id = (await create(acting_once, "Do it", **hook(target))).json()["id"]
    await decided(acting_once, await asked(acting_once, run_id), type="approve")
    await acting_once.ended(run_id)
    path = f"/v1/runs/{run_id}/deliveries"
    first = (await acting_once.client.get(f"{path}?limit=1")).json()
    assert (first["has_more"], first["next_cursor"]) == (True, first["data"][0]["id"])
    second = await acting_once.client.get(f"{path}?limit=1&cursor={first['next_cursor']}")
    assert second.json()["has_more"] is False
    types = [page["data"][0]["type"] for page in (first, second.json())]
    assert types == ["run.completed", "run.requires_action"]
    bad = await acting_once.client.get(f"{path}?cursor=whd_1")
    assert_problem(bad, "malformed-cursor")


REFUSED: Final = {
    "http://example.com/hook": "https",
    "http://10.0.0.1/hook": "https",
    "https://10.0.0.1/hook": "not a public one",
    "https://169.254.169.254/latest": "not a public one",
    "https://[::ffff:127.0.0.1]/hook": "not a public one",
    "https://receiver/hook": "local network",
    "https://hooks.internal/hook": "local networks",
    "https://example.com:22/hook": "ports are",
    "https://ann:secret@example.com/hook": "user, password",
    "https://example.com/hook#part": "fragment",
    f"https://example.com/{'a' * 2_000}": "characters",
}


@pytest.mark.parametrize("url", REFUSED)
async def test_where_nothing_is_sent_is_refused_at_once(plain: Product, url: str) -> None:
    response = await plain.client.post("/v1/runs", json={"task": TASK, "webhook": {"url": url}})
    problem = assert_problem(response, "validation-error")
    assert pointers(problem) == ["/webhook/url"]
    assert REFUSED[url] in problem["detail"]
    assert (await plain.client.get("/v1/runs")).json()["data"] == []


async def test_only_who_administers_has_this_machine_sent_to(
    plain: Product, target: CountingTarget
) -> None:
    """A key from elsewhere has no business with what listens on the server's own ports."""
    _, caller = await issue(plain)
    _, operator = await issue(plain, "admin")
    body = {"task": TASK, **hook(target)}
    refused = await plain.client.post("/v1/runs", json=body, headers=caller)
    assert pointers(assert_problem(refused, "validation-error")) == ["/webhook/url"]
    over_https = {"task": TASK, "webhook": {"url": f"https://{target.address}/hook"}}
    refused = await plain.client.post("/v1/runs", json=over_https, headers=caller)
    assert_problem(refused, "validation-error")
    done = await plain.client.post("/v1/runs", json=body, headers=operator)
    assert done.status_code == 202
    await target.arrived("/hook")


async def test_the_log_shows_no_query(plain: Product, target: CountingTarget) -> None:
    """Receivers are known by secrets in it, and the log is for whoever may see the run."""
    created = await create(plain, TASK, **hook(target, "/hook?token=canary"))
    found = await delivery(plain, created.json()["id"], "delivered")
    assert found["url"] == target.url("/hook") + "?…"
    again = await redeliver(plain, found)
    assert "canary" not in again.text
    await target.arrived("/hook", 2)
    assert {each.query for each in received(target)} == {"token=canary"}


async def test_where_it_may_be_sent_is_looked_at_again(
    start: Start, target: CountingTarget, tmp_path: Path
) -> None:
    """What was accepted in development is not sent in production: this machine is out of reach."""
    place = {"database_url": f"sqlite:///{tmp_path}/runs.db", "sandbox": "off"}
    target.reply("/hook", status=503)
    async with start(**place) as product:
        run_id = (await create(product, TASK, **hook(target))).json()["id"]
        await delivery(product, run_id, "pending", attempts=1, last_status=503)
    async with start(**place, env="production") as product:
        _, key = await issue(product)
        product.client.headers.update(key)
        await pass_time(product, HOUR)
        found = await delivery(product, run_id, "pending", attempts=2, last_status=None)
        assert "not https" in found["last_error"]
    assert len(target.requests) == 1


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
