"""Has runs go on that ended without their whole answer."""

from __future__ import annotations

import logging
from dataclasses import replace

from agents._kit.registry import Team
from domain.dispatch import Dispatcher
from domain.errors import CallerError
from domain.ports import Clock, IdempotencyKey, Retried, RetryWish, RunRef, RunStore
from service.limits import check_limits, check_rounds
from service.runs import RunRules, RunService

_log = logging.getLogger("signalbox.runs")


class RetryService:
    """Puts runs back into the queue that failed, or came to a part of their answer only."""

    def __init__(
        self,
        *,
        store: RunStore,
        runs: RunService,
        dispatcher: Dispatcher,
        clock: Clock,
        team: Team,
        rules: RunRules,
    ) -> None:
        self._store = store
        self._runs = runs
        self._dispatcher = dispatcher
        self._clock = clock
        self._team = team
        self._rules = rules

    async def retry(
        self,
        tenant_id: str,
        run_id: str,
        wish: RetryWish,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Retried:
        """Have a run go on: when this returns that is committed. It is taken on like a new one.

        Raises `CallerError`: what `domain.ports.RunStore.retry` does, `not-found`, `validation-error`.
        """
        if wish.limits is not None:
            names = [spec.name for spec in self._team.specs]
            check_limits(wish.limits, self._rules.budgets, names)
        check_rounds(wish.max_rounds, self._rules.max_rounds)
        run = await self._runs.get(tenant_id, run_id)
        ref = RunRef(tenant_id, run_id)
        done = await self._store.retry(
            ref,
            replace(wish, rules=self._rules.budgets, most_rounds=self._rules.max_rounds),
            now=self._clock.now(),
            idempotency=idempotency,
            # On the account of whoever created it.
            refusal=await self._runs.refusal(tenant_id, run.caller_id),
        )
        if done is None:
            await self._runs.get(tenant_id, run_id)  # says that it is not there
            msg = f"The run {run_id!r} is not there any more."
            raise CallerError("not-found", msg)
        if not done.replayed:
            ids = {"run_id": run_id, "thread_id": run.thread_id, "trace_id": run.trace_id}
            _log.info("A run is to go on after its end.", extra={"action": "run_retried", **ids})
            self._dispatcher.submit(ref, alone=False)
        return done
