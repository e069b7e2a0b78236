"""What the doctor finds about agents that work in services of their own."""

from __future__ import annotations

import asyncio
from typing import Final

from agents._kit.instances import Instances, RemoteError
from agents._kit.metering import OFFLINE
from agents._kit.remote_wire import agent_version
from domain.addresses import shown_url
from domain.agent import AgentSpec
from domain.errors import ConfigurationError
from service.agent_settings import in_clear
from service.commands.findings import Finding, ok, refused, warn
from service.parts import open_team, open_toolbox
from service.settings import Settings
from tools.sandbox.off import NoSandbox

SUBJECT: Final = "agent services"


def agent_addresses(settings: Settings) -> list[Finding]:
    """Look whether what is said to them can be read on its way."""
    fix = "Write https:// there, with a proxy before the service; or use a network that nobody else is in."
    return [
        warn(
            SUBJECT,
            f"{name}: {', '.join(hosts)} is spoken to over http: whoever reads along has SIGNALBOX_AGENT_SECRET, and "
            "what runs are about",
            fix,
        )
        for name, hosts in in_clear(settings.agent_urls).items()
    ]


async def agent_services(settings: Settings) -> list[Finding]:
    """Look whether each instance of each of them answers, as the agent that it is to be, in the same version."""
    if not settings.agent_urls:
        return []
    try:
        specs = await asyncio.to_thread(_specs, settings)
    except ConfigurationError:
        return []  # reported for the agents
    found = []
    for name, urls in settings.agent_urls.items():
        spec = specs.get(name)
        if spec is None:
            variable = f"SIGNALBOX_AGENT_{name.upper()}_URL"
            error = ConfigurationError(f"{variable} names no agent that gets work. Unset it.")
            found.append(refused(SUBJECT, error))
        else:
            found += await asyncio.gather(*(_instance(settings, spec, url) for url in urls))
    return found


def _specs(settings: Settings) -> dict[str, AgentSpec]:
    toolbox = open_toolbox(settings, NoSandbox("Programs are not run by this command."))
    return {spec.name: spec for spec in open_team(settings, toolbox).routable}


async def _instance(settings: Settings, spec: AgentSpec, url: str) -> Finding:
    instances = Instances(spec.name, (url,), settings.sent_agent_secret)
    where = shown_url(url)
    try:
        about = await instances.look(instances.all[0])
    except RemoteError as error:
        fix = f"Start `signalbox agent {spec.name}` there, or mend {instances.variable}."
        return warn(SUBJECT, f"{spec.name} at {where}: {error.fault.said}", fix)
    finally:
        await instances.aclose()
    if (about.agent, about.version) != (spec.name, agent_version(spec)):
        fix = "Bring both to the same release, with the same SIGNALBOX_AGENTS."
        return warn(
            SUBJECT, f"{spec.name}: {where} serves another agent, or another version of it", fix
        )
    models = sorted({each.model for chain in about.chains.values() for each in chain})
    if OFFLINE in models and settings.tiers is not None:
        fix = "Set OPENAI_API_KEY, OPENAI_BASE_URL or SIGNALBOX_MODEL_STANDARD where it runs."
        text = f"{spec.name} at {where} has no language model: the offline planner does its work"
        return warn(SUBJECT, text, fix)
    return ok(SUBJECT, f"{spec.name} at {where} answers, with {', '.join(models)}")
