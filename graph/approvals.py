"""Asks people: one interrupt for each question, in nodes that do nothing else, between two steps of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt
from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

from agents._kit.outcomes import failed_outcome
from domain.agent import AgentSpec
from domain.approval import Ask, Decision, PausedWork
from domain.run import RunContext
from graph.state import AgentInput, State
from graph.supervisor import Supervisor

ASK: Final = "ask"
"""The node that asks."""


async def ask_person(state: Ask) -> State:
    """Interrupt with one question; resumed with a decision, return it.

    Nothing stands before or beside the interrupt: LangGraph runs this from its first line again.
    """
    decision = interrupt(dict(state), response_schema=_decision_type(state["response_schema"]))
    return {"decisions": {state["id"]: decision.answer()}}


def _decision_type(schema: dict[str, Any]) -> type[Decision]:
    """Return `Decision` with the JSON schema of one question, which clients make a form of.

    Only the form of a decision is checked when the graph is resumed: that an edit still fits a tool
    which has changed since is the tool's to say, to the agent, and no reason to ask for ever.
    """

    class AboutThis(Decision):
        @classmethod
        def __get_pydantic_json_schema__(
            cls, core_schema: object, handler: GetJsonSchemaHandler
        ) -> JsonSchemaValue:
            del core_schema, handler
            return schema

    return AboutThis


class Asking:
    """The node between rounds: while agents or the validator wait it asks and lets the run go on, else the
    supervisor decides."""

    def __init__(self, decide: Supervisor, agents: Mapping[str, AgentSpec]) -> None:
        self._decide = decide
        self._agents = agents

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> Command[Any]:
        """Return where the run goes on."""
        question = state.get("question")
        if question:
            return _after_question(question, state)
        paused = [work for _, work in sorted(state.get("paused", {}).items()) if work]
        if not paused:
            return await self._decide(state, runtime)
        decisions = state.get("decisions", {})
        asks = [ask for work in paused for ask in work["asks"] if ask["id"] not in decisions]
        if asks:
            return Command(goto=[Send(ASK, ask) for ask in asks])
        return self._go_on(state, paused)

    def _go_on(self, state: State, paused: list[PausedWork]) -> Command[Any]:
        decisions = cast("dict[str, dict[str, Any]]", state.get("decisions", {}))
        there = [work for work in paused if work["assignment"]["agent"] in self._agents]
        gone = [work for work in paused if work not in there]
        update: State = {
            # Cleared in the step that hands them on, so that a checkpoint holds each of them once.
            "paused": {work["assignment"]["path"]: None for work in paused},
            "decisions": dict.fromkeys(decisions),
        }
        if gone:
            update["outcomes"] = [_gone(work) for work in gone]
        sends = [
            Send(
                work["assignment"]["agent"],
                AgentInput(
                    task=state["task"],
                    results="",
                    assignment=work["assignment"],
                    paused=work,
                    decisions={ask["id"]: decisions[ask["id"]] for ask in work["asks"]},
                ),
            )
            for work in there
        ]
        return Command(goto=sends or "supervisor", update=update)


def _after_question(question: Ask, state: State) -> Command[Any]:
    """Return the way to the answer with what a person said, or back to the person."""
    decision = state.get("decisions", {}).get(question["id"])
    if decision is None:
        return Command(goto=[Send(ASK, question)])
    # An approval that has expired is decided too, but by nobody.
    said = str(decision.get("message", "")) if decision.get("type") == "respond" else ""
    update: State = {"question": None, "decisions": {question["id"]: None}, "settled": said}
    return Command(goto="answer", update=update)


def _gone(work: PausedWork) -> Any:  # noqa: ANN401 - an outcome
    name = work["assignment"]["agent"]
    return failed_outcome(
        work["assignment"],
        AgentSpec(name=name, description="No longer part of this server."),
        model="",
        code="run-incompatible",
        detail=f"The agent {name} is no longer part of this server; what it had asked for was not done.",
    )
