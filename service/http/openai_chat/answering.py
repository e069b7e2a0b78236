"""What both of OpenAI's APIs do alike: begin a run or decide for one, follow it, and say what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson
from fastapi import Request
from pydantic import ValidationError

from agents._kit.registry import Team
from domain.approval import Approval
from domain.caller import CallerIdentity
from domain.deciding import Verdict
from domain.errors import CallerError
from domain.ports import RunRef
from domain.problems import Pointer, Problem, make_problem
from domain.run import Run
from service.approvals import Decider
from service.http.caller import require
from service.http.openai_chat.conversation import Question, decision_in, tell_question
from service.http.openai_chat.schemas import LooseIn
from service.http.openai_chat.turn import Asks, Ended, Said, Step, take_turn
from service.http.runs import accept
from service.http.schemas import RunCreate
from service.services import Services

TEAM: Final = "signalbox"

DECIDES_NOTHING: Final = "That decides nothing.\n\n"
"""What stands before a question that is asked again."""


class Turn:
    """A run that is answered from an event on."""

    def __init__(self, parts: Services, run: Run, *, after: int) -> None:
        self.parts = parts
        self.run = run
        self.after = after
        self.replayed = False
        self.begun = False
        """Whether the request made the run: else what it wished of a run made no difference."""
        self.unanswered: list[Approval] = []
        """What the words were no answer to: it is asked again."""

    @property
    def ref(self) -> RunRef:
        """Return which run it is."""
        return RunRef(self.run.tenant_id, self.run.id)

    @property
    def structured(self) -> bool:
        """Return whether the answer is a document."""
        return self.run.output_schema is not None

    async def steps(self) -> AsyncIterator[Step]:
        """Yield what happens, until the run ends or asks."""
        if self.unanswered:
            yield Said(DECIDES_NOTHING)
            yield Asks(self.run, self.unanswered)
            return
        async for step in take_turn(self.parts, self.ref, after=self.after):
            yield step


def model_names(team: Team) -> list[str]:
    """Return what may be named as a model: the team, and each of its agents alone."""
    return [TEAM, *(f"{TEAM}/{spec.name}" for spec in team.routable)]


def agents_of(model: str, team: Team) -> list[str] | None:
    """Return the agents that a model stands for, `None` for the team; raises `not-found`."""
    if model == TEAM:
        return None
    if model in model_names(team):
        return [model.removeprefix(f"{TEAM}/")]
    detail = f"There is no model {model!r}. GET /openai/v1/models lists what there is."
    raise CallerError("not-found", detail)


def refuse(body: LooseIn) -> None:
    """Refuse a body with members that cannot be honoured."""
    if body.refused:
        names = ", ".join(body.refused)[:300]
        detail = (
            f"{names}: this cannot be honoured here, and is not ignored silently. Leave it out."
        )
        pointers = [
            Pointer(pointer=f"/{name}"[:200], detail="cannot be honoured")
            for name in body.refused[:20]
        ]
        raise CallerError("validation-error", detail, errors=pointers)


async def begin(
    wish: dict[str, Any], request: Request, parts: Services, caller: CallerIdentity
) -> Turn:
    """Create the run that a turn asks for."""
    try:
        new = RunCreate(**wish)
    except ValidationError as error:
        first = error.errors()[0]
        detail = f"{'/'.join(map(str, first['loc']))}: {first['msg']}."
        raise CallerError("validation-error", detail) from error
    created = await accept(new, request, parts, caller)
    turn = Turn(parts, created.run, after=0)
    turn.replayed = created.replayed
    turn.begun = True
    return turn


async def decide(
    run: Run, waiting: Sequence[Approval], words: str, parts: Services, caller: CallerIdentity
) -> Turn:
    """Decide as the words say, where they do; in any case the run is followed from here.

    Raises `forbidden` for who may not decide.
    """
    require(caller, "approvals:decide")
    turn = Turn(parts, run, after=run.last_seq)
    decisions = [(each, decision_in(words, each)) for each in waiting]
    unclear = len(waiting) > 1 and any(each.type == "input" for each in waiting)
    if unclear or any(decision is None for _, decision in decisions):
        turn.unanswered = list(waiting)
        return turn
    verdicts = [
        Verdict(approval_id=each.id, decision=decision, args_digest=each.args_digest)
        for each, decision in decisions
        if decision is not None
    ]
    decider = Decider(tenant_id=caller.tenant_id, caller_id=caller.id)
    await parts.approvals.decide(decider, verdicts, run_id=run.id)
    return turn


async def marked(question: Question, words: str, parts: Services, caller: CallerIdentity) -> Turn:
    """Decide what the turn before has asked, as its text tells; raises `forbidden` for who may not."""
    require(caller, "approvals:decide")
    run = await parts.runs.get(caller.tenant_id, question.run_id)
    found = [await parts.approvals.get(caller.tenant_id, each) for each in question.approval_ids]
    waiting = [each for each in found if each.run_id == run.id and each.status == "pending"]
    if not waiting:
        # Somebody else has decided, or nobody in time: the turn tells how it all went.
        return Turn(parts, run, after=0)
    return await decide(run, waiting, words, parts, caller)


def headers_of(turn: Turn, ignored: Sequence[str]) -> dict[str, str]:
    """Return what an answer's headers say of its run."""
    headers = {"Signalbox-Run": turn.run.id}
    if turn.replayed:
        headers["Idempotency-Replayed"] = "true"
    if ignored:
        headers["Signalbox-Ignored"] = ", ".join(ignored)
    return headers


def outcome(turn: Turn, step: Ended | Asks, request: Request) -> tuple[Problem | None, str]:
    """Return what went wrong, or what ends the text."""
    run = step.run
    if isinstance(step, Asks):
        base = turn.parts.settings.public_url or str(request.base_url).rstrip("/")
        return None, tell_question(run.id, step.approvals, base)
    if run.status == "failed":
        return run.error or make_problem("internal-error", "The run failed."), ""
    if run.status == "cancelled":
        return make_problem("run-cancelled", "The run was cancelled while you waited."), ""
    if not turn.structured:
        return None, ""
    if run.result is None or run.result.structured is None:
        reasons = "; ".join(part.reason for part in run.degraded) or "there is no document"
        return make_problem(
            "model-error", f"The answer is not to be had by the schema: {reasons}"
        ), ""
    return None, orjson.dumps(run.result.structured).decode()
