"""What is left or in doubt: who may take it up, and that it is told before the end, once, whoever tells of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain.approval import action_id, ask_id
from domain.errors import OwnershipLostError
from domain.events import Event, EventDraft
from domain.ledger import ActionCall, Standing
from domain.ports import RunRef
from service.store import SqlRunStore, actions
from tests.contract.factories import LATER, NOW, add_running, last_draft, make_artifact, make_ending

WHY = "no answer came"


def make_action(ref: RunRef) -> ActionCall:
    return ActionCall(
        ref=ref,
        attempt=1,
        id=ask_id(ref.run_id, 1, "coder", "0.0"),
        agent="coder",
        tool="http_request",
        args={"url": "http://127.0.0.1:1/orders"},
        path="coder",
        round=1,
        call="0.0",
        steps={},
    )


async def start(store: SqlRunStore) -> ActionCall:
    """Return an action of a run that executes, which is being carried out."""
    action = make_action(await add_running(store))
    standing = await store.database.write(actions.start, action, NOW)
    assert standing.found == "begun"
    return action


async def leave(store: SqlRunStore, action: ActionCall) -> None:
    """Record that nobody knows how the action ended."""
    await store.database.write(actions.end, action, Standing("ended", "in_doubt", WHY), NOW)


def told_by_agent(action: ActionCall) -> EventDraft:
    """Return the event as the agent tells it."""
    about = {"id": action_id(action.id), "tool": action.tool, "status": "in_doubt"}
    place: dict[str, Any] = {"path": "coder", "round": 1, "call": "0.0", "agent": "coder"}
    return EventDraft(type="action.in_doubt", data={"action": about, "detail": WHY}, **place)


async def end(store: SqlRunStore, ref: RunRef, *drafts: EventDraft) -> list[Event]:
    """End the run with these events; return all that its log then has."""
    done = await store.finish(
        ref,
        attempt=1,
        ending=make_ending(),
        drafts=[*drafts, last_draft("completed")],
        now=LATER,
    )
    assert done is not None
    events = await store.events(ref, after=0, limit=10)
    assert [event.seq for event in events] == list(range(1, done[0].last_seq + 1))
    return events


def doubts(events: list[Event]) -> list[Any]:
    assert events[-1].type == "run.completed"
    return [event.data for event in events if event.type == "action.in_doubt"]


@pytest.mark.parametrize("told", ["never", "before", "at the end"])
async def test_a_doubt_is_told_once_whoever_tells_of_it(store: SqlRunStore, told: str) -> None:
    """An agent that ran out of its time has recorded it, and did not come to say so."""
    action = await start(store)
    await leave(store, action)
    draft = told_by_agent(action)
    if told == "before":
        await store.append(action.ref, attempt=1, drafts=[draft], calls=[], now=NOW)
    events = await end(store, action.ref, *([draft] if told == "at the end" else []))
    assert doubts(events) == [draft.data]
    run = await store.get(action.ref)
    assert run is not None
    assert [each.status for each in run.actions] == ["in_doubt"]


async def test_what_is_still_being_carried_out_at_the_end_is_in_doubt(store: SqlRunStore) -> None:
    action = await start(store)
    [doubt] = doubts(await end(store, action.ref))
    assert doubt["detail"] == "The run ended while this was being carried out."


async def test_what_was_left_is_taken_over_by_the_newer_attempt_alone(store: SqlRunStore) -> None:
    left = await start(store)
    assert await store.claim(left.ref, now=LATER) is not None
    newer = replace(left, attempt=2)
    standing = await store.database.write(actions.start, newer, LATER)
    assert standing.found == "left"
    with pytest.raises(OwnershipLostError):
        await store.database.write(actions.start_again, left, LATER)
    await store.database.write(actions.start_again, newer, LATER)
    with pytest.raises(OwnershipLostError):
        await store.database.write(actions.end, left, Standing("ended", "in_doubt", WHY), LATER)
    done = Standing("ended", "done", "Ordered.", [make_artifact()])
    await store.database.write(actions.end, newer, done, LATER)
    assert await store.database.write(actions.start, newer, LATER) == done
