"""Makes stored events out of checkpointed state: live, and again after a crash, with the same keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from langchain_core.messages import AnyMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import StateSnapshot

from agents._kit.outcomes import message_drafts, outcome_drafts
from domain.approval import AskRaised, PausedWork
from domain.events import SUPERVISOR, EventDraft
from domain.routing import RouteRecord
from domain.validation import VALIDATOR, CheckRecord
from graph.state import FinalAnswer, State, Workflow, place_of_route


def decision_draft(route: RouteRecord) -> EventDraft:
    """Return the event of one Route as it was carried out."""
    shown = ("agent", "task", "tier")
    assignments = [{k: v for k, v in a.items() if k in shown} for a in route["assignments"]]
    data = {"reason": route["reason"], "assignments": assignments}
    if route.get("read"):
        data["notes"] = route["read"]
    after = f"~{route['notes']}" if route.get("notes") else ""
    return EventDraft(
        type="supervisor.decision",
        agent=SUPERVISOR,
        path=SUPERVISOR,
        round=route["round"],
        call=f"{route.get('check', '')}{after}",
        data=data,
    )


def check_draft(check: CheckRecord) -> EventDraft:
    """Return the event of one check."""
    return EventDraft(
        type="validation.completed",
        agent=VALIDATOR,
        path=VALIDATOR,
        round=check["round"],
        call=str(check["number"]),
        data={
            "verdict": check["verdict"],
            "reasons": check["reasons"],
            "by": check["by"],
            "disagreements": check["disagreements"],
        },
    )


def answer_draft(final: FinalAnswer, round_: int) -> EventDraft | None:
    """Return the final answer as a message of the supervisor, if there is an answer."""
    if not final["output"]:
        return None
    data = {
        "message_id": answer_message_id(round_),
        "text": final["output"],
        "finish_reason": "stop",
    }
    return EventDraft(
        type="message.completed",
        agent=SUPERVISOR,
        path=SUPERVISOR,
        round=round_,
        call="answer",
        data=data,
    )


def retry_draft(
    round_: int,
    call: str,
    reason: str,
    delay: float,
    number: int,
    *,
    agent: str = SUPERVISOR,
) -> EventDraft:
    """Return the event that the supervisor, or the validator, calls its model again."""
    return EventDraft(
        type="agent.retrying",
        agent=agent,
        path=agent,
        round=round_,
        call=call,
        data={"reason": reason, "delay_seconds": delay, "try": number},
    )


def answer_message_id(round_: int) -> str:
    """Return the id of the final answer's message."""
    return f"msg_{round_}.{SUPERVISOR}.answer"


def update_drafts(update: State, round_: int) -> Iterator[EventDraft | AskRaised]:
    """Return the events of one node's update (or of a whole state), in order."""
    routes = sorted(update.get("routes", []), key=place_of_route)
    outcomes = sorted(update.get("outcomes", []), key=lambda outcome: outcome["round"])
    rounds = sorted({r["round"] for r in routes} | {o["round"] for o in outcomes})
    for number in rounds:
        yield from (decision_draft(route) for route in routes if route["round"] == number)
        for outcome in outcomes:
            if outcome["round"] == number:
                yield from outcome_drafts(outcome)
    for _, work in sorted(update.get("paused", {}).items()):
        if work:
            yield from paused_drafts(work)
    yield from (check_draft(check) for check in update.get("checks", []))
    question = update.get("question")
    if question:
        yield AskRaised(ask=question)
    spending = update.get("spending")
    if spending:
        yield AskRaised(ask=spending["ask"])
    final = update.get("final")
    answer = answer_draft(final, round_) if final else None
    if answer:
        yield answer


def paused_drafts(work: PausedWork) -> Iterator[EventDraft | AskRaised]:
    """Return what an assignment leaves behind that waits for a person: its turns, and what it asks."""
    agent = work["assignment"]["agent"]
    messages = cast("list[AnyMessage]", messages_from_dict(work["messages"]))
    yield from message_drafts(agent, messages)
    yield from (AskRaised(ask=ask) for ask in work["asks"])


async def unfinished_drafts(workflow: Workflow, snapshot: StateSnapshot) -> list[EventDraft]:
    """Return the events of agents that a crash stopped midway, from their own checkpoints.

    What they had done by then is not done again, so nobody else would report it.
    """
    saver = workflow.checkpointer
    drafts: list[EventDraft] = []
    if not isinstance(saver, BaseCheckpointSaver):
        return drafts
    for task in snapshot.tasks:
        config: RunnableConfig = {
            "configurable": {
                "thread_id": snapshot.config["configurable"]["thread_id"],
                "checkpoint_ns": f"{task.name}:{task.id}",
            }
        }
        saved = await saver.aget_tuple(config)
        messages = saved.checkpoint["channel_values"].get("messages") if saved else None
        if isinstance(messages, list):
            drafts += message_drafts(task.name, messages)
    return drafts
