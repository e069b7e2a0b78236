"""The model gateway: which chat model a tier means, one layer of retries, and what counts as an answer."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

import httpx2
import openai
import tenacity
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from agents._kit.cleaning import clean_message
from agents._kit.faults import check_answer, explain, is_provider_error, is_transient
from agents._kit.offline import OfflineChatModel
from agents._kit.stream import TokenRelay
from domain.agent import AgentSpec, Tier, TokenCount
from domain.budget import CallGuard, NoGuard
from domain.errors import ConfigurationError, ModelCallError, RunFailedError
from domain.run import Engine
from domain.usage import ModelCall, Rates

OFFLINE_MODEL: Final = "offline:planner"

TRIES: Final = 3
"""Calls made before a transient failure becomes final."""

CONNECTIONS: Final = 128
"""Connections to the model provider: more than runs make calls at once."""

MOST_TOKENS: Final = 10**12
"""More than any call can use; a provider may say anything."""

MAX_DELAY_SECONDS: Final = 20.0
"""The longest wait between two tries, whatever Retry-After says."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What the gateway needs to know; the service fills it from the environment."""

    tiers: dict[Tier, str] | None
    """`provider:model` by tier; `None` means that no model is configured."""
    variables: dict[Tier, Tier] | None = None
    """For each tier, the one whose setting names its model; for errors."""
    timeout_seconds: float = 60.0
    max_output_tokens: int = 4096
    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    first_delay_seconds: float = 0.5
    """Wait before the first retry; it doubles, with jitter."""


class ModelGateway:
    """Hands out chat models. Built once, because a client's first construction costs up to 2 s."""

    def __init__(self, settings: ModelSettings, specs: tuple[AgentSpec, ...]) -> None:
        self.engine: Final[Engine] = "model" if settings.tiers else "offline"
        self.first_delay_seconds: Final = settings.first_delay_seconds
        self.max_output_tokens: Final = settings.max_output_tokens
        self._names: Final[dict[Tier, str]] = settings.tiers or {}
        # One bounded pool of our own: the library's default outlives the event loop it was made in.
        self._http: Final = httpx2.AsyncClient(
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS
            ),
            timeout=settings.timeout_seconds,
            follow_redirects=True,
        )
        self.relay: Final = TokenRelay()
        self.guard: CallGuard = NoGuard()
        """Lets calls be made as long as their run may pay for them."""
        self.settle: Callable[[str], Awaitable[None]] | None = None
        """Awaited with the run's id before a model is paid: returns when all that the run has done is
        saved; where that cannot be, it raises or the next write of the event log does."""
        self.on_booked: Callable[[str, ModelCall], None] | None = None
        """Told of every call that was paid, with the run's id, before its answer is used: what an answer
        leads to must not be saved without the call."""
        self.price: Callable[[ModelCall], Decimal | None] = _price_offline
        """What a call costs, `None` where that is unknown."""
        self.price_of: Callable[[str], Rates | None] = _no_rates
        """What a `provider:model` costs for a million tokens, `None` where that is unknown."""
        self._talking: dict[Tier, BaseChatModel] = {}
        self._deciding: dict[Tier, BaseChatModel] = {}
        for tier in ("fast", "standard", "deep"):
            if settings.tiers:
                self._talking[tier] = _open_model(
                    tier,
                    settings,
                    self._http,
                    streaming=True,
                    callbacks=[self.relay],
                )
                # Streaming a decision nobody reads costs a fifth of a run's CPU.
                self._deciding[tier] = _open_model(
                    tier,
                    settings,
                    self._http,
                    disable_streaming=True,
                )
            else:
                self._talking[tier] = OfflineChatModel(specs=specs, callbacks=[self.relay])
                self._deciding[tier] = OfflineChatModel(specs=specs, disable_streaming=True)

    async def aclose(self) -> None:
        """Close the connections to the model provider."""
        await self._http.aclose()

    def talking(self, tier: Tier) -> BaseChatModel:
        """Return the model whose tokens reach the client."""
        return self._talking[tier]

    def deciding(self, tier: Tier) -> BaseChatModel:
        """Return the model for structured decisions: not streamed."""
        return self._deciding[tier]

    def name(self, tier: Tier) -> str:
        """Return `provider:model` of a tier."""
        return self._names.get(tier, OFFLINE_MODEL)

    def book(
        self,
        key: str,
        agent: str,
        tier: Tier,
        message: AIMessage,
        *,
        run_id: str,
        model: str | None = None,
    ) -> ModelCall:
        """Return the ledger row of a finished call; `model` is that of a call which somebody else made."""
        count = count_tokens(message, fallback_model=self.name(tier))
        usage = message.usage_metadata
        details = (usage.get("output_token_details") if usage else None) or {}
        call = ModelCall(
            key=key,
            agent=agent,
            model=model or self.name(tier),
            tier=tier,
            input_tokens=count["input_tokens"],
            output_tokens=count["output_tokens"],
            cached_tokens=count["cached_tokens"],
            reasoning_tokens=_count(details.get("reasoning")),
            metered=usage is not None,
            cost_usd=None,
        )
        call = replace(call, cost_usd=self.price(call))
        if self.on_booked:
            self.on_booked(run_id, call)
        return call

    async def call(
        self,
        invoke: Callable[[], Awaitable[AIMessage]],
        *,
        run_id: str,
        on_retry: Callable[[str, float, int], None],
    ) -> AIMessage:
        """Call a model until it answers or fails for good.

        `on_retry(reason, delay_seconds, next_try)` is told before each wait. Raises `ModelCallError`,
        whose detail holds neither prompt nor key.
        """

        def announce(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            delay = state.next_action.sleep if state.next_action else 0.0
            if error is not None:
                on_retry(explain(error), round(delay, 2), state.attempt_number + 1)

        tries = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=_RetryAfter(self.first_delay_seconds),
            before_sleep=announce,
            reraise=True,
        )
        if self.settle:
            await self.settle(run_id)
        try:
            async for attempt in tries:
                with attempt:
                    return clean_message(check_answer(await invoke()))
        except RunFailedError:
            raise
        except Exception as error:
            if is_provider_error(error):
                raise ModelCallError(explain(error)) from error
            raise
        raise AssertionError  # the loop above returns or raises


