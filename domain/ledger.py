"""The seam to the ledger: what keeps an action from being carried out twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from domain.approval import ActionStatus
from domain.artifact import Artifact
from domain.ports import RunRef


@dataclass(frozen=True, kw_only=True)
class ActionCall:
    """A tool call that changes the world, about to be carried out."""

    ref: RunRef
    attempt: int
    id: str
    """The approval's id, whether or not anybody was asked."""
    agent: str
    tool: str
    args: dict[str, Any]
    path: str
    round: int
    call: str
    reads: bool = False
    """Whether it only reads, so that making it again does nothing twice."""
    as_read: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """Returns arguments as the tool reads them: two calls of which that is the same are the same call."""
    steps: Mapping[str, str]
    """The checkpoints that hold what led to the call: the id of each by its namespace."""


class Standing(NamedTuple):
    """Where an action stood when it was to be started. In a run that was retried, one also has `ended` that
    was made by an assignment which failed before."""

    found: Literal["begun", "left", "ended", "refused"]
    """`begun` it is started now, and by this call alone · `left` an earlier segment started it and did not
    tell how it ended · `ended` it has · `refused` nobody has approved this very call."""
    status: ActionStatus = "started"
    result: str = ""
    """With `ended`: what the tool had answered."""
    artifacts: Sequence[Artifact] = ()
    """With `ended`: the files that the call had left."""


class Doubt(NamedTuple):
    """An action of which nobody knows whether it took effect."""

    agent: str
    tool: str
    action_id: str

    @property
    def sentence(self) -> str:
        """Return what the answer says of it."""
        return (
            f"it is not known whether its call of {self.tool} took effect; "
            f"a person has to settle {self.action_id}"
        )


class ActionLedger(Protocol):
    """What keeps an action from being carried out twice. Every step is one committed, conditional write,
    refused with `OwnershipLostError` once the run has a newer attempt; `StoreUnavailableError` where it
    cannot be written."""

    async def start(self, call: ActionCall) -> Standing:
        """Commit that the action is being carried out, before it is; where it is known, say so instead.

        Returns only when the steps that led to the call are saved: they must not be undone by a crash
        that the effect outlives."""
        ...

    async def start_again(self, call: ActionCall) -> None:
        """Take over an action that was left and, as its target says, has not taken effect.

        The call before may still be on its way: safe only where the target takes a key once."""
        ...

    async def end(
        self,
        call: ActionCall,
        status: ActionStatus,
        result: str,
        artifacts: Sequence[Artifact] = (),
    ) -> None:
        """Record how the action ended, `done`, `failed` or `in_doubt`, and the files that it left."""
        ...

    async def doubts(self, ref: RunRef) -> list[Doubt]:
        """Return the actions of the run that are in doubt."""
        ...
