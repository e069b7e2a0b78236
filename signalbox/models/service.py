"""What a server tells of itself: its team, tools, models, health and version."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from signalbox.models.base import Model


class Agent(Model):
    """An agent of the team."""

    name: str
    description: str
    tier: str
    model: str
    tools: list[str]
    routable: bool
    outside_graph: bool


class When(Model):
    """Which calls a rule is about."""

    method: list[str] | None = None
    host: list[str] | None = None
    path: list[str] | None = None
    size_over: int | None = None


class GateRule(Model):
    """Whether some calls run, ask a person, or do not run."""

    tool: str
    when: When = When()
    gate: str
    mandatory: bool = False
    by: str = "any"
    expires_seconds: float | None = None
    on_expiry: str | None = None


class Tool(Model):
    """A tool and its gate."""

    name: str
    description: str
    effect: str
    gate: str
    """`auto`, `ask`, `deny`, or `rules`: it depends on the call."""
    rules: list[GateRule]
    off_reason: str | None
    args_schema: dict[str, Any]


class ModelOptions(Model):
    """How a language model is called."""

    temperature: float | None
    max_tokens: int
    context: int
    context_known: bool
    json_schema: bool
    tools: bool
    parallel: int


class Price(Model):
    """US dollars for a million tokens, as decimal strings."""

    input_per_mtok: str
    output_per_mtok: str
    cached_per_mtok: str


class LanguageModel(Model):
    """One language model."""

    model: str
    provider: str
    options: ModelOptions
    price: Price | None
    price_known: bool


class ModelTier(LanguageModel):
    """One tier: its model, and those that take its place when it fails."""

    tier: str
    fallbacks: list[LanguageModel]
    agents: list[str]


class Sandbox(Model):
    """What runs programs, and why."""

    backend: str
    detail: str
    libraries: list[str]


class Component(Model):
    """How one thing is that the service depends on."""

    status: str
    detail: str | None
    seconds: float


class Health(Model):
    """Whether the service works, and each part it needs."""

    status: str
    """`ok`, `degraded` or `down`."""
    checks: dict[str, str] = Field(default={})
    components: dict[str, Component] = Field(default={})
    sandbox: Sandbox | None = None


class Info(Model):
    """What a server is."""

    name: str
    version: str
    revision: str | None
    engine: str
    graph_version: str
    environment: str
    models: dict[str, str]
    protocols: dict[str, str]
    features: list[str]
