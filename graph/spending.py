"""Lets a node go on with what a person said to it, where a model call of it did not fit the run's budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from domain.approval import Ask
from domain.budget import budget_ask
from domain.errors import BudgetReachedError
from domain.events import SUPERVISOR
from domain.run import RunContext
from graph.context import run_context
from graph.state import Missing, SpendingQuestion, State

ASK: Final = "ask"
"""The node that asks."""

Node = Callable[[State, Runtime[RunContext]], Awaitable[Command[Any]]]


class Spending:
    """A node that asks a person where it may not spend what it needs, and is then called again."""

    def __init__(self, name: str, node: Node) -> None:
        self._name = name
        self._node = node

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> Command[Any]:
        """Return where the run goes on."""
        try:
            return await self._node(state, runtime)
        except BudgetReachedError as error:
            if not error.asks:
                return finish(error.detail)
            ask = budget_ask(error, run_context(runtime).run_id)
            question = SpendingQuestion(ask=ask, node=self._name)
            return Command(goto=[Send(ASK, ask)], update={"spending": question})


def after_spending(question: SpendingQuestion, state: State) -> Command[Any]:
    """Return the way back to the node that has asked, or to the answer with what there is."""
    ask = question["ask"]
    decision = state.get("decisions", {}).get(ask["id"])
    if decision is None:
        return Command(goto=[Send(ASK, ask)])
    cleared: State = {"spending": None, "decisions": {ask["id"]: None}}
    if refused(ask, decision):
        if ask["agent"] != SUPERVISOR:
            # About its own limit: the node is to do without, and has to find the no.
            return Command(goto=question["node"], update={"spending": None})
        return finish(ask["description"], cleared)
    return Command(goto=question["node"], update=cleared)


def refused(ask: Ask, decision: Mapping[str, Any]) -> bool:
    """Return whether a person wants the run to finish with what there is, or said nothing in time."""
    return ask["type"] == "budget" and decision.get("type") != "edit"


def finish(why: str, update: State | None = None) -> Command[Any]:
    """Return the way to the answer of a run that may spend no more."""
    missing = Missing(agent=SUPERVISOR, reason=f"the budget is reached: {why}")
    return Command(
        goto="answer",
        update={**(update or {}), "stop_reason": "budget", "missing": [missing]},
    )
