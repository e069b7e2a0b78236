"""Reads out of a checkpoint what a fork begins with, and plants it.

A seed is JSON and needs nothing of the run it was taken from. What people were asked is asked anew, under ids of
the new run; what they had decided counts for that run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import TASKS
from langgraph.types import Command, PregelTask, Send, StateSnapshot

from domain.approval import Ask, PausedWork, ask_id
from domain.errors import RunFailedError
from domain.forking import Seed, SeedSend
from graph.filling import FILL
from graph.spending import ASK
from graph.state import State, Workflow, merge_outcomes

SUPERVISOR: Final = "supervisor"
ANSWER: Final = "answer"


class Point(NamedTuple):
    """A checkpoint of a run's own graph, with the work that was sent out at it."""

    snapshot: StateSnapshot
    sends: tuple[Send, ...]
    last: bool
    """Whether it is where the run stands: only then what single agents have finished since counts too."""


async def read_point(workflow: Workflow, snapshot: StateSnapshot, *, last: bool) -> Point:
    """Return a checkpoint with its sends, of which a snapshot leaves out those to agents that are gone."""
    saver = workflow.checkpointer
    saved = (
        await saver.aget_tuple(snapshot.config) if isinstance(saver, BaseCheckpointSaver) else None
    )
    sends = saved.checkpoint["channel_values"].get(TASKS, ()) if saved else ()
    return Point(snapshot, tuple(sends), last)


def refusal(snapshot: StateSnapshot) -> str | None:
    """Return why nothing can be forked from a checkpoint; `None` where something can."""
    if snapshot.values.get("final") is not None or snapshot.next or not snapshot.values:
        return None
    return "nothing comes after it"


def make_seed(
    point: Point, workflow: Workflow, *, run_id: str, task: str | None, planned_by_rule: bool
) -> Seed:
    """Return what a fork begins with; `task` takes the place of the one before.

    Without another task it goes on as the run would have: what was sent out is sent out again, but for what has
    ended. With one, or after an end, the supervisor decides anew, with all results that there are; but rules
    (`planned_by_rule`) cannot tell which results another task can use, so with another task they have none.
    Raises `RunFailedError` where the next step is none of this server.
    """
    state = cast("State", dict(point.snapshot.values))
    if "task" not in state or (task is not None and planned_by_rule):
        return Seed()  # from the start, as at the very first checkpoint, where nothing has begun
    sends = _not_ended(point, state)
    final = state.get("final")
    composing = final is not None and FILL in point.snapshot.next
    if task is not None or (final is not None and not composing):
        return Seed(state=_cleared(state, sends, task), goto=SUPERVISOR)
    state.update({"final": None, "replanned": 0})
    goto = _next_node(point.snapshot, workflow)
    goto = _without_questions(state, goto)
    work = _work_of(state, sends, run_id)
    paused = {each.arg["assignment"]["path"]: each.arg["paused"] for each in work if _asks(each)}
    sent = tuple(each for each in work if not _asks(each))
    rounds = [each.arg["assignment"]["round"] for each in work]
    state.update({"paused": paused, "decisions": {}})
    state["begun"] = min([r - 1 for r in rounds] or [state.get("round", 0)])
    question = state.get("question")
    if question:
        state["question"] = _of_run(question, run_id)
    return Seed(state=dict(state), goto=None if sent else goto, sends=sent)


def _not_ended(point: Point, state: State) -> list[Send]:
    """Return the work of a step that has not ended; what has ended goes into the state."""
    ended: set[int] = set()
    for task in point.snapshot.tasks if point.last else ():
        result, place = task.result, _place(task)
        if not isinstance(result, dict) or place is None:
            continue
        ended.add(place)
        state["outcomes"] = merge_outcomes(state.get("outcomes", []), result.get("outcomes", []))
        state["paused"] = {**state.get("paused", {}), **result.get("paused", {})}
    return [send for index, send in enumerate(point.sends) if index not in ended]


def _place(task: PregelTask) -> int | None:
    """Return which of the step's sends a task is; `None` for one that none has led to."""
    place = task.path[1] if len(task.path) > 1 else None
    return place if isinstance(place, int) else None


def _next_node(snapshot: StateSnapshot, workflow: Workflow) -> str:
    """Return the node that comes next, of those that are no agents."""
    # Who is asked, is asked by the supervisor's node; what was to be filled in is composed anew.
    places = {ASK: SUPERVISOR, FILL: ANSWER}
    single = (task.name for task in snapshot.tasks if _place(task) is None)
    name = next(single, SUPERVISOR)
    name = places.get(name, name)
    if name not in workflow.nodes:
        msg = f"The run waits for {name!r}, which this server does not have."
        raise RunFailedError(msg, code="run-incompatible")
    return name


