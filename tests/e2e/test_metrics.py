"""Metrics of many processes: each tells what it has done itself, and their sum is what was done."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.places import Places
from tests.chaos.site import Site
from tests.e2e.models import Models

pytestmark = pytest.mark.slow


@pytest.fixture
def site(models: Models) -> Iterator[Site]:
    """Return a Postgres with a folder."""
    # Not pytest's folder: another pytest may close it to the user as whom Postgres runs.
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder, Places(Path(folder)) as places:
        site = places.site("site", "postgres", models)
        yield site
        site.close()


def total(text: str, name: str, **labels: str) -> float:
    """Return the sum of what has these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_a_worker_shows_what_it_has_executed(site: Site) -> None:
    """The API process has answered the requests and executed nothing; both end in good order."""
    worker = site.start("worker", "--metrics-port", "0")
    shown = worker.says(r"Metrics are at (http://\S+/metrics)")[1]
    api = site.listening(site.start("serve", "--port", "0", "--no-worker"))
    run = api.ended(api.create("What is 6 * 7?"))
    assert run["status"] == "completed"
    executed = httpx.get(shown).text
    answered = api.client.get("/metrics").text
    assert total(executed, "signalbox_runs_total", status="completed") == 1
    assert total(executed, "signalbox_agent_assignments_total", status="completed") >= 1
    assert total(executed, "signalbox_http_request_duration_seconds_count") == 0
    assert "signalbox_runs_in_flight" not in executed
    assert total(answered, "signalbox_runs_total") == 0
    assert total(answered, "signalbox_http_request_duration_seconds_count", status="202") == 1
    assert total(answered, "signalbox_database_up") == 1


def test_a_port_that_is_taken_is_one_line(site: Site) -> None:
    """A worker that could not be watched does not start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        worker = site.start("worker", "--metrics-port", port)
        assert worker.ended() == 2
    assert re.search(rf"--metrics-port {port} on 127\.0\.0\.1 cannot be used", worker.stderr)
    assert "Traceback" not in worker.stderr
