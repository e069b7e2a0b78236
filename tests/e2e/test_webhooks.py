"""Webhooks over a kill, and the command that listens to them."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import Webhook

from service.deliveries import PER_HOST
from tests.e2e.conftest import StartProcess, StartService
from tests.fakes.http_target import CountingTarget, target_in_thread

TASK = "What is 17% of 80?"


def ids(target: CountingTarget) -> list[str]:
    """Return the id of every delivery that arrived."""
    return [request.headers["webhook-id"] for request in target.requests]


def test_a_delivery_outlives_a_kill(serve: StartService) -> None:
    """The end is committed and the receiver has not answered yet: the next process sends it again."""
    with target_in_thread() as target:
        gate = target.hold("/hook")
        service = serve()
        run_id = service.create(TASK, webhook={"url": target.url("/hook")})
        target.wait_for("/hook")
        assert service.ended(run_id)["status"] == "completed"
        service.process.kill()
        gate.open()
        serve()
        target.wait_for("/hook", 2)
        assert len(set(ids(target))) == 1
        assert len({request.body for request in target.requests}) == 1


def test_a_delivery_that_was_committed_and_never_sent_is_sent(serve: StartService) -> None:
    """The receiver has as many as it may have at a time, so the last one is a row and no more."""
    with target_in_thread() as target:
        gate = target.hold("/hook")
        service = serve()
        hook = {"url": target.url("/hook")}
        runs = [service.create(TASK, webhook=hook) for _ in range(PER_HOST + 1)]
        assert {service.ended(run_id)["status"] for run_id in runs} == {"completed"}
        target.wait_for("/hook", PER_HOST)
        sent = set(ids(target))
        service.process.kill()
        gate.open()
        serve()
        target.wait_for("/hook", 2 * PER_HOST + 1)
        [late] = set(ids(target)) - sent
        assert ids(target).count(late) == 1


def test_a_secret_is_made_beside_a_running_server(
    serve: StartService, signalbox: StartProcess
) -> None:
    """Its database is a file that it has locked; the command changes a row of its own."""
    with target_in_thread() as target:
        service = serve()
        url = target.url("/hook")
        made = signalbox("webhooks", "secret", url)
        assert made.ended() == 0, made.stderr
        secret = made.stdout.strip()
        service.create(TASK, webhook={"url": url})
        target.wait_for("/hook")
        [request] = target.requests
        Webhook(secret).verify(request.body, request.headers)
        again = signalbox("webhooks", "secret", url)
        assert "shown before" in again.refused()
        listed = signalbox("webhooks", "list")
        assert (listed.ended(), url in listed.stdout, secret in listed.stdout) == (0, True, False)


def signed(secret: str, body: str, moment: datetime) -> dict[str, str]:
    """Return the headers of a delivery."""
    return {
        "webhook-id": "whd_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("whd_1", moment, body),
    }


def test_listen_shows_and_verifies_what_comes(signalbox: StartProcess) -> None:
    secret, other = ("whsec_" + letter * 40 for letter in "AB")
    process = signalbox("webhooks", "listen", "--port", "0", "--secret", secret)
    url = process.says(r"Listening at (http://\S+):")[1]
    body = '{"type":"run.completed","timestamp":"now","data":{"run":{"id":"run_1"}}}'
    now = datetime.now(UTC)
    old = datetime(2020, 1, 1, tzinfo=UTC)
    answers = [
        httpx.post(url, content=body, headers=signed(*each), trust_env=False).status_code
        for each in ((secret, body, now), (other, body, now), (secret, body, old))
    ]
    assert answers == [204, 401, 401]
    process.send(signal.SIGINT)
    process.ended()
    lines = process.stdout.splitlines()
    assert [line.rpartition("whd_1  ")[2] for line in lines] == [
        "ok",
        "REFUSED: No matching signature found",
        "REFUSED: Message timestamp too old",
    ]


def test_listen_prints_a_line_of_json_for_each(signalbox: StartProcess) -> None:
    process = signalbox("webhooks", "listen", "--port", "0", "--json")
    url = process.says(r"Listening at (http://\S+):")[1]
    for body in ('{"type":"run.completed","data":{"run":{}}}', "no JSON"):
        httpx.post(url, content=body, headers={"webhook-id": "whd_1"}, trust_env=False)
    process.send(signal.SIGINT)
    process.ended()
    first, second = [json.loads(line) for line in process.stdout.splitlines()]
    assert (first["delivery_id"], first["refused"]) == ("whd_1", None)
    assert (first["body"]["type"], second["body"]) == ("run.completed", None)


def test_the_access_log_of_another_server_has_no_links(start_process: StartProcess) -> None:
    """Whoever reads it may not decide."""
    process = start_process("-m", "uvicorn", "api:app", "--port", "0")
    url = process.says(r"Uvicorn running on (http://\S+) ")[1]
    assert httpx.get(f"{url}/approve/sesame", trust_env=False).status_code == 404
    process.send(signal.SIGTERM)
    process.ended()
    assert '"path":"/approve/***"' in process.stderr
    assert "sesame" not in process.stdout + process.stderr
