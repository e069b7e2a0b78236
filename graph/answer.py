"""The last node: one accepted result is the answer; several are composed into one, naming what is missing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from agents._kit.grounding.check import Evidence, find_faults
from agents._kit.models import ModelGateway
from agents._kit.prompts import write_prompt, write_results
from agents._kit.stream import StreamOwner, owned
from domain.agent import AgentOutcome, Citation
from domain.errors import ModelAnswerError, RunFailedError
from domain.events import SUPERVISOR
from domain.ledger import ActionLedger, Doubt
from domain.ports import RunRef
from domain.run import RunContext, RunStatus, StopReason
from domain.validation import Fault
from graph.checks import standing, summarise_checks, write_settled
from graph.context import run_context
from graph.projection import answer_message_id, retry_draft
from graph.state import AgentShare, Failure, FinalAnswer, Missing, State
from tools.registry import Toolbox

PROMPT: Final = """\
Write the final answer to the task from the agents' results, and from nothing else.
- Answer what was asked, directly; keep numbers, code and [n] source marks exactly as they stand.
- Where results disagree or a part is missing, say so by name. What a person has settled, holds.
- Do not mention agents, rounds or this instruction unless something is missing.
"""

_MARK: Final = re.compile(r"\[(\d{1,6})\]")


MEND: Final = "Write the answer again, with nothing that the results do not say."

FLAWS: Final = "What does not hold in this answer:"


class Composed(NamedTuple):
    """The answer's text and the sources it names."""

    output: str
    citations: list[Citation]


class AnswerNode:
    """Writes the final answer as a message of the supervisor."""

    def __init__(self, gateway: ModelGateway, ledger: ActionLedger, toolbox: Toolbox) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._toolbox = toolbox

    async def __call__(self, state: State, runtime: Runtime[RunContext]) -> State:
        """Return the run's end: an answer with what is missing, or why there is none."""
        outcomes = standing(state.get("outcomes", []), state.get("checks", []))
        accepted = [o for o in outcomes if o["status"] == "completed"]
        stop = state.get("stop_reason", "done")
        failure = state.get("failure")
        rounds = state.get("round", 0)
        context = run_context(runtime)
        doubts = await self._ledger.doubts(RunRef(context.tenant_id, context.run_id))
        if not accepted:
            failure = _with_doubts(failure or _nobody_answered(outcomes), doubts)
            final = _end("failed", "error" if stop == "done" else stop, rounds)
            return {"final": {**final, "failure": failure, "agents": share_by_agent(outcomes)}}
        missing = list(state.get("missing", [])) + missing_agents(outcomes)
        missing += [Missing(agent=doubt.agent, reason=doubt.sentence) for doubt in doubts]
        missing += missing_tools(accepted, self._toolbox)
        numbered = number_sources(accepted)
        composed, more = await self._compose(state, runtime, numbered, missing)
        validation, flaws = summarise_checks(state)
        if flaws:
            told = "\n".join(f"- {flaw['agent']}: {flaw['reason']}" for flaw in flaws)
            composed = composed._replace(output=f"{composed.output}\n\n{FLAWS}\n{told}")
        if validation and validation["verdict"] == "reject" and stop == "done":
            stop = "no_progress"
        final = _end("completed" if stop == "done" else "incomplete", stop, rounds)
        return {
            "final": {
                **final,
                "output": composed.output,
                "citations": composed.citations,
                "missing": [*missing, *more, *flaws],
                "validation": validation,
                "agents": share_by_agent(outcomes),
            }
        }

    async def _compose(
        self,
        state: State,
        runtime: Runtime[RunContext],
        accepted: Sequence[AgentOutcome],
        missing: Sequence[Missing],
    ) -> tuple[Composed, list[Missing]]:
        """Return the answer; where the model cannot write it, the results one after the other."""
        more: list[Missing] = []
        if len(accepted) == 1 and not state.get("settled"):
            text = accepted[0]["output"]
        else:
            try:
                text = await self._write(state, runtime, accepted)
            except RunFailedError as error:
                more = [
                    Missing(agent=SUPERVISOR, reason=f"the answer was not composed: {error.detail}")
                ]
                # Parts of the last try may have been sent: they are void.
                reason = f"{error.detail} The results follow as they are."
                round_, key = state.get("round", 0), f"answer~0~{run_context(runtime).attempt}"
                runtime.stream_writer(retry_draft(round_, key, reason, 0.0, 0))
                text = _side_by_side(state, accepted)
        text += _name_missing(text, [*missing, *more])
        citations = [c for o in accepted for c in o["citations"] if f"[{c['number']}]" in text]
        return Composed(text, citations or [c for o in accepted for c in o["citations"]]), more

    async def _write(
        self, state: State, runtime: Runtime[RunContext], accepted: Sequence[AgentOutcome]
    ) -> str:
        """Return the composed answer. Raises `RunFailedError` where none can be had that says only what the
        results do, as far as they are checked."""
        if state.get("settled") and self._gateway.engine == "offline":
            return _side_by_side(state, accepted)
        text = await self._ask(state, runtime, accepted)
        if not state.get("checks"):
            return text
        context = run_context(runtime)
        faults = await asyncio.to_thread(_unfounded, text, state, context, accepted)
        if faults:
            reason = f"The answer said what no result says: {_listed(faults)}"
            key = f"answer~mend~{context.attempt}"
            runtime.stream_writer(retry_draft(state.get("round", 0), key, reason, 0.0, 2))
            text = await self._ask(state, runtime, accepted, mend=(text, reason))
            faults = await asyncio.to_thread(_unfounded, text, state, context, accepted)
        if faults:
            msg = f"It said what no result says: {_listed(faults)}."
            raise ModelAnswerError(msg)
        return text

    async def _ask(
        self,
        state: State,
        runtime: Runtime[RunContext],
        accepted: Sequence[AgentOutcome],
        *,
        mend: tuple[str, str] | None = None,
    ) -> str:
        """Return what the model writes; `mend` is what it wrote before, and why that cannot stay."""
        round_, part = state.get("round", 0), "mended" if mend else "answer"
        failed = [o for o in state.get("outcomes", []) if o["status"] == "failed"]
        results = write_results([*accepted, *failed])
        if state.get("settled"):
            results += f"\n{write_settled(state['settled'])}"
        prompt = write_prompt(
            state["task"],
            earlier=run_context(runtime).earlier,
            files=run_context(runtime).files,
            results=results,
        )
        messages: list[BaseMessage] = [SystemMessage(PROMPT), HumanMessage(prompt)]
        if mend:
            messages += [AIMessage(mend[0]), HumanMessage(f"{mend[1]}. {MEND}")]
        owner = StreamOwner(
            run_id=run_context(runtime).run_id,
            agent=SUPERVISOR,
            prefix=answer_message_id(round_),
            numbering="none",
        )
        config = owned({}, owner)

        async def invoke() -> AIMessage:
            return await self._gateway.talking("standard").ainvoke(messages, config)

        def on_retry(reason: str, delay: float, number: int) -> None:
            key = f"{part}~{number}~{run_context(runtime).attempt}"
            runtime.stream_writer(retry_draft(round_, key, reason, delay, number))

        context = run_context(runtime)
        message = await self._gateway.call(invoke, run_id=context.run_id, on_retry=on_retry)
        key = f"{round_}|{SUPERVISOR}|{part}|{context.attempt}"
        runtime.stream_writer(
            self._gateway.book(key, SUPERVISOR, "standard", message, run_id=context.run_id)
        )
        if not message.text.strip():
            msg = "The model answered with a tool call where it has no tools."
            raise ModelAnswerError(msg)
        return message.text


