"""Notes to runs under way: read by the next decision, in order, and none is accepted that nobody reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from domain.notes import MAX_NOTES, NOTE_CHARS
from tests.fakes.model_script import ModelRequest, Reply, Rule, When, make_route
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import SECONDS, Arriving, composer, unauthorised, worker

TASK: Final = "Count the trains"
PLAN: Final = [("coder", "Do it")]
PLAN_AFTER: Final = [("analyst", "Weigh it")]


class Deciding:
    """A supervisor that answers with plans in turn and then finishes; keeps what it was asked."""

    def __init__(self, *plans: list[tuple[str, str]]) -> None:
        self._left = list(plans)
        self.asked: list[str] = []
        self.systems: list[str] = []

    def __call__(self, request: ModelRequest) -> Reply:
        """Answer a request of the fake model server."""
        self.asked.append(request.user)
        self.systems.append(request.system)
        plan = self._left.pop(0) if self._left else []
        return Reply.json(make_route(plan, "As planned."))


def supervisor(deciding: Deciding, *, user: str | None = None, gate: str | None = None) -> Rule:
    """Return the rule of a supervisor."""
    when = When(system="^You supervise", user=user)
    return Rule(when=when, reply=deciding, gate=gate, optional=user is not None)


async def started(product: Product, **body: Any) -> str:
    created = await product.client.post("/v1/runs", json={"task": TASK, **body})
    assert created.status_code == 202, created.text
    return str(created.json()["id"])


async def send(product: Product, run_id: str, text: str, **headers: str) -> httpx.Response:
    """Send a note."""
    path = f"/v1/runs/{run_id}/notes"
    return await product.client.post(path, json={"text": text}, headers=headers)


async def noted(product: Product, run_id: str, text: str) -> str:
    """Send a note that is accepted; return its id."""
    answer = await send(product, run_id, text)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def decisions_of(product: Product, run_id: str) -> list[dict[str, Any]]:
    events = await product.events(run_id)
    return [e["data"] for e in events if e["type"] == "supervisor.decision"]


def notes_in(prompt: str) -> list[str]:
    """Return the notes of a prompt, each as `number text`, with a star where it is new."""
    found = []
    for part in prompt.split('<note number="')[1:]:
        number, _, rest = part.partition('"')
        head, _, text = rest.partition(">\n")
        found.append(f"{number}{'*' if head == ' new' else ''} {text.partition(chr(10))[0]}")
    return found


async def test_a_note_is_read_by_the_next_decision_and_kept(
    modelled: Product, models: FakeModelServer
) -> None:
    """New to one decision, known to those after it, in order; agents of later rounds have it too."""
    first = Arriving(Reply(text="It is 4711."))
    deciding = Deciding(PLAN, [("analyst", "Weigh it")])
    models.event("work")
    models.add(
        supervisor(deciding),
        worker("Do it", first, gate="work"),
        worker("Weigh it", Reply(text="Heavy.")),
        composer(Reply(text="4711, heavy.")),
    )
    run_id = await started(modelled)
    await first.wait()
    answer = await send(modelled, run_id, "Weigh it too.")
    assert answer.status_code == 202
    assert answer.json().keys() == {"id", "text", "by", "at"}
    assert (answer.json()["text"], answer.json()["by"]) == ("Weigh it too.", "default")
    second = await noted(modelled, run_id, "In tonnes.")
    models.event("work").set()
    run = await modelled.ended(run_id)
    assert (run["status"], run["degraded"]) == ("completed", [])
    assert [notes_in(prompt) for prompt in deciding.asked] == [
        [],
        ["1* Weigh it too.", "2* In tonnes."],
        ["1 Weigh it too.", "2 In tonnes."],
    ]
    assert "sent notes" not in deciding.systems[0]
    assert "sent notes" in deciding.systems[1]
    [weighing] = [r for r in models.requests if "<assignment>\nWeigh it\n" in r.user]
    assert "In tonnes." in weighing.user
    [composing] = [r for r in models.requests if r.system.startswith("Write the final answer")]
    assert "In tonnes." in composing.user
    events = await modelled.events(run_id)
    told = [e["data"]["note"] for e in events if e["type"] == "note.added"]
    assert [note["id"] for note in told] == [answer.json()["id"], second]
    assert told[0] == answer.json()
    decisions = await decisions_of(modelled, run_id)
    assert [d.get("notes") for d in decisions] == [None, [answer.json()["id"], second], None]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_note_that_comes_while_the_end_is_decided_is_looked_at_first(
    modelled: Product, models: FakeModelServer
) -> None:
    """The decision to end stands in the log, and so does the one that was taken after it."""
    deciding = Deciding(PLAN, [("analyst", "Weigh it")])
    ending = Arriving(Reply.route())
    gate = models.event("end")
    models.add(
        Rule(
            when=When(system="^You supervise", user="<results>"),
            reply=ending,
            gate="end",
            times=1,
        ),
        supervisor(deciding),
        worker("Do it", Reply(text="It is 4711.")),
        worker("Weigh it", Reply(text="Heavy.")),
        composer(Reply(text="4711, heavy.")),
    )
    run_id = await started(modelled)
    await ending.wait()
    note = await noted(modelled, run_id, "Weigh it too.")
    gate.set()
    run = await modelled.ended(run_id)
    assert (run["status"], run["rounds"]) == ("completed", 2)
    assert run["result"]["output"] == "4711, heavy."
    decisions = await decisions_of(modelled, run_id)
    shown = [([a["agent"] for a in d["assignments"]], d.get("notes")) for d in decisions]
    assert shown == [(["coder"], None), ([], None), (["analyst"], [note]), ([], None)]


async def test_a_note_to_the_answer_is_refused(modelled: Product, models: FakeModelServer) -> None:
    """What is about to end, or has ended, says so and what to do instead."""
    writing = Arriving(Reply(text="Both."))
    gate = models.event("answer")
    models.add(
        supervisor(Deciding([*PLAN, ("analyst", "Weigh it")])),
        worker("Do it", Reply(text="It is 4711.")),
        worker("Weigh it", Reply(text="Heavy.")),
        Rule(when=When(system="^Write the final answer"), reply=writing, gate="answer"),
    )
    run_id = await started(modelled)
    await writing.wait()
    problem = assert_problem(await send(modelled, run_id, "Wait!"), "run-terminal")
    assert "about to end" in problem["detail"]
    assert "thread_id" in problem["detail"]
    gate.set()
    run = await modelled.ended(run_id)
    assert run["status"] == "completed"
    assert (
        "has ended"
        in assert_problem(await send(modelled, run_id, "Now?"), "run-terminal")["detail"]
    )
    assert not [e for e in await modelled.events(run_id) if e["type"] == "note.added"]


async def test_none_of_many_is_accepted_and_not_read(
    modelled: Product, models: FakeModelServer
) -> None:
    """Whoever sends while a run ends is refused, or one of its decisions names the note."""
    models.add(supervisor(Deciding(PLAN)), worker("Do it", Reply(text="It is 4711.")))
    run_id = await started(modelled)
    accepted: list[str] = []

    async def keep_sending(name: str) -> None:
        for number in range(MAX_NOTES):
            answer = await send(modelled, run_id, f"{name} {number}")
            if answer.status_code != 202:
                assert answer.json()["code"] in {"run-terminal", "validation-error"}
                return
            accepted.append(answer.json()["id"])

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        for name in ("ada", "bob", "cy"):
            tasks.create_task(keep_sending(name))
    run = await modelled.ended(run_id)
    assert run["status"] == "completed"
    assert accepted
    read = [each for d in await decisions_of(modelled, run_id) for each in d.get("notes", [])]
    assert sorted(read) == sorted(accepted)


async def test_a_note_to_a_run_that_waits_is_read_when_it_goes_on(
    modelled: Product, models: FakeModelServer
) -> None:
    """One that waits for its turn reads it in its first decision, one that asks a person in the next."""
    deciding, other = Deciding(PLAN), Deciding(PLAN)
    models.event("work")
    models.add(
        supervisor(other, user="Second task"),
        supervisor(deciding),
        Rule(
            when=When(schema=False, user=f"<task>\n{TASK}\n(?s:.*)<assignment>", after_tool=False),
            reply=Reply.calls(("ask_user", {"question": "Which trains?"})),
        ),
        Rule(when=When(schema=False, after_tool=True), reply=Reply(text="Two.")),
        worker("Do it", Reply(text="Three.")),
    )
    first = await modelled.run(TASK)
    run = first.json()
    assert run["status"] == "requires_action", run
    body = {"task": "Second task", "thread_id": run["thread_id"]}
    queued = (await modelled.client.post("/v1/runs", json=body)).json()
    assert queued["status"] == "queued"
    await noted(modelled, queued["id"], "At night.")
    await noted(modelled, run["id"], "By day.")
    [approval_id] = run["required_action"]["approval_ids"]
    decision = {"type": "respond", "message": "All of them."}
    path = f"/v1/approvals/{approval_id}/decision"
    assert (await modelled.client.post(path, json=decision)).status_code == 200
    for run_id in (run["id"], queued["id"]):
        assert (await modelled.ended(run_id))["status"] == "completed"
    assert [notes_in(prompt) for prompt in deciding.asked] == [[], ["1* By day."]]
    assert [notes_in(prompt) for prompt in other.asked] == [["1* At night."], ["1 At night."]]


async def test_a_note_that_no_round_is_left_for_is_named(
    modelled: Product, models: FakeModelServer
) -> None:
    """Whether it came before the last decision, which could do nothing about it, or after."""
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    models.add(
        supervisor(Deciding(PLAN, [("analyst", "Weigh it")])),
        worker("Do it", working, gate="work"),
    )
    run_id = await started(modelled, budget={"max_rounds": 1})
    await working.wait()
    note = await noted(modelled, run_id, "Weigh it too.")
    gate.set()
    run = await modelled.ended(run_id)
    assert (run["status"], run["stop_reason"]) == ("incomplete", "max_rounds")
    [part] = [part for part in run["degraded"] if note in part["reason"]]
    assert part["agent"] == "supervisor"
    assert "all its rounds are used up" in part["reason"]
    assert note in run["result"]["output"]


async def test_a_last_decision_is_not_the_last_when_a_note_has_come(
    modelled: Product, models: FakeModelServer
) -> None:
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    deciding = Deciding()
    route = {**make_route(PLAN, "As planned."), "last": True}
    models.add(
        Rule(when=When(system="^You supervise", user="<results>"), reply=deciding),
        Rule(when=When(system="^You supervise"), reply=Reply.json(route)),
        worker("Do it", working, gate="work"),
    )
    run_id = await started(modelled)
    await working.wait()
    await noted(modelled, run_id, "Is that all?")
    gate.set()
    assert (await modelled.ended(run_id))["status"] == "completed"
    assert [notes_in(prompt) for prompt in deciding.asked] == [["1* Is that all?"]]


async def test_the_same_work_may_be_given_again_after_a_note(
    modelled: Product, models: FakeModelServer
) -> None:
    """What would be a stall is none when the caller has said something."""
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    models.add(
        supervisor(Deciding(PLAN, PLAN)),
        Rule(when=When(schema=False, user="Look again"), reply=Reply(text="It is 4712.")),
        worker("Do it", working, gate="work", times=1),
        composer(Reply(text="4712.")),
    )
    run_id = await started(modelled)
    await working.wait()
    await noted(modelled, run_id, "Look again.")
    gate.set()
    run = await modelled.ended(run_id)
    assert (run["status"], run["rounds"], run["degraded"]) == ("completed", 2, [])


async def test_a_note_saves_a_run_that_is_stopped_for_want_of_progress(
    modelled: Product, models: FakeModelServer
) -> None:
    """What was said of the stop goes with it."""
    stalled = Arriving(Reply.route(*PLAN))
    gate = models.event("stalled")
    models.add(
        Rule(when=When(user="^That decision brings nothing new"), reply=stalled, gate="stalled"),
        supervisor(Deciding(PLAN_AFTER), user="<notes>"),
        supervisor(Deciding(PLAN, PLAN)),
        Rule(when=When(schema=False, user="Weigh it"), reply=Reply(text="Heavy.")),
        worker("Do it", Reply(text="It is 4711."), times=1),
        composer(Reply(text="4711, heavy.")),
    )
    run_id = await started(modelled)
    await stalled.wait()
    await noted(modelled, run_id, "Weigh it too.")
    gate.set()
    run = await modelled.ended(run_id)
    assert (run["status"], run["stop_reason"], run["degraded"]) == ("completed", "done", [])
    assert run["rounds"] == 2


async def test_a_supervisor_that_cannot_be_reached_follows_no_note(
    modelled: Product, models: FakeModelServer
) -> None:
    """The run ends with what it has, and names the note."""
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    models.add(
        Rule(when=When(system="^You supervise", user="<results>"), reply=unauthorised().reply),
        supervisor(Deciding(PLAN)),
        worker("Do it", working, gate="work"),
    )
    run_id = await started(modelled)
    await working.wait()
    note = await noted(modelled, run_id, "Weigh it too.")
    gate.set()
    run = await modelled.ended(run_id)
    assert run["result"]["output"].startswith("It is 4711.")
    assert f"the note {note} was not followed" in str(run["degraded"])


async def test_the_offline_planner_says_that_it_cannot_follow(start: Start) -> None:
    """In its decision and in what is missing; the result is what it would have been."""
    async with start() as product:
        busy = await product.client.post(
            "/v1/runs", json={"task": "What is 17% of 80?", "approvals": {"mode": "always"}}
        )
        run_id = busy.json()["id"]
        note = await noted(product, run_id, "Answer in French.")
        waiting = (await product.client.get(f"/v1/runs/{run_id}?wait=20")).json()
        for approval_id in (waiting["required_action"] or {}).get("approval_ids", []):
            path = f"/v1/approvals/{approval_id}/decision"
            await product.client.post(path, json={"type": "approve"})
        run = await product.ended(run_id)
        decisions = await decisions_of(product, run_id)
    assert (run["status"], run["engine"]) == ("completed", "offline")
    assert "13.6" in run["result"]["output"]
    assert [part["agent"] for part in run["degraded"]] == ["supervisor"]
    reason = f"{note}: the offline planner cannot follow notes"
    assert run["degraded"][0]["reason"] == reason
    assert reason in "".join(decision["reason"] for decision in decisions)


@pytest.mark.parametrize("text", ["", "   ", "a\x00b", "x" * (NOTE_CHARS + 1), None, 3])
async def test_what_says_nothing_or_too_much_is_refused(product: Product, text: Any) -> None:
    created = await product.client.post("/v1/runs", json={"task": TASK})
    path = f"/v1/runs/{created.json()['id']}/notes"
    answer = await product.client.post(path, json={"text": text})
    problem = assert_problem(answer, "validation-error")
    assert [fault["pointer"] for fault in problem["errors"]] == ["/text"]


async def test_a_run_takes_so_many_notes(modelled: Product, models: FakeModelServer) -> None:
    gate = models.event("work")
    working = Arriving(Reply(text="It is 4711."))
    deciding = Deciding(PLAN)
    models.add(supervisor(deciding), worker("Do it", working, gate="work"))
    run_id = await started(modelled)
    await working.wait()
    for number in range(MAX_NOTES):
        await noted(modelled, run_id, f"{number} " + "x" * (NOTE_CHARS - 3))
    full = assert_problem(await send(modelled, run_id, "One more"), "validation-error")
    assert f"{MAX_NOTES} notes" in full["detail"]
    gate.set()
    run = await modelled.ended(run_id)
    assert run["status"] == "completed"
    assert len(notes_in(deciding.asked[1])) == MAX_NOTES
    assert len(deciding.asked[1]) < 40_000


async def test_only_who_may_write_here_sends_notes(start: Start, models: FakeModelServer) -> None:
    """By another tenant there is no such run; the log names the key."""
    models.event("work")
    working = Arriving(Reply(text="It is 4711."))
    models.add(supervisor(Deciding(PLAN)), worker("Do it", working, gate="work"))
    async with start(models=models) as product:
        _, author = await issue(product, tenant="one")
        key, other = await issue(product, tenant="one")
        _, reader = await issue(product, "runs:read", tenant="one")
        _, stranger = await issue(product, tenant="two")
        created = await product.client.post("/v1/runs", json={"task": TASK}, headers=author)
        run_id = created.json()["id"]
        await working.wait()
        assert_problem(await send(product, run_id, "Hi", **reader), "forbidden")
        assert_problem(await send(product, run_id, "Hi", **stranger), "not-found")
        assert_problem(await send(product, "run_0", "Hi", **author), "not-found")
        answer = await send(product, run_id, "Hi", **other)
        assert (answer.status_code, answer.json()["by"]) == (202, key.id)
        models.event("work").set()
        path = f"/v1/runs/{run_id}"
        await product.client.get(f"{path}?wait=20", headers=author)


async def test_an_answer_with_a_note_is_given_to_nobody_else(
    start: Start, models: FakeModelServer
) -> None:
    """Not to one that waited for it either: that is worked on as if the other were not there. What an agent
    has come to before the note may be had, nothing that it came to after."""
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    models.add(
        supervisor(Deciding(PLAN_AFTER), user="<results>(?s:.*)<notes>"),
        Rule(when=When(system="^You supervise", user="<results>"), reply=Reply.route()),
        Rule(when=When(system="^You supervise"), reply=Reply.route(*PLAN)),
        Rule(when=When(schema=False, user="Round it"), reply=Reply(text="It is 4700."), times=2),
        worker("Do it", working, gate="work", times=1),
    )
    async with start(models=models, cache_seconds=3600) as product:
        first = await started(product)
        await working.wait()
        follower = await started(product)
        await noted(product, first, "Round it.")
        third = await started(product)
        gate.set()
        runs = [await product.ended(run_id) for run_id in (first, follower, third)]
        later = await product.ended(await started(product))
    assert [run["status"] for run in runs] == ["completed"] * 3
    assert runs[0]["result"]["output"] == "It is 4700."
    assert [run["result"]["output"] for run in (*runs[1:], later)] == ["It is 4711."] * 3
    assert later["cache"]["run_id"] in {follower, third}


async def test_a_follower_that_gets_a_note_is_worked_on_by_itself(
    start: Start, models: FakeModelServer
) -> None:
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    models.add(
        Rule(when=When(system="^You supervise", user="<results>"), reply=Reply.route()),
        Rule(when=When(system="^You supervise"), reply=Reply.route(*PLAN)),
        Rule(when=When(schema=False, user="Round it"), reply=Reply(text="It is 4700.")),
        worker("Do it", working, gate="work", times=1),
    )
    async with start(models=models, cache_seconds=3600) as product:
        leader = await started(product)
        await working.wait()
        follower = await started(product)
        await noted(product, follower, "Round it.")
        alone = await product.ended(follower)
        gate.set()
        led = await product.ended(leader)
    assert alone["result"]["output"] == "It is 4700."
    assert (led["result"]["output"], alone["cache"]) == ("It is 4711.", None)


async def test_notes_are_exported_and_deleted_with_their_run(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """And no file of the database has them after that."""
    url = f"sqlite:///{tmp_path}/data/runs.db"
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    models.add(supervisor(Deciding(PLAN)), worker("Do it", working, gate="work"))
    async with start(models=models, database_url=url) as product:
        run_id = await started(product)
        await working.wait()
        note = await noted(product, run_id, "canary-of-the-note-77a0")
        gate.set()
        await product.ended(run_id)
        exported = (await product.client.get(f"/v1/runs/{run_id}/export")).json()
        assert [each["id"] for each in exported["notes"]] == [note]
        assert exported["notes"][0]["text"] == "canary-of-the-note-77a0"
        deleted = await product.client.delete(f"/v1/runs/{run_id}")
        assert deleted.status_code == 204
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        kept = [await asyncio.to_thread(path.read_bytes) for path in files]
    assert kept
    assert not any(b"canary-of-the-note" in content for content in kept)


async def test_a_retry_keeps_the_notes_and_reads_those_that_came_too_late(
    modelled: Product, models: FakeModelServer
) -> None:
    working = Arriving(Reply(text="It is 4711."))
    gate = models.event("work")
    deciding = Deciding(PLAN, [("analyst", "Weigh it")], [("analyst", "Weigh it")])
    models.add(
        supervisor(deciding),
        worker("Do it", working, gate="work"),
        worker("Weigh it", Reply(text="Heavy.")),
        composer(Reply(text="4711, heavy.")),
    )
    run_id = await started(modelled, budget={"max_rounds": 1})
    await working.wait()
    await noted(modelled, run_id, "Weigh it too.")
    gate.set()
    assert (await modelled.ended(run_id))["status"] == "incomplete"
    again = await modelled.client.post(
        f"/v1/runs/{run_id}/retry", json={"budget": {"max_rounds": 3}}
    )
    assert again.status_code == 202, again.text
    run = await modelled.ended(run_id)
    assert (run["status"], run["degraded"]) == ("completed", [])
    assert [notes_in(prompt) for prompt in deciding.asked[2:]] == [
        ["1* Weigh it too."],
        ["1 Weigh it too."],
    ]
