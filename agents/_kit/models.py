"""The model gateway: which chain of models a piece of work gets, and the one way to call one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from agents._kit.calling import Calling, OnRetry
from agents._kit.candidates import Chain, OpenCandidate, Request
from agents._kit.chains import MOST_WINDOW, Candidate, parse_chain
from agents._kit.clients import Clients, ModelSettings, OpensModels
from agents._kit.limiter import Limiter
from agents._kit.metering import OFFLINE, OutsideCall, booked_outside, price_offline
from agents._kit.offline import OfflineChatModel
from agents._kit.outages import Outages
from agents._kit.stream import TokenRelay
from agents._kit.tape import LIVE, Invoke, Tape
from domain.agent import TIERS, AgentSpec, Assignment, Tier
from domain.budget import CallGuard, NoGuard, PlannedCall, Tried
from domain.errors import ConfigurationError
from domain.run import Engine
from domain.usage import ModelCall, Rates

if TYPE_CHECKING:
    from agents._kit.remote import RemoteAgent

__all__ = ["ModelGateway", "ModelSettings", "Request"]

Work = Literal["decision", "answer"]
"""What is no agent's: what the supervisor decides, and the answer that it writes."""

_TIER_OF_WORK: Final[dict[Work, Tier]] = {"decision": "fast", "answer": "standard"}

TIMEOUTS: Final = 2
SPARE_SECONDS: Final = 30.0
"""All tries and fallbacks of one call together take at most so many time-outs and these seconds."""


def _offline_rates(model: str) -> Rates | None:
    nothing = Decimal(0)
    return Rates(input=nothing, output=nothing, cached=nothing) if model == OFFLINE else None


