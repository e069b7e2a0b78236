"""The secrets of those who receive webhooks: made, shown once, changed, beside a running server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from domain.errors import ConfigurationError
from service.commands.webhooks import (
    as_json,
    as_line,
    enable,
    forget,
    list_endpoints,
    rotate_secret,
    show_secret,
)
from service.ids import SystemClock
from service.settings import read_settings
from service.store import endpoints
from tests.fakes.http_target import CountingTarget
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.receiving import (
    SECRET_HEADER,
    create,
    delivery,
    hook,
    pass_time,
    received,
    verify,
)

TASK: Final = "What is 17% of 80?"


@pytest.fixture
async def kept(
    request: pytest.FixtureRequest, start: Start, tmp_path: Path
) -> AsyncIterator[Product]:
    """Run the product on a database that a second process can open too."""
    over = request.config.getoption("--over")
    place = {} if over else {"database_url": f"sqlite:///{tmp_path}/runs.db"}
    async with start(sandbox="off", **place) as product:
        yield product


async def test_a_secret_can_be_made_before_any_run(kept: Product, target: CountingTarget) -> None:
    settings = kept.services.settings
    secret = await show_secret(settings, target.url("/hook?a=1"), "default")
    with pytest.raises(ConfigurationError, match="shown before"):
        await show_secret(settings, target.url("/hook"), "default")
    created = await create(kept, TASK, **hook(target))
    assert SECRET_HEADER not in created.headers
    await target.arrived("/hook")
    verify(secret, received(target)[0])


async def test_a_changed_secret_overlaps_the_one_before(
    kept: Product, target: CountingTarget
) -> None:
    settings = kept.services.settings
    created = await create(kept, TASK, **hook(target))
    old = created.headers[SECRET_HEADER]
    await delivery(kept, created.json()["id"], "delivered")
    new = await rotate_secret(settings, target.url("/hook"), "default")
    assert new != old
    again = await create(kept, TASK, **hook(target))
    await delivery(kept, again.json()["id"], "delivered")
    for secret in (old, new):
        verify(secret, received(target)[1])
    later = SystemClock().now() - endpoints.OVERLAP - timedelta(seconds=1)
    database: Any = kept.services.store
    newest = await database.database.write(endpoints.rotate, "default", target.url("/hook"), later)
    last = await create(kept, TASK, **hook(target))
    await delivery(kept, last.json()["id"], "delivered")
    verify(newest, received(target)[2])
    with pytest.raises(WebhookVerificationError):
        verify(new, received(target)[2])


async def test_endpoints_are_listed_without_their_secrets(
    kept: Product, target: CountingTarget
) -> None:
    settings = kept.services.settings
    secret = await show_secret(settings, target.url("/hook"), "default")
    await rotate_secret(settings, target.url("/hook"), "default")
    [endpoint] = await list_endpoints(settings, "default")
    line = as_line(endpoint)
    assert line.startswith(target.url("/hook"))
    assert "two secrets" in line
    assert "whsec_" not in line
    assert secret.removeprefix("whsec_") not in f"{line}{as_json(endpoint)}"
    assert await list_endpoints(settings, "another") == []


async def test_an_endpoint_that_was_gone_is_enabled(kept: Product, target: CountingTarget) -> None:
    settings = kept.services.settings
    target.reply("/hook", status=410)
    gone = (await create(kept, TASK, **hook(target))).json()["id"]
    await delivery(kept, gone, "disabled")
    assert "answered 410" in as_line((await list_endpoints(settings, "default"))[0])
    target.forget("/hook")
    await enable(settings, target.url("/hook"), "default")
    back = (await create(kept, TASK, **hook(target))).json()["id"]
    await delivery(kept, back, "delivered")


async def test_a_forgotten_endpoint_gets_a_new_secret(
    kept: Product, target: CountingTarget
) -> None:
    settings = kept.services.settings
    target.reply("/hook", status=503)
    first = await create(kept, TASK, **hook(target))
    await delivery(kept, first.json()["id"], "pending", last_status=503)
    await forget(settings, target.url("/hook"), "default")
    assert await list_endpoints(settings, "default") == []
    await pass_time(kept, timedelta(hours=1))
    found = await delivery(kept, first.json()["id"], "disabled", attempts=1)
    assert "was forgotten" in found["last_error"]
    target.forget("/hook")
    second = await create(kept, TASK, **hook(target))
    await delivery(kept, second.json()["id"], "delivered")
    assert second.headers[SECRET_HEADER] != first.headers[SECRET_HEADER]
    verify(second.headers[SECRET_HEADER], received(target)[1])


async def test_of_many_who_name_an_endpoint_at_once_one_is_shown_its_secret(
    kept: Product, target: CountingTarget
) -> None:
    created = await asyncio.gather(*(create(kept, TASK, **hook(target)) for _ in range(20)))
    [secret] = [each.headers[SECRET_HEADER] for each in created if SECRET_HEADER in each.headers]
    await target.arrived("/hook", 20)
    assert all(verify(secret, each) for each in received(target))


async def test_what_is_not_there_or_not_kept_is_said(
    kept: Product, target: CountingTarget, tmp_path: Path
) -> None:
    settings = kept.services.settings
    for command in (rotate_secret, enable, forget):
        with pytest.raises(ConfigurationError, match="named by no run yet"):
            await command(settings, target.url("/strange"), "default")
    with pytest.raises(ConfigurationError, match="not https"):
        await show_secret(settings, "http://example.com/", "default")
    memory = read_settings(database_url="memory://", data_dir=tmp_path, _env_file=None)
    with pytest.raises(ConfigurationError, match="memory://"):
        await show_secret(memory, target.url("/hook"), "default")


async def test_a_refused_run_does_not_use_up_the_secret(
    kept: Product, target: CountingTarget
) -> None:
    """Who is refused has not seen it: the next one does."""
    body = {"task": TASK, "thread_id": "thr_nowhere", **hook(target)}
    refused = await kept.client.post("/v1/runs", json=body)
    assert (refused.status_code, SECRET_HEADER in refused.headers) == (404, False)
    assert SECRET_HEADER in (await create(kept, TASK, **hook(target))).headers


async def test_a_refused_run_makes_no_endpoint(kept: Product, target: CountingTarget) -> None:
    """A tenant has so many of them: nobody uses them up with what is never created."""
    key = {"idempotency-key": "once"}
    first = await kept.client.post("/v1/runs", json={"task": TASK}, headers=key)
    assert first.status_code == 202
    body = {"task": TASK, **hook(target)}
    refused = await kept.client.post("/v1/runs", json=body, headers=key)
    assert refused.status_code == 422
    assert await list_endpoints(kept.services.settings, "default") == []
    await create(kept, TASK, **hook(target))
    assert len(await list_endpoints(kept.services.settings, "default")) == 1


async def test_a_request_that_waits_or_streams_is_shown_the_secret_too(
    kept: Product, target: CountingTarget
) -> None:
    waited = await kept.client.post("/v1/runs?wait=20", json={"task": TASK, **hook(target, "/a")})
    assert (waited.status_code, SECRET_HEADER in waited.headers) == (200, True)
    accept = {"accept": "text/event-stream"}
    body = {"task": TASK, **hook(target, "/b")}
    streamed = await kept.client.post("/v1/runs", json=body, headers=accept)
    assert SECRET_HEADER in streamed.headers
    await target.arrived("/b")
    verify(streamed.headers[SECRET_HEADER], received(target, "/b")[0])


async def test_secrets_are_in_no_log(
    kept: Product, target: CountingTarget, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "signalbox")
    target.reply("/hook", status=410)
    created = await create(kept, TASK, **hook(target, "/hook?token=canary"))
    await delivery(kept, created.json()["id"], "disabled")
    assert "is disabled" in caplog.text
    for secret in (created.headers[SECRET_HEADER].removeprefix("whsec_"), "canary"):
        assert secret not in caplog.text
