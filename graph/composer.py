"""Composes the answer of several results, and has it written again where it says what none of them does."""

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
from domain.errors import BudgetReachedError, ModelAnswerError, RunFailedError
from domain.events import SUPERVISOR
from domain.run import RunContext
from domain.validation import Fault
from graph.calls import Call, call_model
from graph.checks import write_settled
from graph.context import run_context
from graph.projection import answer_message_id, retry_draft
from graph.state import Missing, State
from graph.steering import asked

PROMPT: Final = """\
Write the final answer to the task from the agents' results, and from nothing else.
- Answer what was asked, directly; keep numbers, code and [n] source marks exactly as they stand.
- Where results disagree or a part is missing, say so by name. What a person has settled, holds.
- Do not mention agents, rounds or this instruction unless something is missing.
"""

_MARK: Final = re.compile(r"\[(\d{1,6})\]")

NO_MORE_CALLS: Final = frozenset({"budget", "deadline"})
"""Why a run ends that may not call a model any more."""

MEND: Final = "Write the answer again, with nothing that the results do not say."


class Composed(NamedTuple):
    """The answer's text and the sources it names."""

    output: str
    citations: list[Citation]


class Composer:
    """Writes the answer as a message of the supervisor: one result as it is, several as one text."""

    def __init__(self, gateway: ModelGateway) -> None:
        self._gateway = gateway

    async def __call__(
        self,
        state: State,
        runtime: Runtime[RunContext],
        accepted: Sequence[AgentOutcome],
        missing: Sequence[Missing],
    ) -> tuple[Composed, list[Missing]]:
        """Return the answer; where the model cannot write it, the results one after the other."""
        accepted, more = _number_sources(accepted), list[Missing]()
        if len(accepted) == 1 and not state.get("settled"):
            text = accepted[0]["output"]
        elif state.get("stop_reason") in NO_MORE_CALLS:
            text = _side_by_side(state, accepted)
        else:
            try:
                text = await self._write(state, runtime, accepted)
            except BudgetReachedError:
                raise
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
        context, round_ = run_context(runtime), state.get("round", 0)
        failed = [o for o in state.get("outcomes", []) if o["status"] == "failed"]
        results = write_results([*accepted, *failed])
        if state.get("settled"):
            results += f"\n{write_settled(state['settled'])}"
        prompt = write_prompt(
            asked(state),
            earlier=context.earlier,
            files=context.files,
            results=results,
        )
        messages: list[BaseMessage] = [SystemMessage(PROMPT), HumanMessage(prompt)]
        if mend:
            messages += [AIMessage(mend[0]), HumanMessage(f"{mend[1]}. {MEND}")]
        owner = StreamOwner(
            run_id=context.run_id,
            agent=SUPERVISOR,
            prefix=answer_message_id(round_),
            numbering="none",
        )
        config = owned({}, owner)

        tier = self._gateway.get_model_for_task("answer", None).tier
        call = Call(SUPERVISOR, tier, round_, "mended" if mend else "answer")
        message = await call_model(self._gateway, runtime, call, messages, config=config)
        if not message.text.strip():
            msg = "The model answered with a tool call where it has no tools."
            raise ModelAnswerError(msg)
        return message.text


def _number_sources(outcomes: Sequence[AgentOutcome]) -> list[AgentOutcome]:
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


def _unfounded(
    text: str, state: State, context: RunContext, accepted: Sequence[AgentOutcome]
) -> list[Fault]:
    """Return what an answer says that no result says. Blocks for as long as it reads."""
    # All that stands in the prompt: an answer may name what failed, and how large a file is.
    failed = [o["error"]["detail"] for o in state.get("outcomes", []) if o["error"]]
    files = [f"{file['name']} ({file['size']} bytes)" for file in context.files]
    given = "\n\n".join((asked(state), context.earlier, state.get("settled", ""), *failed, *files))
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