class ModelGateway:
    """Hands work to chat models. Built once, because a client's first construction costs up to 2 s."""

    def __init__(
        self,
        settings: ModelSettings,
        specs: tuple[AgentSpec, ...],
        *,
        clients: OpensModels | None = None,
    ) -> None:
        self.engine: Final[Engine] = "model" if settings.tiers else "offline"
        self.first_delay_seconds: Final = settings.first_delay_seconds
        self.max_output_tokens: Final = settings.max_output_tokens
        self.timeout_seconds: Final = settings.timeout_seconds
        self.call_seconds: Final = TIMEOUTS * settings.timeout_seconds + SPARE_SECONDS
        self.relay: Final = TokenRelay()
        self.settle: Callable[[str], Awaitable[None]] | None = None
        """Awaited with the run's id before a model is paid: returns when all that the run has done is
        saved; where that cannot be, it raises or the next write of the event log does."""
        self.on_booked: Callable[[str, ModelCall], None] | None = None
        """Told of every call that was paid or may have been, with the run's id, before its answer is used:
        what an answer leads to must not be saved without the call."""
        self.outages: Final = Outages()
        self.on_tried: Callable[[Tried], None] | None = None
        """Told of every try that was sent, when it has ended. Never raises."""
        self.guard: CallGuard = NoGuard()
        """Asked before every try whether the run may pay for it."""
        self.price: Callable[[ModelCall], Decimal | None] = price_offline
        """Returns what a metered call costs; `None` where nobody knows."""
        self.price_of: Callable[[str], Rates | None] = _offline_rates
        """Returns what a `provider:model` costs for a million tokens; `None` where nobody knows."""
        self.tape: Tape = LIVE
        """What every call passes: live, or a recording's."""
        self.remotes: Mapping[str, RemoteAgent] = {}
        """The agents that work in services of their own, by their names."""
        self._clients: Final[OpensModels] = clients or Clients(settings, self.relay)
        self._opened: Final[dict[Candidate, OpenCandidate]] = {}
        self._chains: Final = (
            {tier: self._open_chain(tier, settings) for tier in TIERS}
            if settings.tiers
            else self._offline_chains(specs)
        )
        self.limiter: Final = Limiter(self._opened)

    async def aclose(self) -> None:
        """Close the connections to the model providers, and to agents elsewhere."""
        await self._clients.aclose()
        for remote in self.remotes.values():
            await remote.aclose()

    def get_model_for_task(self, task: Assignment | Work | None, agent: AgentSpec | None) -> Chain:
        """Return the chain of models that a piece of work gets: the one place that decides it.

        An assignment may name its tier; else it is that of the agent's spec.
        """
        if isinstance(task, str):
            return self._chains[_TIER_OF_WORK[task]]
        own: Tier = agent.tier if agent else "standard"
        return self._chain(agent.name if agent else "", task.get("tier", own) if task else own)

    def users_of(self, tier: Tier, specs: Iterable[AgentSpec]) -> list[str]:
        """Return whose work the models of a tier do, where an assignment does not say otherwise."""
        work: dict[str, Chain] = {spec.name: self.get_model_for_task(None, spec) for spec in specs}
        own = [("supervisor", self._chains[each]) for each in _TIER_OF_WORK.values()]
        return [name for name, chain in [*own, *work.items()] if chain.tier == tier]

    def chain(self, tier: Tier) -> Chain:
        """Return the models of a tier, in the order in which they are called."""
        return self._chains[tier]

    def chain_of(self, request: Request) -> Chain:
        """Return the models that a request may be answered by, in the order in which they are called."""
        return self._chain(request.agent, request.tier)

    def _chain(self, agent: str, tier: Tier) -> Chain:
        """Return a tier's models as an agent has them: those of its service, once that has told of them."""
        remote = self.remotes.get(agent)
        return (remote.chain(tier) if remote else None) or self._chains[tier]

    def candidates(self) -> Iterator[OpenCandidate]:
        """Yield each model once that any tier names."""
        yield from self._opened.values()

    def talking(self, tier: Tier) -> BaseChatModel:
        """Return the first model of a tier: what a graph is built with, before a call picks its own."""
        return self._chains[tier].candidates[0].model(streamed=True)

    def name(self, tier: Tier) -> str:
        """Return `provider:model` of a tier's first model."""
        return self._chains[tier].name

    def book(self, planned: PlannedCall, outside: OutsideCall, began: datetime) -> ModelCall:
        """Return the ledger row of a call that somebody else has made: it had no leave, and nothing was set aside."""
        call = self.priced(booked_outside(planned, outside))
        self.guard.note(planned.run_id, call)
        if self.on_tried:
            tried = Tried(
                planned=planned,
                status=outside.status,
                began=began,
                ended=datetime.now(UTC),
                cause=outside.cause,
                call=call,
            )
            self.on_tried(tried)
        if self.on_booked:
            self.on_booked(planned.run_id, call)
        return call

    def cost(
        self, model: str, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> Decimal | None:
        """Return what so many tokens of a model (`provider:model`) cost; `None` where nobody knows."""
        return self.price(
            ModelCall(
                key="",
                agent="",
                model=model,
                tier="standard",
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_tokens=cached_tokens,
                cost_usd=None,
            )
        )

    def priced(self, call: ModelCall, planned: PlannedCall | None = None) -> ModelCall:
        """Return a call with what it cost and, where it was planned, with the most that it could."""
        call = replace(call, cost_usd=self.price(call))
        if planned is None:
            return call
        most = replace(
            call,
            metered=True,
            input_tokens=planned.input_tokens,
            output_tokens=planned.max_tokens,
            cached_tokens=0,
        )
        return replace(
            call,
            most_tokens=planned.input_tokens + planned.max_tokens,
            most_cost_usd=self.price(most),
        )

    async def call(
        self,
        request: Request,
        invoke: Invoke,
        *,
        on_retry: OnRetry,
        write: Callable[[ModelCall], None],
    ) -> AIMessage:
        """Call a model until one of its chain answers, or all have failed for good.

        `invoke(model, messages)` is given the model to use, which answers with at most as many tokens as it may,
        and what of the request's messages it is sent: all, or what fits its window.
        `on_retry(reason, delay_seconds, next_try)` is told before each wait, and before another model is
        called. `write` puts every call that was billed, or may have been, on the stream. Raises
        `RunFailedError`, whose detail holds neither prompt nor key.
        """
        if self.settle:
            await self.settle(request.run_id)
        return await Calling(self, request, invoke, on_retry=on_retry, write=write).answer()

    def _open_chain(self, tier: Tier, settings: ModelSettings) -> Chain:
        text = (settings.tiers or {})[tier]
        source = settings.variables[tier] if settings.variables else tier
        variable = f"SIGNALBOX_MODEL_{source.upper()}={text!r}"
        try:
            wanted = parse_chain(text)
        except ValueError as error:
            msg = f"{variable} cannot be used: {error}."
            raise ConfigurationError(msg) from None
        for candidate in wanted:
            if candidate not in self._opened:
                self._opened[candidate] = OpenCandidate(
                    candidate,
                    talking=self._clients.talking(candidate, variable),
                    deciding=self._clients.deciding(candidate, variable),
                    max_tokens=candidate.max_tokens or self.max_output_tokens,
                )
        return Chain(tier, tuple(self._opened[candidate] for candidate in wanted))

    def _offline_chains(self, specs: tuple[AgentSpec, ...]) -> dict[Tier, Chain]:
        # The planner reads all that its tools have answered, however much it is.
        candidate = Candidate(model=OFFLINE, context=MOST_WINDOW)
        planner = OpenCandidate(
            candidate,
            talking=OfflineChatModel(specs=specs, callbacks=[self.relay]),
            deciding=OfflineChatModel(specs=specs, disable_streaming=True),
            max_tokens=self.max_output_tokens,
        )
        self._opened[candidate] = planner
        return {tier: Chain(tier, (planner,)) for tier in TIERS}
