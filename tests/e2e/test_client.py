"""The Python client while the server is killed under it."""

from __future__ import annotations

import signal

import pytest

from signalbox import Event, Retries, Signalbox
from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Hanging, Models, agent
from tests.e2e.processes import BOUND
from tests.fakes.model_server import Reply, When

TASK = "Compare three ways to keep time at sea"


@pytest.mark.slow
def test_a_stream_goes_on_when_the_server_is_killed_and_started_again(
    serve: StartService, signalbox: StartProcess, models: Models
) -> None:
    """The iterator that was opened before the kill gives every event once, and the answer as it came to be."""
    hanging = Hanging(When(system=agent("researcher")), Reply(text="By the stars."))
    models.add(*hanging.rules)
    service = serve(models=models)
    port = service.base_url.rpartition(":")[2]
    seen: list[Event] = []
    killed_at = 0
    again = service.process
    retries = Retries(stream_attempts=30, longest_pause=1.0)
    with Signalbox(service.base_url, retries=retries) as client:
        run = client.runs.create(TASK)
        with client.runs.events(run.id, within=2 * BOUND) as stream:
            for event in stream:
                seen.append(event)
                done = sum(each.type == "agent.completed" for each in seen)
                if done == 2 and not killed_at:
                    hanging.wait()
                    service.process.kill()
                    killed_at = len(seen)
                    again = signalbox("serve", "--port", port, OPENAI_BASE_URL=models.base_url)
            text = stream.text
        ended = client.runs.get(run.id)
        stored = [(e.seq, e.type) for e in client.runs.stored_events(run.id)]
    assert (ended.status, ended.attempt, ended.output) == ("completed", 2, text)
    assert 0 < killed_at < len(seen)
    assert [(e.seq, e.type) for e in seen if e.seq] == stored
    assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))
    assert [e.data["cause"] for e in seen if e.type == "run.resumed"] == ["recovery"]
    again.send(signal.SIGTERM)
    assert again.ended() == 0
