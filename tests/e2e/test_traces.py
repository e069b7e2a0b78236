"""A run that one process began and another ended is one trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import completed
from tests.fakes.collector import Collector, assert_whole, collector, tree
from tests.fakes.model_server import Reply, When

TASK = "Compare three ways to keep time at sea"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def collected() -> Iterator[Collector]:
    """Run a collector."""
    with collector() as found:
        yield found


def test_a_run_that_a_kill_has_cut_in_two_is_one_trace(
    serve: StartService, models: Models, folder: Path, collected: Collector
) -> None:
    """Two of three agents have ended, and their calls are sent; every span is there once, and so is its parent."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="By the stars."))
    models.add(*hanging.rules)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    service = serve(models=models, **env)
    response = service.client.post(
        "/v1/runs", json={"task": TASK}, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
    )
    run_id = response.json()["id"]
    hanging.wait()
    service.follow_until(run_id, completed("analyst", "coder"))
    collected.wait(lambda seen: sum(span.name.startswith("chat ") for span in seen) >= 3)
    service.process.kill()
    before = [span for span in collected.seen if span.trace_id == TRACE]
    assert before

    service = serve(models=models, **env)
    run = service.ended(run_id)
    assert (run["status"], run["attempt"], run["trace_id"]) == ("completed", 2, TRACE)
    spans = collected.of_run(run)
    assert_whole(spans, above=SPAN)
    assert {span.span_id for span in before} < {span.span_id for span in spans}
    work = Counter(name for _, name in tree(spans) if name.startswith("invoke_agent"))
    assert work == {f"invoke_agent {name}": 1 for name in ("analyst", "coder", "researcher")}
    calls = [span for span in spans if span.name.startswith("chat ")]
    attempts = Counter(span.attributes["signalbox.attempt"] for span in calls)
    assert attempts == {1: 3, 2: 3}, (
        "a decision and two agents; then the third, a decision, the answer"
    )
    [top] = [span for span in spans if span.name.startswith("invoke_workflow")]
    assert (top.parent_id, top.attributes["signalbox.run.attempts"]) == (SPAN, 2)
    assert ("run.resumed", {"cause": "recovery", "attempt": 2}) in top.moments


def test_what_sends_traces_is_loaded_where_it_is_wanted(start_process: StartProcess) -> None:
    """It takes long, and most have no collector."""
    program = """if True:
        import asyncio, sys
        from service.settings import prepare_environment, read_settings
        settings = read_settings(database_url="memory://", sandbox="off")
        prepare_environment()
        from service.bootstrap import open_services
        async def main():
            async with open_services(settings):
                return [name for name in sys.modules if name.startswith("opentelemetry.exporter")]
        print(bool(asyncio.run(main())))
    """
    for env, loaded in (
        ({}, "False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "True"),
    ):
        process = start_process("-c", program, **env)
        assert process.ended() == 0, process.stderr
        assert process.stdout.split() == [loaded]