class _RetryAfter(tenacity.wait.wait_base):
    """Wait as long as the provider says, else exponentially with jitter; never longer than the cap."""

    def __init__(self, first_delay_seconds: float) -> None:
        self._otherwise = tenacity.wait_exponential_jitter(
            multiplier=first_delay_seconds, max=MAX_DELAY_SECONDS, jitter=first_delay_seconds / 2
        )

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return the seconds to wait before the next try."""
        error = retry_state.outcome.exception() if retry_state.outcome else None
        headers = getattr(getattr(error, "response", None), "headers", {})
        try:
            told = float(headers["retry-after"])
            return (
                min(max(told, 0.0), MAX_DELAY_SECONDS) if math.isfinite(told) else MAX_DELAY_SECONDS
            )
        except (KeyError, ValueError):
            return min(self._otherwise(retry_state), MAX_DELAY_SECONDS)


def _price_offline(call: ModelCall) -> Decimal | None:
    return Decimal(0) if call.model == OFFLINE_MODEL else None


def _no_rates(_model: str) -> Rates | None:
    return None


def count_tokens(message: AIMessage, *, fallback_model: str) -> TokenCount:
    """Return what one call used; zeros where the provider did not say."""
    usage = message.usage_metadata
    details = (usage.get("input_token_details") if usage else None) or {}
    return TokenCount(
        input_tokens=_count(usage["input_tokens"] if usage else 0),
        output_tokens=_count(usage["output_tokens"] if usage else 0),
        cached_tokens=_count(details.get("cache_read")),
        calls=1,
        model=str(message.response_metadata.get("model_name") or fallback_model),
    )


def add_tokens(messages: Sequence[AIMessage], *, fallback_model: str) -> TokenCount:
    """Return what the calls used together whose answers these are; there is at least one."""
    counts = [count_tokens(message, fallback_model=fallback_model) for message in messages]
    return TokenCount(
        input_tokens=sum(c["input_tokens"] for c in counts),
        output_tokens=sum(c["output_tokens"] for c in counts),
        cached_tokens=sum(c["cached_tokens"] for c in counts),
        calls=len(counts),
        model=counts[-1]["model"],
    )


def told_model(message: AIMessage) -> str:
    """Return the `provider:model` that a message says it is of."""
    told = message.response_metadata
    names = (told.get("model_provider"), told.get("model_name") or told.get("model"))
    return ":".join(str(name) for name in names if name) or "unknown"


def _count(told: int | None) -> int:
    """Return a count as a provider told it, within what a count can be."""
    return min(max(int(told or 0), 0), MOST_TOKENS)


def _open_model(
    tier: Tier,
    settings: ModelSettings,
    http: httpx2.AsyncClient,
    *,
    streaming: bool = False,
    **extra: Any,
) -> BaseChatModel:
    name = (settings.tiers or {})[tier]
    source = settings.variables[tier] if settings.variables else tier
    variable = f"SIGNALBOX_MODEL_{source.upper()}={name!r}"
    provider = name.partition(":")[0]
    options: dict[str, Any] = {**_options(provider, settings), **extra}
    if provider == "openai":
        options["http_async_client"] = http
        if streaming:
            # Always, so that a model behaves the same whether or not anybody reads its tokens.
            options["streaming"] = True
    try:
        model: BaseChatModel = init_chat_model(name, **options)
    except ImportError as error:
        msg = f"{variable} needs a package that is not installed: pip install langchain-{provider.replace('_', '-')}."
        raise ConfigurationError(msg) from error
    except (ValueError, TypeError, openai.OpenAIError) as error:
        msg = (
            f"{variable} cannot be used ({type(error).__name__}): "
            "write it as provider:model, such as openai:gpt-4o-mini, and set that provider's API key."
        )
        raise ConfigurationError(msg) from error
    return model


def _options(provider: str, settings: ModelSettings) -> dict[str, Any]:
    """Return the constructor arguments a provider understands. `max_retries=0`: the gateway retries."""
    if provider == "ollama":
        return {
            "num_predict": settings.max_output_tokens,
            "client_kwargs": {"timeout": settings.timeout_seconds},
        }
    options: dict[str, Any] = {
        "timeout": settings.timeout_seconds,
        "max_retries": 0,
        "max_tokens": settings.max_output_tokens,
    }
    if provider == "openai":
        options["stream_usage"] = True
        if settings.openai_base_url:
            options["base_url"] = settings.openai_base_url
        # A local server wants no key, the client insists on one.
        options["api_key"] = settings.openai_api_key or "not-needed"
    return options
