"""The validator: checks what the agents found by rule, then with a model, and says what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from agents._kit.evidence import load_evidence
from agents._kit.grounding.check import find_faults
from agents._kit.models import ModelGateway
from agents._kit.prompts import write_prompt, write_results
from agents._kit.verdict import Judgement, judgement_schema, read_judgement
from domain.agent import AgentOutcome, AgentSpec
from domain.budget import budget_ask
from domain.caching import WorkCache
from domain.errors import BudgetReachedError, RunFailedError
from domain.run import RunContext
from domain.validation import VALIDATOR, CheckRecord, PlacedFault, Verdict
from graph.calls import Call, call_model
from graph.checks import MAX_REVISIONS, brief, describe, owed, place_of, sent_back, standing
from graph.context import run_context
from graph.disagreements import Settled, ask_about, judged, settle
from graph.spending import ASK
from graph.state import Missing, State, rounds_of
from graph.steering import asked

AGAIN: Final = (
    "That was not a usable judgement: it could not be read. Answer with one JSON object that has criteria, "
    "disagreements, verdict, reasons and fixes."
)

MAX_REASONS: Final = 20
REASON_CHARS: Final = 800

NOT_KEPT: Final = "what its tools answered is no longer there, so its figures, quotes and sources were not checked"

NO_REASON: Final = (
    "The model that checked the results does not hold them for an answer; it gave no reason."
)

OPAQUE: Final = (
    "it is a graph from outside that shows no tool calls, so its figures, quotes and sources were "
    "not checked"
)


class _Found(NamedTuple):
    """What shows without a model."""

    faults: list[PlacedFault]
    settled: Settled
    missing: list[Missing]
    """What could not be checked that should have been."""
    notes: list[str]
    """What is never checked by rule, and why."""


class ValidatorNode:
    """Checks the results when the supervisor is done with them."""

    def __init__(self, spec: AgentSpec, gateway: ModelGateway, cache: WorkCache) -> None:
        self._spec = spec
        self._gateway = gateway
        self._cache = cache

    async def __call__(
        self, state: State, runtime: Runtime[RunContext]
    ) -> Command[Literal["answer", "supervisor", "ask"]]:
        """Return where the run goes on: to its answer, to more work, or to a person."""
        context = run_context(runtime)
        outcomes = [
            o
            for o in standing(state.get("outcomes", []), state.get("checks", []))
            if o["status"] == "completed"
        ]
        found = await asyncio.to_thread(_look, state, outcomes, context)
        judgement = None
        if self._gateway.engine == "model" and not found.faults and not found.settled.open:
            try:
                judgement = await self._judge(state, runtime, outcomes)
            except BudgetReachedError as error:
                if not _is_denied(error, state, context):
                    raise
                reason = f"the results were checked by rule alone: {error.detail}"
                found.missing.append(Missing(agent=VALIDATOR, reason=reason))
            except RunFailedError as error:
                reason = f"the results were checked by rule alone: {error.detail}"
                found.missing.append(Missing(agent=VALIDATOR, reason=reason))
        check = _record(state, found, judgement, outcomes)
        # The planner would only do again what it has done.
        again = self._gateway.engine == "model"
        check, update, goto = _go_on(state, context, check, outcomes, again=again)
        if check["verdict"] != "accept" and context.cache_seconds is not None:
            # Or the next run with the task would begin with what did not hold in this one.
            others = {o["reused"]["run_id"] for o in outcomes if "reused" in o}
            await self._cache.forget(context.tenant_id, {context.run_id, *others})
        return Command(goto=goto, update={**update, "checks": [check], "missing": found.missing})

    async def _judge(
        self, state: State, runtime: Runtime[RunContext], outcomes: Sequence[AgentOutcome]
    ) -> Judgement:
        """Return what the model says; asked once more where that cannot be read."""
        messages = self._messages(state, run_context(runtime), outcomes)
        for question in range(2):
            message = await self._ask(state, runtime, messages, outcomes, question)
            judgement = read_judgement(message)
            if judgement is not None:
                return judgement
            messages = [*messages, AIMessage(message.text or "{}"), HumanMessage(AGAIN)]
        msg = "The model's judgement could not be read."
        raise RunFailedError(msg, code="model-error")

    def _messages(
        self, state: State, context: RunContext, outcomes: Sequence[AgentOutcome]
    ) -> list[BaseMessage]:
        prompt = write_prompt(
            asked(state),
            earlier=context.earlier,
            files=context.files,
            results=write_results(outcomes),
        )
        return [SystemMessage(self._spec.prompt), HumanMessage(prompt)]

    async def _ask(
        self,
        state: State,
        runtime: Runtime[RunContext],
        messages: Sequence[BaseMessage],
        outcomes: Sequence[AgentOutcome],
        question: int,
    ) -> AIMessage:
        agents = list(dict.fromkeys(outcome["agent"] for outcome in outcomes))
        name = f"check{_number(state)}.{question}"
        tier = self._gateway.get_model_for_task(None, self._spec).tier
        call = Call(VALIDATOR, tier, state.get("round", 0), name)
        schema = judgement_schema(agents)
        return await call_model(self._gateway, runtime, call, messages, schema=schema)


def _look(state: State, outcomes: Sequence[AgentOutcome], context: RunContext) -> _Found:
    """Return what shows without a model. Blocks: it reads what the tools answered."""
    faults: list[PlacedFault] = []
    missing: list[Missing] = []
    # Not the assignments: what the supervisor says there has no source, and may be what was sent back.
    files = [f"{file['name']} ({file['size']} bytes)" for file in context.files]
    given = "\n\n".join([asked(state), context.earlier, *files])
    faulty = sent_back(state.get("checks", []))
    notes: list[str] = []
    for outcome in outcomes:
        if outcome.get("opaque"):
            notes.append(f"{outcome['agent']}: {OPAQUE}")
            continue
        others = [
            other["output"]
            for other in outcomes
            if other["round"] < outcome["round"] and place_of(other) not in faulty
        ]
        evidence = load_evidence(outcome, context.sources, given=given, results=others)
        if evidence is None:
            missing.append(Missing(agent=outcome["agent"], reason=NOT_KEPT))
            continue
        faults += [
            PlacedFault(**fault, round=outcome["round"], path=outcome["path"])
            for fault in find_faults(outcome["agent"], outcome["output"], evidence)
        ]
    return _Found(faults, settle(outcomes), missing, notes)


def _number(state: State) -> int:
    return len(state.get("checks", [])) + 1


def _is_denied(error: BudgetReachedError, state: State, context: RunContext) -> bool:
    """Return whether the validator alone may spend no more: nobody is asked, or somebody has said no."""
    if error.scope != VALIDATOR:
        return False
    return not error.asks or budget_ask(error, context.run_id)["id"] in state.get("decisions", {})


def _record(
    state: State, found: _Found, judgement: Judgement | None, outcomes: Sequence[AgentOutcome]
) -> CheckRecord:
    """Return the check with its verdict: what shows by rule is never overruled by a model."""
    faults, open_ = list(found.faults), list(found.settled.open)
    verdict: Verdict = "revise" if faults or open_ else "accept"
    reasons = [f"{each['agent']}: {brief(each)}" for each in (*faults, *found.settled.outvoted)]
    if judgement is not None:
        open_ += judged(judgement, outcomes)
        mended = [] if judgement.verdict == "accept" else _fixes(judgement, outcomes)
        reasons += _reasons(judgement, mended)
        faults += mended
        verdict = "revise" if open_ else judgement.verdict
    reasons += [*(describe(each) for each in open_), *found.notes]
    return CheckRecord(
        number=_number(state),
        round=state.get("round", 0),
        verdict=verdict,
        reasons=[reason[:REASON_CHARS] for reason in reasons[:MAX_REASONS]],
        faults=faults[:MAX_REASONS],
        outvoted=found.settled.outvoted,
        disagreements=open_[:MAX_REASONS],
        by="rules" if judgement is None else "model",
    )


def _go_on(
    state: State,
    context: RunContext,
    check: CheckRecord,
    outcomes: Sequence[AgentOutcome],
    *,
    again: bool,
) -> tuple[CheckRecord, State, Any]:
    """Return the check as it is final, what else it changes, and where the run goes on."""
    looked = any(earlier["disagreements"] for earlier in state.get("checks", []))
    disputed = bool(check["disagreements"]) and not check["faults"]
    if again and _may_go_back(state, context, check) and not (disputed and looked):
        return check, {}, "supervisor"
    if not disputed:
        final: Verdict = "reject" if check["verdict"] == "revise" else check["verdict"]
        return {**check, "verdict": final}, {}, "answer"
    if context.approval_mode == "never":
        return check, {}, "answer"
    question = ask_about(
        check["disagreements"],
        outcomes,
        looked=looked,
        run_id=context.run_id,
        round_=state.get("round", 0),
    )
    return check, {"question": question}, [Send(ASK, question)]


def _may_go_back(state: State, context: RunContext, check: CheckRecord) -> bool:
    """Return whether more work is wanted, and the run has rounds for it and has used the last ones."""
    before, round_ = state.get("checks", []), state.get("round", 0)
    return (
        check["verdict"] == "revise"
        and state.get("stop_reason", "done") == "done"
        and rounds_of(state) < context.max_rounds
        and owed(before, round_) is None
        and sum(earlier["verdict"] == "revise" for earlier in before) < MAX_REVISIONS
    )


def _reasons(judgement: Judgement, fixes: Sequence[PlacedFault]) -> list[str]:
    """Return why a model judges as it does: whoever reads the answer is told, also where it did not say."""
    said = [reason for reason in judgement.reasons if reason.strip()]
    if said or fixes or judgement.verdict == "accept":
        return said
    unmet = [f"{each.criterion}: {each.why}" for each in judgement.criteria if not each.met]
    return unmet or [NO_REASON]


def _fixes(judgement: Judgement, outcomes: Sequence[AgentOutcome]) -> list[PlacedFault]:
    """Return what a model wants mended, each at the last result of the agent it names."""
    last = {outcome["agent"]: outcome for outcome in outcomes}
    return [
        PlacedFault(
            agent=fix.agent,
            kind="rubric",
            text="",
            reason=fix.fix,
            round=last[fix.agent]["round"],
            path=last[fix.agent]["path"],
        )
        for fix in judgement.fixes
        if fix.agent in last and fix.fix.strip()
    ]
