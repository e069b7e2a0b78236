"""`signalbox doctor`: what works, what does not, and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain
from typing import Final

from agents._kit.candidates import OpenCandidate
from agents._kit.models import ModelGateway
from agents._kit.probing import probe
from domain.addresses import shown_url
from domain.agent import TIERS
from domain.errors import ConfigurationError
from domain.sandbox import SandboxState
from service.commands.doctor_agents import agent_addresses, agent_services
from service.commands.doctor_database import Stored, database
from service.commands.doctor_local import folder, port, secrets, variables, versions
from service.commands.doctor_network import langsmith, oidc, public_url, webhooks
from service.commands.findings import Finding, bounded, fail, ok, refused, warn
from service.parts import (
    open_gates,
    open_gateway,
    open_team,
    open_toolbox,
    sandbox_wishes,
)
from service.settings import Settings
from tools.registry import Toolbox
from tools.sandbox.choice import open_sandbox
from tools.tavily import BASE_URL

PROBE_SECONDS: Final = 60.0
"""How long is waited for the answers of a model to all questions; some think for long."""

DATABASE_SECONDS: Final = 75.0

MODEL_FIX: Final = (
    "Mend its key, its name or OPENAI_BASE_URL; what a model cannot do is said by options "
    "behind its name (docs/models.md)."
)
SANDBOX_FIX: Final = "Programs are refused until then: SIGNALBOX_SANDBOX=auto, and docs/sandbox.md says what it needs."
NOT_TRIED: Final = "not tried (--offline)"

Checked = Callable[[Settings, Toolbox], Finding]


async def examine(settings: Settings, *, offline: bool = False) -> list[Finding]:
    """Look at everything a server needs; `offline`: at nothing beyond this machine but the database."""
    findings: list[Finding] = []
    for subject, look in (
        ("version", versions),
        ("settings", variables),
        ("secrets", secrets),
        ("data", folder),
        ("port", port),
        ("agent services", agent_addresses),
    ):
        findings += await bounded(subject, asyncio.to_thread(look, settings))
    try:
        async with open_sandbox(sandbox_wishes(settings)) as sandbox:
            toolbox = open_toolbox(settings, sandbox)
            findings.append(_code(sandbox.state, settings))
            for check in (_agents, _models, _gates, _search):
                findings.append(_guarded(check, settings, toolbox))
            findings += [] if offline else await _probe(settings, toolbox)
    except ConfigurationError as error:
        findings.append(refused("sandbox", error))
    stored = await _stored(settings)
    return findings + stored.findings + await _beyond(settings, stored, offline=offline)


async def _stored(settings: Settings) -> Stored:
    """Look at the database, which may take its time to be reached, and longer to be migrated."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            return await database(settings)
    except TimeoutError:
        text = f"it did not answer within {DATABASE_SECONDS:g} s"
        fix = "Look whether the server in SIGNALBOX_DATABASE_URL is up, and what it waits for."
        return Stored([fail("database", text, fix)], [])


async def _beyond(settings: Settings, stored: Stored, *, offline: bool) -> list[Finding]:
    """Look at what is elsewhere, all at once."""
    looks: dict[str, Callable[[], Awaitable[list[Finding]]]] = {
        "public_url": partial(public_url, settings),
        "oidc": partial(oidc, settings),
        "langsmith": partial(langsmith, settings),
        "webhooks": partial(webhooks, settings, stored.receivers),
        "agent services": partial(agent_services, settings),
    }
    if offline:
        if not settings.agent_urls:
            del looks["agent services"]
        return [ok(subject, NOT_TRIED) for subject in ("model", *looks)]
    found = await asyncio.gather(*(bounded(subject, look()) for subject, look in looks.items()))
    return list(chain.from_iterable(found))


def _models(settings: Settings, toolbox: Toolbox) -> Finding:
    tiers = settings.tiers
    if tiers is None:
        return warn(
            "models",
            "none: the offline planner does the work",
            "Set OPENAI_API_KEY, OPENAI_BASE_URL or SIGNALBOX_MODEL_STANDARD.",
        )
    open_gateway(settings, open_team(settings, toolbox))
    return ok("models", ", ".join(f"{tier}={tiers[tier]}" for tier in TIERS))


async def _probe(settings: Settings, toolbox: Toolbox) -> list[Finding]:
    """Try each model once that any tier names. Asks it three short questions, which are paid."""
    if settings.tiers is None:
        return []
    try:
        gateway = open_gateway(settings, open_team(settings, toolbox))
    except ConfigurationError:
        return []  # reported above
    try:
        return await try_models(gateway)
    finally:
        await gateway.aclose()


async def try_models(gateway: ModelGateway) -> list[Finding]:
    """Return what each model that any tier names can do."""
    return list(await asyncio.gather(*(_probe_one(each) for each in gateway.candidates())))


async def _probe_one(candidate: OpenCandidate) -> Finding:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            found = await probe(candidate)
    except TimeoutError:
        text = f"it did not answer within {PROBE_SECONDS:g} s"
        return warn(f"model {candidate.name}", text, MODEL_FIX)
    text = "; ".join(
        f"{each.ability} {each.state}{f' ({each.said})' if each.said else ''}" for each in found
    )
    well = all(each.state != "failed" for each in found)
    subject = f"model {candidate.name}"
    return ok(subject, text) if well else warn(subject, text, MODEL_FIX)


def _agents(settings: Settings, toolbox: Toolbox) -> Finding:
    team = open_team(settings, toolbox)
    return ok("agents", ", ".join(spec.name for spec in team.specs))


def _code(state: SandboxState, settings: Settings) -> Finding:
    if settings.sandbox == "off":
        return ok("sandbox", "off, as SIGNALBOX_SANDBOX says: programs are refused")
    if state.backend == "off":
        return warn("sandbox", f"off. {state.detail}", SANDBOX_FIX)
    libraries = f"; {', '.join(state.libraries)}" if state.libraries else ""
    text = f"{state.backend}: {state.detail}{libraries}"
    if state.backend == "unsafe-local":
        return warn("sandbox", text, "Set SIGNALBOX_SANDBOX=auto wherever others may send tasks.")
    return ok("sandbox", text)


def _gates(settings: Settings, toolbox: Toolbox) -> Finding:
    gates = open_gates(settings, toolbox)
    if any(rule.by == "other" for rule in gates.rules):
        return warn(
            "gates",
            "a rule has by='other': somebody else than the run's creator has to decide",
            "Make two keys with `signalbox keys create`, one to create runs and another with approvals:decide.",
        )
    hosts = ", ".join(sorted(settings.http_allow)) or "none"
    return ok(
        "gates",
        f"{len(settings.gates)} rules of your own; hosts vouched for beside public ones: {hosts}",
    )


def _search(settings: Settings, toolbox: Toolbox) -> Finding:
    del toolbox
    where = settings.knowledge_dir or "Python's own documentation and the installed packages"
    server = shown_url(settings.tavily_base_url or BASE_URL)
    if settings.tavily_api_key:
        web = f"{server} with TAVILY_API_KEY (not tried)"
    elif settings.search_keyless:
        web = f"{server} without a key (not tried); SIGNALBOX_SEARCH_KEYLESS=false turns it off"
    else:
        web = "off: TAVILY_API_KEY is not set, and SIGNALBOX_SEARCH_KEYLESS is false"
    return ok("search", f"web: {web}; documents: {where}")


def _guarded(check: Checked, settings: Settings, toolbox: Toolbox) -> Finding:
    try:
        return check(settings, toolbox)
    except ConfigurationError as error:
        return refused(check.__name__.strip("_"), error)