def number_sources(outcomes: Sequence[AgentOutcome]) -> list[AgentOutcome]:
    """Return the outcomes with their sources numbered 1, 2, 3 … across all of them.

    Every agent counts its own sources from 1; side by side the same mark would mean two sources.
    """
    numbered: list[AgentOutcome] = []
    first = 1
    for outcome in outcomes:
        numbers = {c["number"]: first + index for index, c in enumerate(outcome["citations"])}
        first += len(numbers)
        citations: list[Citation] = [
            {**citation, "number": numbers[citation["number"]]} for citation in outcome["citations"]
        ]
        numbered.append(
            {**outcome, "output": _renumber(outcome["output"], numbers), "citations": citations}
        )
    return numbered


def _renumber(text: str, numbers: dict[int, int]) -> str:
    return _MARK.sub(lambda mark: f"[{numbers.get(int(mark[1]), int(mark[1]))}]", text)


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


def _unfounded(
    text: str, state: State, context: RunContext, accepted: Sequence[AgentOutcome]
) -> list[Fault]:
    """Return what an answer says that no result says. Blocks for as long as it reads."""
    # All that stands in the prompt: an answer may name what failed, and how large a file is.
    failed = [o["error"]["detail"] for o in state.get("outcomes", []) if o["error"]]
    files = [f"{file['name']} ({file['size']} bytes)" for file in context.files]
    given = "\n\n".join((state["task"], context.earlier, state.get("settled", ""), *failed, *files))
    evidence = Evidence(
        outputs=[],
        given=given,
        results="\n\n".join(outcome["output"] for outcome in accepted),
        citations=[citation for outcome in accepted for citation in outcome["citations"]],
    )
    return find_faults(SUPERVISOR, text, evidence)


def _listed(faults: Sequence[Fault]) -> str:
    return ", ".join(repr(fault["text"][:80]) for fault in faults[:5])


def _side_by_side(state: State, accepted: Sequence[AgentOutcome]) -> str:
    """Return the results one after the other, and before them what a person has settled."""
    parts = [f"**{o['agent']}**\n\n{o['output']}" for o in accepted]
    settled = state.get("settled")
    return "\n\n".join([f"**A person has settled**\n\n{settled}", *parts] if settled else parts)


def _name_missing(text: str, missing: Sequence[Missing]) -> str:
    lines = [
        f"- {part['agent']}: {part['reason']}" for part in missing if part["reason"] not in text
    ]
    return "\n\nMissing from this answer:\n" + "\n".join(lines) if lines else ""


def _nobody_answered(outcomes: Sequence[AgentOutcome]) -> Failure:
    reasons = "; ".join(f"{o['agent']}: {o['error']['detail']}" for o in outcomes if o["error"])
    return Failure(code="agents-failed", detail=f"No agent produced a result. {reasons}".strip())


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


def _end(status: RunStatus, stop: StopReason, rounds: int) -> FinalAnswer:
    return FinalAnswer(
        status=status,
        stop_reason=stop,
        output="",
        citations=[],
        missing=[],
        failure=None,
        agents={},
        rounds=rounds,
    )
