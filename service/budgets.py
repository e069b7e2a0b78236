"""Guards what runs may spend: every model call is set aside before it is made and settled after it.

A run is executed by one process at a time, so the sums are kept there; what is set aside is a row as well,
committed before the call, so that a call which a crash has cut off is not forgotten.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from domain.budget import BUDGET, FLOOR_TOKENS, PlannedCall, as_args
from domain.errors import BudgetReachedError, RunFailedError
from domain.events import SUPERVISOR, EventDraft, EventType
from domain.limits import RUN, AgentLimits, Limits, Spent, budget_of
from domain.ports import RunRef, RunStore
from domain.run import Run
from domain.usage import ModelCall, Usage, UsageShare, book_call, is_free
from service.checkpoints import Checkpoints
from service.days import DayBudget
from service.purses import Held, LimitName, Purse, sentence

WARN_AT: Final = Decimal("0.8")
"""The part of a limit at which a warning is given."""

LOOK_SECONDS: Final = 5.0
"""How old the limits of a run may be that a request may have changed meanwhile."""

_TRY: Final = re.compile(r"~\d+$")
"""What a later try adds to the key of its call."""

PAUSE_SECONDS: Final = (0.05, 0.4)
"""How long a call waits for those of other runs, before it looks again whether the day has room."""

MOMENT: Final = 0.05
"""Seconds that nothing can be done in any more."""

Cost = Callable[[str, int, int], Decimal | None]
"""Returns what a call of a model costs with so many tokens in and out; `None` where nobody knows."""


@dataclass(kw_only=True)
class Account:
    """What the run of one segment has spent, and what is set aside for its calls in flight."""

    run: Run
    limits: Limits
    usage: Usage
    warned: Usage  # what it was when nearly used limits were last told of
    shares: dict[str, Decimal]
    """The part of the run's budget that an agent may use, where it has no limits of its own."""
    emit: Callable[[EventDraft], Awaitable[None]]
    began: float
    """When the segment began, on the event loop's clock."""
    ran_before: float
    looked: float = 0.0
    open: dict[str, Held] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    tried: Counter[str] = field(default_factory=Counter)
    """Tries that were let through, by the key that they have in common."""

    def seconds(self) -> float:
        """Return how long the run has been running."""
        return self.ran_before + asyncio.get_running_loop().time() - self.began

    def purses(self, agent: str) -> list[Purse]:
        """Return what a call of an agent is paid from: all of them have to have room for it."""
        own = [each for each in self.open.values() if each.agent == agent]
        share = self.usage.by_agent.get(agent, UsageShare())
        return [
            Purse(RUN, self.limits, self.usage, list(self.open.values())),
            Purse(agent, self._own_limits(agent), share, own),
        ]

    def _own_limits(self, agent: str) -> AgentLimits:
        own = self.limits.per_agent.get(agent)
        part = self.shares.get(agent)
        if part is None:
            return own or AgentLimits()
        tokens, cost = self.limits.max_tokens, self.limits.max_cost_usd
        return AgentLimits.model_construct(
            max_tokens=own.max_tokens
            if own and own.max_tokens is not None
            else (None if tokens is None else max(int(tokens * part), 1)),
            max_cost_usd=own.max_cost_usd
            if own and own.max_cost_usd is not None
            else (None if cost is None else cost * part),
        )

    def describe(self) -> dict[str, Any]:
        """Return the budget as clients see it."""
        spent = Spent(
            cost_usd=self.usage.counted_cost_usd,
            cost_known=self.usage.cost_known,
            tokens=self.usage.counted_tokens,
            seconds=round(self.seconds(), 3),
        )
        budget = budget_of(
            self.limits, max_rounds=self.run.budget.max_rounds, rounds=self.run.rounds, spent=spent
        )
        return budget.model_dump(mode="json")


