"""Finds what a response is about: what its run has asked, how it stands, and what a next turn is to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from domain.approval import Approval
from domain.caller import CallerIdentity
from domain.errors import CallerError
from domain.events import Event
from service.http.openai_chat.answering import Turn, decide
from service.http.openai_chat.conversation import decision_in, refuses
from service.http.openai_chat.turn import Asks, Ended, Step
from service.http.openai_responses.answer import not_there, read_id
from service.services import Services


async def find(text: str, parts: Services, tenant_id: str) -> Turn:
    """Return the turn that an id stands for; raises `not-found`."""
    response = read_id(text)
    try:
        run = await parts.runs.get(tenant_id, response.run_id)
    except CallerError as error:
        if error.code != "not-found":
            raise
        raise not_there(text) from error
    if response.after > run.last_seq:
        raise not_there(text)
    return Turn(parts, run, after=response.after)


async def answered(
    before: Turn, words: str, parts: Services, caller: CallerIdentity
) -> Turn | None:
    """Return the turn that answers what the one before has asked; `None` where the words are a task.

    They decide about the calls that were shown there, and about no later ones.
    """
    question = await _question(before)
    if question is None:
        return None
    found = await _approvals(before, question)
    waiting = [each for each in found if each.status == "pending"]
    if waiting:
        turn = await decide(before.run, waiting, words, parts, caller)
        if turn.unanswered:
            turn.after = question.seq - 1  # so that the next turn is about the same question
        return turn
    if before.run.status == "requires_action" or any(_repeats(words, each) for each in found):
        # It is decided: the turn tells how it went, and what is asked by now.
        return Turn(parts, before.run, after=question.seq)
    return None


async def stands(turn: Turn) -> Ended | Asks | None:
    """Return what has ended the turn; `None` while it goes on."""
    run = await turn.parts.runs.get(turn.run.tenant_id, turn.run.id)
    if turn.unanswered:
        return Asks(run, turn.unanswered)
    if run.terminal:
        return Ended(run)
    if run.status == "requires_action" and run.required_action:
        ids = run.required_action.approval_ids
        found = [await turn.parts.approvals.get(run.tenant_id, each) for each in ids]
        waiting = [each for each in found if each.status == "pending"]
        return Asks(run, waiting) if waiting else None
    return None


async def told_again(turn: Turn) -> AsyncIterator[Step]:
    """Yield a turn's steps from its beginning. What has ended it before it began ends it at once."""
    step = await stands(turn)
    over = isinstance(step, Ended) and turn.after >= step.run.last_seq
    if step and (over or (isinstance(step, Asks) and await _question(turn) is None)):
        yield step
        return
    async for each in turn.steps():
        yield each


async def _question(turn: Turn) -> Event | None:
    """Return the event by which the turn has asked a person."""
    kinds = ("run.requires_action",)
    found = await turn.parts.store.events(turn.ref, after=turn.after, limit=1, types=kinds)
    return found[0] if found else None


async def _approvals(turn: Turn, question: Event) -> list[Approval]:
    ids: Sequence[str] = question.data["required_action"]["approval_ids"]
    return [await turn.parts.approvals.get(turn.run.tenant_id, each) for each in ids]


def _repeats(words: str, approval: Approval) -> bool:
    """Return whether words are the decision that was made, nothing but a yes or no, or a refusal that comes too
    late: as a task it would have the team work on what was not to be done."""
    try:
        said = decision_in(words, approval)
    except CallerError:
        return False
    if said is None:
        return False
    if approval.decision is not None and said.same_as(approval.decision):
        return True
    return said.type != "respond" and (said.message is None or refuses(words))
