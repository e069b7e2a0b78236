"""The last node: ends the graph with an answer that names what is missing, or with why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langgraph.runtime import Runtime
from langgraph.types import Command

from agents._kit.faults import LENGTH
from agents._kit.models import ModelGateway
from domain.agent import AgentOutcome
from domain.ledger import ActionLedger, Doubt
from domain.notes import NO_NOTES
from domain.ports import RunRef
from domain.run import RunContext, RunStatus, StopReason
from graph.checks import standing, summarise_checks
from graph.composer import Composer
from graph.context import run_context
from graph.filling import FILL
from graph.state import AgentShare, Failure, FinalAnswer, Missing, State, rounds_of
from graph.steering import Steering
from tools.registry import Toolbox

FLAWS: Final = "What does not hold in this answer:"


class AnswerNode:
    """Says how a run ends, and with what."""

    def __init__(
        self,
        gateway: ModelGateway,
        ledger: ActionLedger,
        toolbox: Toolbox,
        steering: Steering | None = None,
    ) -> None:
        self._compose = Composer(gateway)
        self._steering = steering or Steering(NO_NOTES, gateway)
        self._ledger = ledger
        self._toolbox = toolbox

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> State | Command[Any]:
        """Return the run's end: an answer with what is missing, or why there is none. Or the way back, where
        the caller has said something meanwhile."""
        context = run_context(runtime)
        late = await self._steering.end(state, context)
        if isinstance(late, Command):
            return late
        outcomes = standing(state.get("outcomes", []), state.get("checks", []))
        accepted = [o for o in outcomes if o["status"] == "completed"]
        stop = state.get("stop_reason", "done")
        failure = state.get("failure")
        rounds = rounds_of(state)
        doubts = await self._ledger.doubts(RunRef(context.tenant_id, context.run_id))
        if not accepted:
            failure = _with_doubts(failure or _nobody_answered(state, outcomes), doubts)
            stop = _why_nobody(outcomes) if stop == "done" else stop
            final = _end("failed", stop, rounds, context.attempt)
            return {"final": {**final, "failure": failure, "agents": share_by_agent(outcomes)}}
        missing = list(state.get("missing", [])) + late + missing_agents(outcomes)
        missing += [Missing(agent=doubt.agent, reason=doubt.sentence) for doubt in doubts]
        missing += missing_tools(accepted, self._toolbox) + missing_ends(accepted)
        composed, more = await self._compose(state, runtime, accepted, missing)
        validation, flaws = summarise_checks(state)
        if flaws:
            told = "\n".join(f"- {flaw['agent']}: {flaw['reason']}" for flaw in flaws)
            composed = composed._replace(output=f"{composed.output}\n\n{FLAWS}\n{told}")
        if validation and validation["verdict"] == "reject" and stop == "done":
            stop = "no_progress"
        status: RunStatus = "completed" if stop == "done" else "incomplete"
        final = _end(status, stop, rounds, context.attempt)
        final |= {
            "output": composed.output,
            "citations": composed.citations,
            "missing": [*missing, *more, *flaws],
            "validation": validation,
            "agents": share_by_agent(outcomes),
            # Of those too that stand no longer: others have worked on with them.
            "fleeting": any(is_fleeting(o, self._toolbox) for o in state.get("outcomes", [])),
            "in_vain": any(map(is_in_vain, outcomes)),
        }
        if context.output_schema is None:
            return {"final": final}
        return Command(goto=FILL, update={"final": final})


def missing_agents(outcomes: Sequence[AgentOutcome]) -> list[Missing]:
    """Return the agents whose last word was a failure: one that succeeded later is not missing."""
    last = {o["agent"]: o for o in sorted(outcomes, key=lambda o: o["round"])}
    failed_beside = {
        o["agent"]: o
        for o in outcomes
        if o["status"] == "failed" and o["round"] == last[o["agent"]]["round"]
    }
    return [
        Missing(agent=name, reason=o["error"]["detail"])
        for name, o in failed_beside.items()
        if o["error"]
    ]


def missing_tools(outcomes: Sequence[AgentOutcome], toolbox: Toolbox) -> list[Missing]:
    """Return the tools that agents called in vain, because they are off on this server."""
    called = {
        (outcome["agent"], call["tool"])
        for outcome in outcomes
        for turn in outcome["turns"]
        for call in turn["calls"]
        if call["tool"] in toolbox.names
    }
    off = [(agent, name, toolbox.get(name).off_reason) for agent, name in sorted(called)]
    return [Missing(agent=agent, reason=f"{name}: {why}") for agent, name, why in off if why]


def is_fleeting(outcome: AgentOutcome, toolbox: Toolbox) -> bool:
    """Return whether a result rests on the web, or on what nobody can tell."""
    calls = {call["tool"] for turn in outcome["turns"] for call in turn["calls"]}
    return (
        outcome.get("opaque", False)
        or outcome.get("fleeting", False)
        or any(name not in toolbox.names or toolbox.get(name).web for name in calls)
    )


def is_in_vain(outcome: AgentOutcome) -> bool:
    """Return whether a call of the last ones has failed: the same work may come to more a moment later."""
    called = [turn["calls"] for turn in outcome["turns"] if turn["calls"]]
    return bool(called) and any(call["status"] == "failed" for call in called[-1])


def missing_ends(outcomes: Sequence[AgentOutcome]) -> list[Missing]:
    """Return the agents whose results break off: whoever composes the answer may not say so."""
    cut = [o["agent"] for o in outcomes if o["turns"] and o["turns"][-1]["finish_reason"] in LENGTH]
    reason = "its result was cut off at the limit of tokens for one answer"
    return [Missing(agent=name, reason=reason) for name in dict.fromkeys(cut)]


def _why_nobody(outcomes: Sequence[AgentOutcome]) -> StopReason:
    """Return why a run fails whose supervisor was done with it."""
    codes = {outcome["error"]["code"] for outcome in outcomes if outcome["error"]}
    return "budget" if codes == {"budget-exhausted"} else "error"


def _nobody_answered(state: State, outcomes: Sequence[AgentOutcome]) -> Failure:
    late = state.get("stop_reason") == "deadline"
    told = [f"{o['agent']}: {o['error']['detail']}" for o in outcomes if o["error"]]
    told += [f"{part['agent']}: {part['reason']}" for part in state.get("missing", [])]
    if late and not told:
        told = ["The run's time was over before any had ended."]
    reasons = "; ".join(dict.fromkeys(told))
    return Failure(
        code="deadline-exceeded" if late else "agents-failed",
        detail=f"No agent produced a result. {reasons}".strip(),
    )


def _with_doubts(failure: Failure, doubts: Sequence[Doubt]) -> Failure:
    """Return the failure with what may have happened all the same."""
    told = " ".join(f"{doubt.agent}: {doubt.sentence}." for doubt in doubts)
    return Failure(code=failure["code"], detail=f"{failure['detail']} {told}".strip())


def share_by_agent(outcomes: Sequence[AgentOutcome]) -> dict[str, AgentShare]:
    """Return what each agent contributed: its completed outputs in order, else why it failed."""
    shares: dict[str, AgentShare] = {}
    for name in dict.fromkeys(o["agent"] for o in outcomes):
        own = [o for o in outcomes if o["agent"] == name]
        outputs = [o["output"] for o in own if o["status"] == "completed"]
        errors = [o["error"]["detail"] for o in own if o["error"]]
        shares[name] = AgentShare(
            status="completed" if outputs else "failed",
            output="\n\n".join(outputs),
            error=errors[-1] if errors else None,
        )
    return shares


def _end(status: RunStatus, stop: StopReason, rounds: int, attempt: int) -> FinalAnswer:
    return FinalAnswer(
        status=status,
        stop_reason=stop,
        output="",
        citations=[],
        missing=[],
        failure=None,
        agents={},
        rounds=rounds,
        attempt=attempt,
    )
