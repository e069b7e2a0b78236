"""A note that was accepted is read, also where the process is killed right after."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import StartService
from tests.e2e.models import Hanging, Models, agent
from tests.fakes.model_server import Reply, Rule, When


@pytest.mark.slow
def test_a_note_accepted_before_a_kill_is_read_once_as_new(
    serve: StartService, models: Models
) -> None:
    """By the decision after the work that the kill has cut off, and known to the one after that."""
    hanging = Hanging(When(system=agent("coder")), Reply(text="It is 4711."))
    models.add(
        Rule(
            when=When(schema=True, user=r'<note number="1" new>'),
            reply=Reply.route(("analyst", "Weigh it")),
        ),
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(("coder", "Do it"))),
        *hanging.rules,
    )
    service = serve(models=models)
    run_id = service.create("Count the trains")
    hanging.wait()
    answer = service.client.post(f"/v1/runs/{run_id}/notes", json={"text": "Weigh it too."})
    assert answer.status_code == 202, answer.text
    service.process.kill()

    service = serve(models=models)
    run = service.ended(run_id)
    assert (run["status"], run["attempt"], run["rounds"]) == ("completed", 2, 2)
    assert run["result"]["agents"].keys() == {"coder", "analyst"}
    events = service.events(run_id)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["data"]["note"] for e in events if e["type"] == "note.added"] == [answer.json()]
    decisions = [e["data"] for e in events if e["type"] == "supervisor.decision"]
    assert [d.get("notes") for d in decisions] == [None, [answer.json()["id"]], None]
    assert models.asked(schema=True, user=r'<note number="1" new>') == 1
    assert models.asked(schema=True, user=r'<note number="1">') == 1
