"""What runs are made of, as the settings say: the tools, the policy table, the team and its models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

from agents._kit.instances import Instances
from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.registry import Team, find_team
from agents._kit.remote import RemoteAgent
from domain.caching import WorkCache
from domain.errors import ConfigurationError
from domain.sandbox import Sandbox
from monitoring.costs import PriceTable
from monitoring.price_file import read_prices
from service.settings import Settings
from tools.gates import Gates, make_gates
from tools.knowledge import Knowledge
from tools.registry import Toolbox, build_toolbox
from tools.sandbox.choice import SandboxWishes
from tools.tavily import TavilySearch
from tools.web import WebSearch


class Parts(NamedTuple):
    """What runs are made of."""

    toolbox: Toolbox
    gates: Gates
    team: Team
    gateway: ModelGateway


OpensParts = Callable[[Settings, Sandbox, AsyncExitStack, WorkCache | None], Parts]
"""Returns what runs are made of, to be closed with the stack."""


def open_parts(
    settings: Settings, sandbox: Sandbox, stack: AsyncExitStack, cache: WorkCache | None = None
) -> Parts:
    """Return all of them, to be closed with the stack; raises `ConfigurationError` where one cannot be."""
    toolbox = open_toolbox(settings, sandbox, cache)
    stack.push_async_callback(toolbox.aclose)
    team = open_team(settings, toolbox)
    gateway = open_gateway(settings, team)
    stack.push_async_callback(gateway.aclose)
    open_remotes(settings, team, gateway)
    return Parts(toolbox, open_gates(settings, toolbox), team, gateway)


def sandbox_wishes(settings: Settings) -> SandboxWishes:
    """Return what the settings say about running programs."""
    return SandboxWishes(
        choice=settings.sandbox,
        python=settings.sandbox_python,
        socket=settings.sandbox_socket,
        data=settings.data_dir.resolve(),
    )


def open_toolbox(settings: Settings, sandbox: Sandbox, cache: WorkCache | None = None) -> Toolbox:
    """Return the tools; programs run in `sandbox`, and what is got from the web is had from `cache`."""
    knowledge = Knowledge(settings.data_dir.resolve() / "knowledge.db", settings.knowledge_dir)
    key = settings.tavily_api_key
    tavily = TavilySearch(
        key=key.get_secret_value() if key else None,
        keyless=settings.search_keyless,
        base_url=settings.tavily_base_url,
    )
    return build_toolbox(
        knowledge=knowledge,
        sandbox=sandbox,
        search=WebSearch(knowledge, tavily),
        http_allow=settings.http_allow,
        output_dir=settings.output_dir.resolve() if settings.output_dir else None,
        cache=cache,
    )


def open_gates(settings: Settings, toolbox: Toolbox) -> Gates:
    """Return the policy table; raises `ConfigurationError` where a rule of it cannot be used."""
    return make_gates(settings.gates, toolbox)


def open_team(settings: Settings, toolbox: Toolbox) -> Team:
    """Return the agents; raises `ConfigurationError` where one cannot be used."""
    return find_team(settings.agents, tool_names=toolbox.names)


def open_gateway(settings: Settings, team: Team) -> ModelGateway:
    """Return the model gateway with its clients built."""
    key = settings.openai_api_key
    gateway = ModelGateway(
        ModelSettings(
            tiers=settings.tiers,
            variables=settings.tier_variables,
            timeout_seconds=settings.model_timeout,
            max_output_tokens=settings.model_max_output,
            openai_api_key=key.get_secret_value() if key else None,
            openai_base_url=settings.openai_base_url,
        ),
        team.routable,
    )
    prices = open_prices(settings)
    for candidate in gateway.candidates():
        prices.rates(candidate.name)  # looked up ahead: the first time may take seconds
    gateway.price, gateway.price_of = prices.price, prices.rates
    return gateway


def open_remotes(settings: Settings, team: Team, gateway: ModelGateway) -> None:
    """Have the agents work elsewhere that the settings say so of; the gateway closes what is opened for it."""
    secret = settings.sent_agent_secret
    specs = {spec.name: spec for spec in team.routable}
    remotes = {}
    for name, urls in settings.agent_urls.items():
        if name not in specs:
            known = ", ".join(specs)
            msg = (
                f"SIGNALBOX_AGENT_{name.upper()}_URL names no agent that gets work; there are {known}. "
                "Rename or unset it."
            )
            raise ConfigurationError(msg)
        instances = Instances(name, tuple(urls), secret)
        remote = RemoteAgent(
            specs[name], instances, gateway.relay, call_seconds=gateway.call_seconds
        )
        remote.price_of = gateway.price_of
        remotes[name] = remote
    gateway.remotes = remotes


def open_prices(settings: Settings) -> PriceTable:
    """Return what models cost; raises `ConfigurationError` where the file of prices cannot be used."""
    own = read_prices(settings.prices) if settings.prices else None
    return PriceTable(own, openai_base_url=settings.openai_base_url)
