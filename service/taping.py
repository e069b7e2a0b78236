"""What runs are made of where they are recorded, and where a recording takes the place of models and tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.recorder import Recorder
from agents._kit.registry import Team
from agents._kit.replayer import ReplayClients, Replayer
from agents._kit.tape import team_digest
from domain.caching import WorkCache
from domain.recording import Body, Header, RatesLine, Recording, SandboxLine
from domain.run import RunContext
from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult, Sandbox, SandboxState
from domain.secrets import Scrubber
from domain.tool import Pinned
from domain.usage import Rates
from monitoring.costs import PriceTable
from service.parts import Parts, open_gates, open_parts, open_team, open_toolbox
from service.recordings import SETTINGS
from service.settings import Settings
from tools.registry import Pin, Toolbox

_NOWHERE: Final = "http://recorded.invalid"
"""Of models without a recorded price the table knows none either."""

Find = Callable[[Mapping[str, Any], RunContext], Awaitable[Pinned]]


def open_recorded_parts(
    recorder: Recorder,
    settings: Settings,
    sandbox: Sandbox,
    stack: AsyncExitStack,
    cache: WorkCache | None,
) -> Parts:
    """Return what runs are made of; what comes from outside is written down on its way."""
    parts = open_parts(settings, sandbox, stack, cache)
    parts.gateway.tape = recorder
    toolbox = _with_pins(parts.toolbox, lambda name, find: partial(_pinned, recorder, name, find))
    return parts._replace(toolbox=toolbox)


async def _pinned(
    recorder: Recorder, name: str, find: Find, args: Mapping[str, Any], context: RunContext
) -> Pinned:
    return await recorder.pin(name, args, context, find)


def _with_pins(toolbox: Toolbox, wrap: Callable[[str, Find], Find]) -> Toolbox:
    tools = [toolbox.get(name) for name in toolbox.names]
    return Toolbox(
        replace(tool, pin=Pin(argument=tool.pin.argument, find=wrap(tool.name, tool.pin.find)))
        if tool.pin
        else tool
        for tool in tools
    )


def make_header(
    parts: Parts,
    settings: Settings,
    sandbox: SandboxState,
    *,
    body: Body,
    windows: dict[str, int | None],
    version: str,
    graph_version: str,
    scrubber: Scrubber,
) -> Header:
    """Return the first line of a recording; `windows` are those of its beginning."""
    gateway, toolbox, tiers = parts.gateway, parts.toolbox, settings.tiers
    kept = settings.model_dump(mode="json", include=set(SETTINGS), exclude_defaults=True)
    web = settings.search_keyless or settings.tavily_api_key is not None
    header = Header(
        product=version,
        graph_version=graph_version,
        engine=gateway.engine,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        body=body,
        settings={**kept, "search_keyless": web},
        tiers={str(tier): chain for tier, chain in tiers.items()} if tiers else None,
        windows=windows,
        rates={name: _write_rates(gateway.price_of(name)) for name in windows},
        team=team_digests(parts.team),
        tools={name: toolbox.get(name).off_reason for name in toolbox.names},
        sandbox=SandboxLine(**sandbox._asdict()),
        outside=tuple(spec.name for spec in parts.team.specs if spec.graph is not None),
    )
    return Header.model_validate(scrubber.scrub_value(header.model_dump(mode="json")))


def windows_of(gateway: ModelGateway) -> dict[str, int | None]:
    """Return the windows of all models as far as they are known now: a refusal may say more later."""
    return {
        each.name: each.window.tokens if each.window.known else None
        for each in gateway.candidates()
    }


def team_digests(team: Team) -> dict[str, str]:
    """Return a digest of what each agent is made of."""
    return {
        spec.name: team_digest([spec.description, spec.prompt, spec.tier, list(spec.tools)])
        for spec in team.specs
    }


def _write_rates(rates: Rates | None) -> RatesLine | None:
    if rates is None:
        return None
    return RatesLine(input=rates.input, output=rates.output, cached=rates.cached)


def open_replayed_parts(
    recording: Recording,
    replayer: Replayer,
    settings: Settings,
    sandbox: Sandbox,
    stack: AsyncExitStack,
    cache: WorkCache | None,
) -> Parts:
    """Return what runs are made of where a recording answers in the place of models and tools."""
    del sandbox
    header = recording.header
    toolbox = open_toolbox(settings, RecordedSandbox(_state(header)), cache)
    stack.push_async_callback(toolbox.aclose)
    toolbox = _with_pins(toolbox, lambda name, _: partial(replayer.pin, name))
    off = {name: header.tools.get(name, toolbox.get(name).off_reason) for name in toolbox.names}
    toolbox = Toolbox(replace(toolbox.get(name), off_reason=off[name]) for name in toolbox.names)
    team = open_team(settings, toolbox)
    gateway = _open_gateway(header, settings, team)
    stack.push_async_callback(gateway.aclose)
    gateway.tape, replayer.relay = replayer, gateway.relay
    return Parts(toolbox, open_gates(settings, toolbox), team, gateway)


def _open_gateway(header: Header, settings: Settings, team: Team) -> ModelGateway:
    gateway = ModelGateway(
        ModelSettings(
            tiers=settings.tiers,
            variables=settings.tier_variables,
            max_output_tokens=settings.model_max_output,
        ),
        team.routable,
        clients=ReplayClients(),
    )
    for candidate in gateway.candidates():
        known = header.windows.get(candidate.name)
        if known is not None:
            candidate.window.tokens, candidate.window.known = known, True
    own = {
        model: Rates(input=rates.input, output=rates.output, cached=rates.cached)
        for model, rates in header.rates.items()
        if rates
    }
    prices = PriceTable(own, openai_base_url=_NOWHERE)
    gateway.price, gateway.price_of = prices.price, prices.rates
    return gateway


class RecordedSandbox:
    """Says what the recorded sandbox could do, and runs nothing."""

    def __init__(self, state: SandboxState) -> None:
        self.state = state

    async def load(self) -> None:
        """Do nothing: there is nothing to get ready."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Refuse the program: whatever was recorded is given back before."""
        del code, workspace, limits
        raise RuntimeError("A replay runs no programs.")


def _state(header: Header) -> SandboxState:
    kept = header.sandbox
    return SandboxState(kept.backend, kept.detail, kept.libraries)
