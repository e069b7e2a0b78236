"""A ledger that lives as long as the process, for graphs that are built without a service."""

from __future__ import annotations

from domain.approval import ActionStatus, action_id
from domain.ledger import ActionCall, Doubt, Standing
from domain.ports import RunRef


class LocalLedger:
    """`domain.ledger.ActionLedger` in memory. It keeps no approvals: what it is told to start is never `refused`."""

    def __init__(self) -> None:
        self._actions: dict[str, tuple[ActionCall, ActionStatus, str]] = {}

    async def start(self, call: ActionCall) -> Standing:
        """Note that the action is being carried out, or say where it stands."""
        known = self._actions.get(call.id)
        if known is None:
            self._actions[call.id] = (call, "started", "")
            return Standing("begun")
        _, status, result = known
        if status == "started":
            return Standing("left")
        return Standing("ended", status, result)

    async def start_again(self, call: ActionCall) -> None:
        """Take over an action that is known not to have taken effect."""
        self._actions[call.id] = (call, "started", "")

    async def end(self, call: ActionCall, status: ActionStatus, result: str) -> None:
        """Note how the action ended."""
        self._actions[call.id] = (call, status, result)

    async def doubts(self, ref: RunRef) -> list[Doubt]:
        """Return the actions of the run that are in doubt."""
        return [
            Doubt(call.agent, call.tool, action_id(call.id))
            for call, status, _ in self._actions.values()
            if call.ref == ref and status == "in_doubt"
        ]
