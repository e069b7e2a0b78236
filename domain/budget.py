"""What a run may spend: the limits, and the guard that every model call passes before it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from domain.agent import Tier
from domain.approval import Ask, ask_id
from domain.errors import BudgetReachedError
from domain.events import SUPERVISOR
from domain.limits import RAISE, RUN
from domain.usage import CallStatus, ModelCall

BUDGET: Final = "budget"
"""The path of whatever is told and asked about a run's budget."""

FLOOR_TOKENS: Final = 512
"""A call that may answer with fewer tokens is not worth making."""


@dataclass(frozen=True, kw_only=True)
class PlannedCall:
    """A model call that is about to be made."""

    run_id: str
    attempt: int
    key: str
    """That of the `ModelCall` it becomes."""
    agent: str
    model: str
    """`provider:model`."""
    tier: Tier
    round: int
    input_tokens: int
    """The most that its prompt can be."""
    max_tokens: int
    """The most that it may answer with."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One try of a model call that was sent, as it ended."""

    planned: PlannedCall
    status: CallStatus
    began: datetime
    ended: datetime
    cause: str | None
    """What it failed of, in one word: an HTTP status or the name of an error, never the text of one."""
    call: ModelCall | None
    """As it is booked; `None` where nothing is billed."""


class CallGuard(Protocol):
    """Lets model calls be made as long as their run may pay for them."""

    async def reserve(self, planned: PlannedCall) -> int:
        """Set aside what a call may cost; return how many tokens it may answer with, at most those asked
        for and at least `FLOOR_TOKENS` (or those asked for, where they are fewer).

        Waits while calls in flight may leave room. Raises `BudgetReachedError` where nothing fits, and
        `RunFailedError` (`deadline-exceeded`) where the run's time is over."""
        ...

    async def settle(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Put what a reserved call came to in the place of the reservation; `None` where nothing is billed,
        because it was refused or never sent. Never raises."""
        ...

    def note(self, run_id: str, call: ModelCall) -> None:
        """Count a call that somebody else has made, and that nobody could hold back."""
        ...

    def tried(self, run_id: str, key: str) -> int:
        """Return how many tries under a key were let through in this segment: a node that goes on after a
        person has raised its budget calls again what it had called, and each try has a key of its own."""
        ...

    def seconds_left(self, run_id: str) -> float | None:
        """Return the running time that a run has left; `None` where it has no limit."""
        ...


class NoGuard:
    """Lets every call be made as it is: for graphs outside of the service."""

    async def reserve(self, planned: PlannedCall) -> int:
        """Return what was asked for."""
        return planned.max_tokens

    async def settle(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Do nothing."""

    def note(self, run_id: str, call: ModelCall) -> None:
        """Do nothing."""

    def tried(self, run_id: str, key: str) -> int:
        """Return that nothing is repeated."""
        del run_id, key
        return 0

    def seconds_left(self, run_id: str) -> float | None:
        """Return that there is no limit."""
        del run_id
        return None


def budget_ask(error: BudgetReachedError, run_id: str) -> Ask:
    """Return the question whether more may be spent: the same one for all that reach the same limits."""
    call = f"{error.scope}:{json.dumps(error.limits, sort_keys=True, separators=(',', ':'))}"
    if error.raised:
        # What was answered is done with: as the answer to this one it would lead here for ever.
        call += f"~{error.raised}"
    return Ask(
        id=ask_id(run_id, 0, BUDGET, call),
        type="budget",
        agent=SUPERVISOR if error.scope == RUN else error.scope,
        path=BUDGET,
        # Not that of the run: asked in another round it is the same question.
        round=0,
        call=call,
        tool=RAISE,
        args=as_args(error.scope, error.limits),
        description=error.detail,
        response_schema=raise_schema(),
        by="any",
        # Whatever a server does where others are silent: a no that keeps what there is.
        on_expiry="reject",
    )


def as_args(scope: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the question about limits that were reached."""
    # What becomes of unknown prices is said for the whole run, whoever's limit in money it is.
    whole = scope == RUN or "unknown_prices" in limits
    return dict(limits) if whole else {"per_agent": {scope: dict(limits)}}


def raise_schema() -> dict[str, Any]:
    """Return the schema of a decision about a budget."""
    amount = {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,12})?$"}
    own = {
        "max_cost_usd": amount,
        "max_tokens": {"type": "integer", "minimum": 1},
    }
    agent = {"type": "object", "properties": own, "additionalProperties": False}
    args = {
        "type": "object",
        "properties": {
            **own,
            "per_agent": {"type": "object", "additionalProperties": agent},
            "unknown_prices": {"enum": ["allow"]},
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    edited = {
        "type": "object",
        "properties": {"name": {"const": RAISE}, "args": args},
        "required": ["name", "args"],
        "additionalProperties": False,
    }
    return {
        "title": "Decision about a budget",
        "oneOf": [
            {
                "type": "object",
                "properties": {"type": {"const": "edit"}, "edited_action": edited},
                "required": ["type", "edited_action"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"type": {"const": "reject"}, "message": {"type": "string"}},
                "required": ["type"],
                "additionalProperties": False,
            },
        ],
    }
