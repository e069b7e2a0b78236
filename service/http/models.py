"""What `GET /v1/models` shows of a tier: its chain, what can be set of it, what it costs, who uses it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from agents._kit.candidates import OpenCandidate
from agents._kit.models import ModelGateway
from agents._kit.registry import Team
from domain.agent import Tier


class ModelOptions(BaseModel):
    """How a model is called."""

    temperature: float | None
    """Null where it is left to the provider."""
    max_tokens: int
    """The most it may answer with."""
    context: int
    """Tokens that prompt and answer may have together."""
    context_known: bool
    """Whether somebody says so; else it is assumed."""
    json_schema: bool
    """Whether it answers by a JSON schema; where not, the schema is put in words for it."""
    tools: bool
    """Whether it calls tools; where not, they are described to it in words."""
    parallel: int
    """Calls that its provider is given at once by one process."""


class PriceOut(BaseModel):
    """US dollars for a million tokens, as decimal strings."""

    input_per_mtok: str
    output_per_mtok: str
    cached_per_mtok: str


class ModelOut(BaseModel):
    """One model."""

    model: str
    """`provider:model`."""
    provider: str
    options: ModelOptions
    price: PriceOut | None
    price_known: bool


class TierOut(ModelOut):
    """One tier: its model, and those that take its place when it fails."""

    tier: Tier
    fallbacks: list[ModelOut]
    agents: list[str]
    """Whose work it does where an assignment does not say otherwise."""


class ModelList(BaseModel):
    """The tiers."""

    data: list[TierOut]
    next_cursor: str | None = None
    has_more: bool = False


def describe_tier(gateway: ModelGateway, team: Team, tier: Tier) -> dict[str, Any]:
    """Return what is shown of a tier: neither keys nor base URLs."""
    first, *others = gateway.chain(tier).candidates
    return {
        "tier": tier,
        **_describe(gateway, first),
        "fallbacks": [_describe(gateway, each) for each in others],
        "agents": gateway.users_of(tier, team.specs),
    }


def _describe(gateway: ModelGateway, candidate: OpenCandidate) -> dict[str, Any]:
    price = gateway.price_of(candidate.name)
    shown = None
    if price is not None:
        shown = {
            "input_per_mtok": str(price.input),
            "output_per_mtok": str(price.output),
            "cached_per_mtok": str(price.cached),
        }
    return {
        "model": candidate.name,
        "provider": candidate.provider,
        "options": {
            "temperature": candidate.candidate.temperature,
            "max_tokens": candidate.max_tokens,
            "context": candidate.window.tokens,
            "context_known": candidate.window.known,
            "json_schema": candidate.can_schema,
            "tools": candidate.can_tools,
            "parallel": gateway.limiter.bound(candidate.provider),
        },
        "price": shown,
        "price_known": price is not None,
    }
