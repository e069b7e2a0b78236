"""A ledger that lives as long as the process, for graphs that are built without a service."""

from __future__ import annotations

from collections.abc import Sequence

from domain.approval import ActionStatus, action_id
from domain.artifact import Artifact
from domain.ledger import ActionCall, Doubt, Standing
from domain.ports import RunRef


class LocalLedger:
    """`domain.ledger.ActionLedger` in memory. It keeps no approvals: what it is told to start is never `refused`."""

    def __init__(self) -> None:
        self._actions: dict[str, tuple[ActionCall, Standing]] = {}

    async def start(self, call: ActionCall) -> Standing:
        """Note that the action is being carried out, or say where it stands."""
        known = self._actions.get(call.id)
        if known is None:
            self._actions[call.id] = (call, Standing("left"))
            return Standing("begun")
        return known[1]

    async def start_again(self, call: ActionCall) -> None:
        """Take over an action that is known not to have taken effect."""
        self._actions[call.id] = (call, Standing("left"))

    async def end(
        self,
        call: ActionCall,
        status: ActionStatus,
        result: str,
        artifacts: Sequence[Artifact] = (),
    ) -> None:
        """Note how the action ended."""
        self._actions[call.id] = (call, Standing("ended", status, result, artifacts))

    async def doubts(self, ref: RunRef) -> list[Doubt]:
        """Return the actions of the run that are in doubt."""
        return [
            Doubt(call.agent, call.tool, action_id(call.id))
            for call, standing in self._actions.values()
            if call.ref == ref and standing.status == "in_doubt"
        ]
