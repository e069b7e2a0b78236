"""Pages on which somebody without a key decides about one approval: who holds the link may, once."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from domain.approval import MAX_MESSAGE_CHARS, ApprovalType, Decision, Verb
from domain.deciding import Verdict
from domain.errors import CallerError
from domain.links import Link, LinkStore
from domain.ports import Clock
from service.approvals import ApprovalService, Decider
from service.secrets import hash_of

Choice = Literal["approve", "reject", "finish", "respond"]

CHOICES: Final[dict[ApprovalType, tuple[Choice, ...]]] = {
    "action": ("approve", "reject"),
    # To spend more is for somebody with a key.
    "budget": ("finish",),
    "input": ("respond",),
}
"""What can be decided on a page. To change the arguments of a call is for somebody with a key too."""

LINK_PREFIX: Final = "link:"
"""Who has decided is this, and the delivery that the link came with."""

MAX_NOTE_CHARS: Final = 2_000

_NOTED: Final = frozenset({"approve", "finish"})
"""What says nothing to the agent, so that what is written beside it is a note for the record."""

_VERBS: Final[dict[Choice, Verb]] = {
    "approve": "approve",
    "reject": "reject",
    "finish": "reject",
    "respond": "respond",
}

State = Literal["open", "decided", "expired", "cancelled", "changed"]
"""How a link stands: `open` it may be decided · `decided` somebody has, here or elsewhere · `expired` its time
or that of the approval is over · `cancelled` the run has ended · `changed` the call is another one by now."""


class Shown(NamedTuple):
    """What a page shows."""

    link: Link
    state: State
    refusal: str | None = None
    """Why what was just sent did not decide."""
    done: bool = False
    """What was just sent is what stands."""


class LinkService:
    """Finds what a link is about, and decides with it."""

    def __init__(self, store: LinkStore, approvals: ApprovalService, clock: Clock) -> None:
        self._store = store
        self._approvals = approvals
        self._clock = clock

    async def look(self, token: str) -> Shown | None:
        """Return what a link is about; `None` where there is no such link. Changes nothing."""
        link = await self._store.find(hash_of(token))
        return None if link is None else Shown(link, self._state(link))

    async def decide(self, token: str, choice: str, message: str) -> Shown | None:
        """Decide; return what stands then, whoever has decided it."""
        shown = await self.look(token)
        if shown is None:
            return None
        link, refusal = shown.link, None
        decision = _decision(link, choice, message)
        if isinstance(decision, str):
            return shown._replace(refusal=decision)
        if shown.state == "open":
            try:
                await self._decide(link, decision, comment=_comment(choice, message))
            except CallerError as error:
                # It may have been decided meanwhile: what stands is shown.
                refusal = error.detail
        link = await self._store.find(hash_of(token)) or link
        made = link.approval.decision
        return Shown(
            link,
            self._state(link),
            refusal=refusal,
            done=made is not None and made.same_as(decision),
        )

    async def _decide(self, link: Link, decision: Decision, *, comment: str | None) -> None:
        verdict = Verdict(
            approval_id=link.approval.id,
            decision=decision,
            comment=comment,
            args_digest=link.args_digest,
        )
        who = Decider(tenant_id=link.tenant_id, caller_id=LINK_PREFIX + link.delivery_id)
        await self._approvals.decide(who, [verdict], link=link.token_hash)

    def _state(self, link: Link) -> State:
        approval, now = link.approval, self._clock.now()
        if approval.status == "resolved":
            return "decided"
        if approval.status == "cancelled":
            return "cancelled"
        late = approval.expires_at is not None and approval.expires_at <= now
        if approval.status == "expired" or late or link.expires_at <= now:
            return "expired"
        return "open" if approval.args_digest == link.args_digest else "changed"


def _decision(link: Link, choice: str, message: str) -> Decision | str:
    """Return what was chosen as a decision, or why it is none."""
    allowed = CHOICES[link.approval.type]
    chosen = next((each for each in allowed if each == choice), None)
    if chosen is None:
        return f"This can be decided here as {' or '.join(allowed)}."
    text = message.strip() or None
    if chosen == "respond" and text is None:
        return "Write an answer first."
    if chosen in _NOTED:
        if text is not None and len(text) > MAX_NOTE_CHARS:
            return f"A note may have {MAX_NOTE_CHARS} characters; it has {len(text)}."
        return Decision(type=_VERBS[chosen])
    try:
        return Decision(type=_VERBS[chosen], message=text)
    except ValueError:
        return f"The text is too long: it may have {MAX_MESSAGE_CHARS} characters."


def _comment(choice: str, message: str) -> str | None:
    """Return what was written as a note for the record, where the agent does not read it."""
    return message.strip() or None if choice in _NOTED else None
