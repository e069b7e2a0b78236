"""What model calls cost: your own prices first, then the table that `genai-prices` brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from domain.usage import ModelCall, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider, TieredPrices

OFFLINE: Final = "offline:"
FREE: Final = Rates(input=Decimal(0), output=Decimal(0), cached=Decimal(0))

_CATALOGUE: Final = {
    "anthropic": "anthropic",
    "anthropic_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "baseten": "baseten",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google_anthropic_vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "groq": "groq",
    "mistralai": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "together": "together",
    "xai": "x-ai",
}
"""LangChain's names of providers, and the table's. One that is not here has no prices in the table: to guess
it by its name would find the prices of somebody else, and some bill more than tokens."""

_DATE: Final = re.compile(r"-20\d\d-?\d\d-?\d\d$")
_DIGITS: Final = 60
"""Enough for any sum of ours to be exact."""


class _Listed(NamedTuple):
    """A model of the table."""

    provider: Provider
    model: ModelInfo


class PriceTable:
    """Tells what calls cost; what it does not know is `None`, never 0.

    It never reaches for the network: the table is the one of the installed `genai-prices`. That takes
    seconds to load, so it is loaded only where a model is asked for that your own prices do not have.
    """

    def __init__(
        self, own: Mapping[str, Rates] | None = None, *, openai_base_url: str | None = None
    ) -> None:
        self._own: Final = dict(own or {})
        self._openai: Final = is_openai(openai_base_url)
        self._found = lru_cache(maxsize=1_000)(self._find)

    def rates(self, model: str) -> Rates | None:
        """Return what a `provider:model` costs, for prompts of ordinary length where that matters."""
        found = self._found(model)
        return _rates(found, input_tokens=0) if isinstance(found, tuple) else found

    def cost(
        self, model: str, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> Decimal | None:
        """Return what a call of a `provider:model`, dated or not, costs in US dollars.

        The cached tokens are part of the input; tokens of reasoning are part of the output. Some models
        cost more from a certain length of the prompt on, and then for all tokens of the call.
        """
        found = self._found(model)
        rates = _rates(found, input_tokens=input_tokens) if isinstance(found, tuple) else found
        if rates is None:
            return None
        cached = min(cached_tokens, input_tokens)
        with localcontext(prec=_DIGITS):
            total = (
                rates.input * (input_tokens - cached)
                + rates.cached * cached
                + rates.output * output_tokens
            )
            return total.scaleb(-6)

    def price(self, call: ModelCall) -> Decimal | None:
        """Return what a call costs. One that nobody has metered has no price, unless its model is free."""
        cost = self.cost(
            call.model,
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cached_tokens=call.cached_tokens,
        )
        return cost if call.metered or self.rates(call.model) == FREE else None

    def _find(self, model: str) -> Rates | _Listed | None:
        if model.startswith(OFFLINE):
            return FREE
        own = self._find_own(model)
        if own is not None:
            return own
        provider, _, name = model.partition(":")
        if provider == "openai" and not self._openai:
            # Some other server answers under OpenAI's name.
            return None
        listed = _CATALOGUE.get(provider)
        return _look_up(listed, name) if listed and name else None

    def _find_own(self, model: str) -> Rates | None:
        for name in (model, _DATE.sub("", model)):
            if name in self._own:
                return self._own[name]
        fitting = [key for key in self._own if key.endswith("*") and model.startswith(key[:-1])]
        return self._own[max(fitting, key=len)] if fitting else None


def is_openai(base_url: str | None) -> bool:
    """Return whether calls to this base URL are billed by OpenAI."""
    if base_url is None:
        return True
    host = urlsplit(base_url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def _look_up(provider: str, name: str) -> _Listed | None:
    """Return the table's entry of a model, where it says what both directions cost."""
    # It takes as long to load as all the rest.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - see above

    try:
        found = _Listed(*get_snapshot().find_provider_model(name, None, provider, None))
    except LookupError:
        return None
    return found if _rates(found, input_tokens=0) else None


def _rates(found: _Listed, *, input_tokens: int) -> Rates | None:
    """Return what the table says that a call costs now: some prices change at a date or an hour."""
    prices = found.model.get_prices(datetime.now(tz=UTC))
    given = _of_length(prices.input_mtok, input_tokens)
    said = _of_length(prices.output_mtok, input_tokens)
    cached = _of_length(prices.cache_read_mtok, input_tokens)
    if given is None or said is None:
        return None
    return Rates(input=given, output=said, cached=given if cached is None else cached)


def _of_length(rate: Decimal | TieredPrices | None, input_tokens: int) -> Decimal | None:
    """Return the rate of all tokens of a call whose prompt has this length."""
    if rate is None or isinstance(rate, Decimal):
        return rate
    passed = [tier.price for tier in rate.tiers if input_tokens > tier.start]
    return passed[-1] if passed else rate.base