def _without_questions(state: State, goto: str) -> str:
    """Take out what is asked about the budget: a fork has spent nothing. Return which node comes next."""
    spending = state.get("spending")
    if not spending:
        return goto
    state["spending"] = None
    return spending["node"]


def _work_of(state: State, sends: Iterable[Send], run_id: str) -> list[SeedSend]:
    """Return the assignments that are to be worked on, those that wait for a person with what they ask."""
    found = [SeedSend(node=send.node, arg=dict(send.arg)) for send in sends if send.node != ASK]
    found += [
        SeedSend(
            node=work["assignment"]["agent"],
            arg={
                "task": state["task"],
                "results": "",
                "assignment": work["assignment"],
                "paused": work,
            },
        )
        for _, work in sorted(state.get("paused", {}).items())
        if work
    ]
    return [_asking_anew(each, run_id) for each in found]


def _asking_anew(send: SeedSend, run_id: str) -> SeedSend:
    """Return work whose questions are those of another run, and undecided. About a budget nothing is asked."""
    paused: PausedWork | None = send.arg.get("paused")
    if paused is None:
        return send
    asks = [_of_run(ask, run_id) for ask in paused["asks"] if ask["type"] != "budget"]
    work = {**paused, "asks": asks}
    return SeedSend(node=send.node, arg={**send.arg, "paused": work, "decisions": {}})


def _asks(send: SeedSend) -> bool:
    return bool(send.arg.get("paused", {}).get("asks"))


def _of_run(ask: Ask, run_id: str) -> Ask:
    return {**ask, "id": ask_id(run_id, ask["round"], ask["path"], ask["call"])}


def _cleared(state: State, sends: Sequence[Send], task: str | None) -> dict[str, Any]:
    """Return a state at which the supervisor decides anew: results stay, failures and what was begun go.

    It takes a round of its own, so that what was decided last does not count as the latest.
    """
    round_ = state.get("round", 0)
    begun = {send.arg["assignment"]["round"] for send in sends if "assignment" in send.arg}
    begun |= {work["assignment"]["round"] for work in state.get("paused", {}).values() if work}
    outcomes = state.get("outcomes", [])
    completed = [each for each in outcomes if each["status"] == "completed"]
    begun -= {each["round"] for each in completed}
    kept: State = {
        "task": state["task"] if task is None else task,
        "round": round_ + 1,
        "begun": round_ + 1,
        "routes": [each for each in state.get("routes", []) if each["round"] not in begun],
        "outcomes": completed,
        "checks": state.get("checks", []),
        "stop_reason": "done",
    }
    if "settled" in state and task is None:
        kept["settled"] = state["settled"]
    return dict(kept)


async def plant(workflow: Workflow, config: RunnableConfig, seed: Seed) -> StateSnapshot:
    """Return the checkpoint at which a fork begins, as its first: one write, which a crash leaves out or in.

    Raises `RunFailedError` where nothing of what comes next is part of this server.
    """
    sends = [Send(each.node, each.arg) for each in seed.sends]
    going: Command[Any] = Command(update=seed.state, goto=sends or seed.goto or SUPERVISOR)
    # The supervisor's node takes every way there is.
    await workflow.aupdate_state(config, going, as_node=SUPERVISOR)
    return await workflow.aget_state(config)


def own_part(state: State, seed: Seed) -> State:
    """Return of a fork's state what is its own: what it began with is told by the log of the other run.

    The decisions that it carries out are its own too.
    """
    begun = cast("State", seed.state)
    sent = {each.arg["assignment"]["round"] for each in seed.sends}
    sent |= {work["assignment"]["round"] for work in begun.get("paused", {}).values() if work}
    routes = {
        (each["round"], each.get("check", 0))
        for each in begun.get("routes", [])
        if each["round"] not in sent
    }
    outcomes = {(each["round"], each["path"]) for each in begun.get("outcomes", [])}
    checks = {each["number"] for each in begun.get("checks", [])}
    return {
        **state,
        "routes": [
            each
            for each in state.get("routes", [])
            if (each["round"], each.get("check", 0)) not in routes
        ],
        "outcomes": [
            each
            for each in state.get("outcomes", [])
            if (each["round"], each["path"]) not in outcomes
        ],
        "checks": [each for each in state.get("checks", []) if each["number"] not in checks],
    }