class BudgetGuard:
    """`domain.budget.CallGuard` for the runs that this process executes."""

    def __init__(
        self,
        *,
        store: RunStore,
        checkpoints: Checkpoints,
        cost: Cost,
        shares: dict[str, Decimal],
        day: DayBudget,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._cost = cost
        self._shares = shares
        self._day = day
        self._accounts: dict[str, Account] = {}

    @contextmanager
    def account(self, run: Run, emit: Callable[[EventDraft], Awaitable[None]]) -> Iterator[Account]:
        """Keep the account of a claimed run for as long as its segment lasts."""
        alone = run.agents is not None and len(run.agents) == 1  # nobody to share with
        now = asyncio.get_running_loop().time()
        account = Account(
            run=run,
            limits=run.budget.limits,
            usage=run.usage,
            warned=run.usage,
            shares={} if alone else self._shares,
            emit=emit,
            began=now,
            ran_before=run.budget.spent.seconds,
            looked=now,
        )
        self._accounts[run.id] = account
        try:
            yield account
        finally:
            if self._accounts.get(run.id) is account:
                del self._accounts[run.id]

    def seconds_left(self, run_id: str) -> float | None:
        """Return the running time that a run has left; `None` where it has no limit."""
        account = self._accounts.get(run_id)
        if account is None or account.limits.max_seconds is None:
            return None
        left = account.limits.max_seconds - account.seconds()
        # A timer may fire a moment before its time.
        return left if left > MOMENT else 0.0

    async def reserve(self, planned: PlannedCall) -> int:
        """Set aside what a call may cost; see `domain.budget.CallGuard`."""
        account = self._accounts.get(planned.run_id)
        if account is None:
            return planned.max_tokens
        await self._look(account)
        granted = await self._find_room(account, planned)
        while not await self._set_aside(account, planned, granted):
            await _pause(account)
            await self._look(account)
            granted = await self._find_room(account, planned)
        account.tried[_TRY.sub("", planned.key)] += 1
        return granted

    async def _find_room(self, account: Account, planned: PlannedCall) -> int:
        """Return how many tokens a call may answer with, as soon as its run has room for it."""
        while True:
            granted, reached = self._fit(account, planned)
            if reached is None:
                return granted
            if reached[0].held:
                await self._wait(account)
                continue
            error = await self._reached(account, planned, *reached)
            # Last, so that a raise which the error counts as done with has been seen.
            if not await self._look(account, again=True):
                await self._refuse(account, error, *reached)

    async def _set_aside(self, account: Account, planned: PlannedCall, granted: int) -> bool:
        """Set aside the most that a call can come to, or return that calls of other runs have to end first."""
        most = self._most(planned, granted)
        account.open[planned.key] = Held(
            planned.agent, most.most_tokens, most.most_cost_usd or Decimal(0)
        )
        try:
            kept = self._is_to_be_kept(account, most)
            await self._checkpoints.open(planned.run_id, most if kept else None)
            refusal = await self._day.refuse(account.run.tenant_id, account.run.caller_id, most)
            if refusal and not refusal.passing:
                raise BudgetReachedError(refusal.why, scope=RUN, limits={}, asks=False)  # noqa: TRY301 - what is set aside is freed in one place
        except BaseException:
            await self._free(account, planned.key)
            raise
        if refusal:
            await self._free(account, planned.key)
        return refusal is None

    def _is_to_be_kept(self, account: Account, most: ModelCall) -> bool:
        """Return whether anybody has to know of a call after a crash, or in another run."""
        limited = any(purse.limits.max_tokens is not None for purse in account.purses(most.agent))
        return limited or self._day.counts_tokens or not is_free(most)

    async def _free(self, account: Account, key: str) -> None:
        account.open.pop(key, None)
        account.changed.set()
        await self._checkpoints.close(account.run.id, key)

    async def settle(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Put what a reserved call came to in the place of the reservation."""
        account = self._accounts.get(planned.run_id)
        if call is None:
            await self._checkpoints.close(planned.run_id, planned.key)
        if account is None:
            return
        account.open.pop(planned.key, None)
        account.changed.set()
        if call is not None:
            account.usage = book_call(account.usage, call)
            before, account.warned = account.warned, account.usage
            for agent in account.usage.by_agent:  # those of outside graphs had no turn of their own
                await self._warn(account, before, agent)

    def note(self, run_id: str, call: ModelCall) -> None:
        """Count a call that a graph from outside has made: the next one of ours may not fit any more."""
        account = self._accounts.get(run_id)
        if account:
            account.usage = book_call(account.usage, call)

    def run_of(self, run_id: str) -> Run | None:
        """Return a run whose segment is under way here, as it was claimed."""
        return self._accounts[run_id].run if run_id in self._accounts else None

    def tried(self, run_id: str, key: str) -> int:
        """Return how many tries under a key were let through in this segment."""
        return self._accounts[run_id].tried[key] if run_id in self._accounts else 0

    def _most(self, planned: PlannedCall, granted: int) -> ModelCall:
        """Return the most that a call can come to."""
        return ModelCall(
            key=planned.key,
            agent=planned.agent,
            model=planned.model,
            tier=planned.tier,
            round=planned.round,
            input_tokens=0,
            output_tokens=0,
            cached_tokens=0,
            cost_usd=None,
            metered=False,
            most_tokens=planned.input_tokens + granted,
            most_cost_usd=self._cost(planned.model, planned.input_tokens, granted),
        )

    def _fit(
        self, account: Account, planned: PlannedCall
    ) -> tuple[int, tuple[Purse, LimitName] | None]:
        """Return how many tokens a call may answer with, or what stands against it."""
        granted = planned.max_tokens
        enough = min(FLOOR_TOKENS, planned.max_tokens)
        strict = (account.limits.unknown_prices or "allow") != "allow"
        for purse in account.purses(planned.agent):
            tokens, money = purse.room_tokens(), purse.room_usd()
            if tokens is not None:
                granted = min(granted, tokens - planned.input_tokens)
                if granted < enough:
                    return 0, (purse, "max_tokens")
            if money is None and not (strict and self._day.counts_money):
                continue
            payable = self._payable(planned, granted, money)
            if payable is None:
                if strict:
                    return 0, (purse, "unknown_prices")
                continue
            granted = min(granted, payable)
            if granted < enough:
                return 0, (purse, "max_cost_usd")
        return granted, None

    def _payable(self, planned: PlannedCall, wanted: int, money: Decimal | None) -> int | None:
        """Return how many of the wanted tokens an amount pays for; `None` where the price is unknown."""
        whole = self._cost(planned.model, planned.input_tokens, wanted)
        if whole is None or money is None or whole <= money:
            return None if whole is None else wanted
        prompt = self._cost(planned.model, planned.input_tokens, 0) or Decimal(0)
        if prompt > money or whole <= prompt:
            return 0
        payable = int((money - prompt) * wanted / (whole - prompt))
        # A price that rises with the length is not a line.
        while payable and (self._cost(planned.model, planned.input_tokens, payable) or 0) > money:
            payable = payable * 9 // 10
        return payable

    async def _wait(self, account: Account) -> None:
        """Return when a call in flight has been settled; raises where the run's time is over."""
        account.changed.clear()
        try:
            async with asyncio.timeout(self.seconds_left(account.run.id)):
                await account.changed.wait()
        except TimeoutError:
            raise out_of_time(account.limits) from None

    async def _look(self, account: Account, *, again: bool = False) -> bool:
        """Read the limits again where they may have been changed; return whether they were."""
        left = self.seconds_left(account.run.id)
        now = asyncio.get_running_loop().time()
        if again or left == 0 or now - account.looked > LOOK_SECONDS:
            limits = await self._store.limits(RunRef(account.run.tenant_id, account.run.id))
            account.looked = now
            if limits is not None and limits != account.limits:
                account.limits = limits
                return True
        if self.seconds_left(account.run.id) == 0:
            raise out_of_time(account.limits)
        return False

    async def _reached(
        self, account: Account, planned: PlannedCall, purse: Purse, limit: LimitName
    ) -> BudgetReachedError:
        """Return what is to be said of a limit that a call does not fit."""
        asks = account.run.approval_mode != "never" and (
            limit != "unknown_prices" or account.limits.unknown_prices == "ask"
        )
        limits: dict[str, Any] = {"unknown_prices": "allow"}
        if limit != "unknown_prices":
            stored = purse.limits.model_dump(mode="json", include={"max_cost_usd", "max_tokens"})
            limits = {name: value for name, value in stored.items() if value is not None}
        args = as_args(purse.scope, limits)
        agent = SUPERVISOR if purse.scope == RUN else purse.scope
        ref = RunRef(account.run.tenant_id, account.run.id)
        raised = await self._store.raised(ref, agent, args) if asks else 0
        return BudgetReachedError(
            sentence(planned, purse, limit),
            scope=purse.scope,
            limits=limits,
            asks=asks,
            raised=raised + account.run.retried_after,  # what was refused before is asked anew
        )

    async def _refuse(
        self, account: Account, error: BudgetReachedError, purse: Purse, limit: LimitName
    ) -> None:
        """Tell that a limit is reached, and raise it."""
        await self._tell(account, "budget.reached", purse, limit, error)
        raise error

    async def _warn(self, account: Account, before: Usage, agent: str) -> None:
        for purse in account.purses(agent):
            earlier = before if purse.scope == RUN else before.by_agent.get(agent, UsageShare())
            most = purse.limits
            if most.max_tokens is not None:
                mark = WARN_AT * most.max_tokens
                if earlier.counted_tokens < mark <= purse.share.counted_tokens:
                    await self._tell(account, "budget.warning", purse, "max_tokens")
            if most.max_cost_usd is not None:
                mark = WARN_AT * most.max_cost_usd
                if earlier.counted_cost_usd < mark <= purse.share.counted_cost_usd:
                    await self._tell(account, "budget.warning", purse, "max_cost_usd")

    async def _tell(
        self,
        account: Account,
        type_: EventType,
        purse: Purse,
        limit: LimitName,
        error: BudgetReachedError | None = None,
    ) -> None:
        agent = SUPERVISOR if purse.scope == RUN else purse.scope
        value = getattr(purse.limits, limit, "unknown")
        data: dict[str, Any] = {"scope": purse.scope, "limit": limit, "budget": account.describe()}
        call = f"{purse.scope}.{limit}.{value}"
        if error:
            data["detail"] = error.detail
            call += f"~{error.raised}" if error.raised else ""
        await account.emit(EventDraft(type=type_, agent=agent, path=BUDGET, call=call, data=data))


async def _pause(account: Account) -> None:
    """Return when a call of the run has been settled, or after a moment: those of others tell nobody."""
    account.changed.clear()
    with suppress(TimeoutError):
        # Not the same for all, so that those who wait do not stand in each other's way again.
        async with asyncio.timeout(random.uniform(*PAUSE_SECONDS)):  # noqa: S311 - no secret
            await account.changed.wait()


def out_of_time(limits: Limits) -> RunFailedError:
    """Return why a run goes no further whose time is over."""
    msg = f"The run's time is over (max_seconds {limits.max_seconds:g})."
    return RunFailedError(msg, code="deadline-exceeded")
