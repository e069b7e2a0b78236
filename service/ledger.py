"""The ledger of actions in the service's own database."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from agents._kit.cleaning import plain_text
from domain.approval import ActionStatus
from domain.artifact import Artifact
from domain.errors import StoreUnavailableError
from domain.ledger import ActionCall, Doubt, Standing
from domain.ports import Clock, RunRef
from service.checkpoints import Checkpoints
from service.store import Database, actions

T = TypeVar("T")


class SqlActionLedger:
    """`domain.ledger.ActionLedger` over SQL; what each method promises is said there."""

    def __init__(self, database: Database, clock: Clock, checkpoints: Checkpoints) -> None:
        self._database = database
        self._clock = clock
        self._checkpoints = checkpoints

    async def start(self, call: ActionCall) -> Standing:
        """Commit that the action is being carried out, or say where it stands."""
        await self._checkpoints.reach(call.ref.run_id, call.steps)
        # Onto the disk: after a power cut it has to be known that something was under way.
        return await self._guarded(
            self._database.write_through(actions.start, call, self._clock.now())
        )

    async def start_again(self, call: ActionCall) -> None:
        """Take over an action that is known not to have taken effect."""
        await self._guarded(self._database.write(actions.start_again, call, self._clock.now()))

    async def end(
        self,
        call: ActionCall,
        status: ActionStatus,
        result: str,
        artifacts: Sequence[Artifact] = (),
    ) -> None:
        """Record how the action ended."""
        ended = Standing("ended", status, plain_text(result), artifacts)
        await self._guarded(self._database.write(actions.end, call, ended, self._clock.now()))

    async def doubts(self, ref: RunRef) -> list[Doubt]:
        """Return the actions of the run that are in doubt."""
        return await self._guarded(self._database.read(actions.doubts, ref))

    async def _guarded(self, step: Awaitable[T]) -> T:
        """Do a step; a database that is away ends the segment and is no failure of the agent."""
        try:
            return await step
        except (DBAPIError, PoolTimeoutError) as error:
            msg = f"the ledger of actions cannot be reached: {error}"
            raise StoreUnavailableError(msg) from error
