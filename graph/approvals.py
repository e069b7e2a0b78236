"""Asks people: one interrupt for each question, in nodes that do nothing else, between two steps of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt
from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue

from agents._kit.outcomes import failed_outcome
from domain.agent import AgentOutcome, AgentSpec
from domain.approval import VERBS, Ask, Decision, PausedWork
from domain.events import SUPERVISOR
from domain.run import RunContext
from graph.deadline import Deadline
from graph.spending import ASK, Node, after_spending, finish, refused
from graph.state import AgentInput, State


async def ask_person(state: Ask) -> State:
    """Interrupt with one question; resumed with a decision, return it.

    Nothing stands before or beside the interrupt: LangGraph runs this from its first line again.
    """
    decision = interrupt(dict(state), response_schema=_decision_type(state))
    return {"decisions": {state["id"]: decision.answer()}}


def _decision_type(ask: Ask) -> type[Decision]:
    """Return `Decision` with the JSON schema of one question, which clients make a form of.

    Of an edit only the name is checked when the graph is resumed: that its arguments still fit a tool
    which has changed since is the tool's to say, to the agent, and no reason to ask for ever.
    """
    schema, allowed, tool = ask["response_schema"], VERBS[ask["type"]], ask["tool"]

    class AboutThis(Decision):
        @model_validator(mode="after")
        def _is_about_this(self) -> Self:
            if self.type not in allowed:
                msg = f"type {self.type!r} does not answer this; it may be {', '.join(allowed)}"
                raise ValueError(msg)
            if self.edited_action and tool and self.edited_action.name != tool:
                msg = f"an edit of {self.edited_action.name[:80]!r}: this asks about {tool!r}"
                raise ValueError(msg)
            return self

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

    def __init__(self, decide: Node, agents: Mapping[str, AgentSpec], deadline: Deadline) -> None:
        self._decide = decide
        self._agents = agents
        self._deadline = deadline

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> Command[Any]:
        """Return where the run goes on."""
        spending = state.get("spending")
        if spending:
            return after_spending(spending, state)
        question = state.get("question")
        if question:
            return _after_question(question, state)
        over = self._deadline.over(state, runtime)
        if over:
            return over
        paused = [work for _, work in sorted(state.get("paused", {}).items()) if work]
        if not paused:
            return await self._decide(state, runtime)
        decisions = state.get("decisions", {})
        # Agents that reach the same limit ask the same question.
        asks = {a["id"]: a for work in paused for a in work["asks"] if a["id"] not in decisions}
        if asks:
            return Command(goto=[Send(ASK, ask) for ask in asks.values()])
        return self._go_on(state, paused)

    def _go_on(self, state: State, paused: list[PausedWork]) -> Command[Any]:
        decisions = cast("dict[str, dict[str, Any]]", state.get("decisions", {}))
        there = [work for work in paused if work["assignment"]["agent"] in self._agents]
        outcomes = [_gone(work) for work in paused if work not in there]
        update: State = {
            # Cleared in the step that hands them on, so that a checkpoint holds each of them once.
            "paused": {work["assignment"]["path"]: None for work in paused},
            "decisions": dict.fromkeys(decisions),
        }
        broke = {w["assignment"]["path"]: ask for w in there if (ask := _denied(w, decisions))}
        ends = next((ask for ask in broke.values() if ask["agent"] == SUPERVISOR), None)
        if ends:
            # Nobody of the run may spend anything more: what waits for other reasons ends as well.
            outcomes += [
                unpaid(work, self._agents, broke.get(work["assignment"]["path"], ends))
                for work in there
            ]
            return finish(ends["description"], {**update, "outcomes": outcomes})
        outcomes += [
            unpaid(work, self._agents, broke[work["assignment"]["path"]])
            for work in there
            if work["assignment"]["path"] in broke
        ]
        there = [work for work in there if work["assignment"]["path"] not in broke]
        if outcomes:
            update["outcomes"] = outcomes
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


def _denied(work: PausedWork, decisions: Mapping[str, Mapping[str, Any]]) -> Ask | None:
    """Return the question about a budget that was answered with no, where the work has asked one."""
    asks = [ask for ask in work["asks"] if refused(ask, decisions[ask["id"]])]
    return asks[0] if asks else None


def unpaid(work: PausedWork, agents: Mapping[str, AgentSpec], ask: Ask) -> AgentOutcome:
    """Return the outcome of work that may not go on."""
    assignment = work["assignment"]
    detail = f"It was not finished, because no more may be spent: {ask['description']}"
    return failed_outcome(
        assignment, agents[assignment["agent"]], model="", code="budget-exhausted", detail=detail
    )


def _gone(work: PausedWork) -> Any:  # noqa: ANN401 - an outcome
    name = work["assignment"]["agent"]
    return failed_outcome(
        work["assignment"],
        AgentSpec(name=name, description="No longer part of this server."),
        model="",
        code="run-incompatible",
        detail=f"The agent {name} is no longer part of this server; what it had asked for was not done.",
    )
