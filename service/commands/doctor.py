"""`signalbox doctor`: what works, what does not, and how to mend it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agents._kit.candidates import OpenCandidate
from agents._kit.models import ModelGateway
from agents._kit.probing import probe
from domain.agent import TIERS
from domain.errors import ConfigurationError, DatabaseInUseError
from domain.sandbox import SandboxState
from service.bootstrap import product_version
from service.ids import SystemClock
from service.parts import (
    open_gates,
    open_gateway,
    open_team,
    open_toolbox,
    sandbox_wishes,
)
from service.settings import Settings, unknown_variables
from service.store import open_store, shown_url
from service.store.api_keys import SqlKeyStore
from tools.registry import Toolbox
from tools.sandbox.choice import open_sandbox
from tools.tavily import BASE_URL


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    text: str

    def line(self) -> str:
        """Return the finding as a line."""
        return f"[{self.level:>4}] {self.subject}: {self.text}"


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(level="ok", subject=subject, text=text)


def warn(subject: str, text: str) -> Finding:
    """Return a finding that limits what the service can do."""
    return Finding(level="warn", subject=subject, text=text)


def fail(subject: str, text: str) -> Finding:
    """Return a finding that keeps the service from starting."""
    return Finding(level="fail", subject=subject, text=text)


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything a server needs."""
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [ok("version", f"signalbox {product_version()} on Python {version}")]
    findings += [_variables(), _key("OPENAI_API_KEY", settings)]
    async with open_sandbox(sandbox_wishes(settings)) as sandbox:
        toolbox = open_toolbox(settings, sandbox)
        findings += [_code(sandbox.state, settings)]
        for check in (_agents, _models, _folder, _gates, _search):
            findings.append(_guarded(check, settings, toolbox))
        findings += await _probe(settings, toolbox)
    findings.append(await _database(settings))
    return findings


def _variables() -> Finding:
    unknown = unknown_variables()
    if unknown:
        return warn("settings", f"{', '.join(unknown)}: no such setting; see .env.example")
    return ok("settings", "every SIGNALBOX_ variable is known")


def _models(settings: Settings, toolbox: Toolbox) -> Finding:
    tiers = settings.tiers
    if tiers is None:
        return warn(
            "models",
            "none: the offline planner does the work. Set OPENAI_API_KEY, OPENAI_BASE_URL or SIGNALBOX_MODEL_STANDARD",
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
    found = await probe(candidate)
    text = "; ".join(
        f"{each.ability} {each.state}{f' ({each.said})' if each.said else ''}" for each in found
    )
    well = all(each.state != "failed" for each in found)
    return (ok if well else warn)(f"model {candidate.name}", text)


def _key(name: str, settings: Settings) -> Finding:
    key = settings.openai_api_key
    text = f"set ({len(key.get_secret_value())} characters)" if key else "not set"
    return ok(name, text)


def _agents(settings: Settings, toolbox: Toolbox) -> Finding:
    team = open_team(settings, toolbox)
    return ok("agents", ", ".join(spec.name for spec in team.specs))


def _folder(settings: Settings, toolbox: Toolbox) -> Finding:
    del toolbox
    folder = settings.data_dir.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return fail("data", f"{folder} cannot be made ({error}); set SIGNALBOX_DATA_DIR")
    if not os.access(folder, os.W_OK):
        return fail(
            "data", f"{folder} cannot be written; set SIGNALBOX_DATA_DIR or change its owner"
        )
    return ok("data", str(folder))


def _code(state: SandboxState, settings: Settings) -> Finding:
    if state.backend == "off":
        wanted = settings.sandbox == "off"
        remedy = "" if wanted else " Programs are refused; docs/sandbox.md says what is needed."
        return warn("sandbox", f"off. {state.detail}{remedy}")
    libraries = f"; {', '.join(state.libraries)}" if state.libraries else ""
    text = f"{state.backend}: {state.detail}{libraries}"
    return warn("sandbox", text) if state.backend == "unsafe-local" else ok("sandbox", text)


def _gates(settings: Settings, toolbox: Toolbox) -> Finding:
    gates = open_gates(settings, toolbox)
    if any(rule.by == "other" for rule in gates.rules):
        return warn(
            "gates",
            "a rule has by='other', which takes two keys: one that creates the run, another that decides. "
            "Where there are none, nobody can decide what it asks",
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


async def _database(settings: Settings) -> Finding:
    try:
        # The store alone: a whole service would report other faults as the database's, and would
        # take up the runs that are unfinished there.
        async with open_store(settings.database_url, owner="shared") as store:
            await store.ping()
            keys = await SqlKeyStore(store.database).all()
    except DatabaseInUseError as error:
        return warn("database", f"{error} (fine where that is your running server)")
    except ConfigurationError as error:
        return fail("database", str(error))
    good = [key for key in keys if key.stands(SystemClock().now())]
    told = ", ".join(f"{key.name} ({key.prefix}…)" for key in good[:10]) or "none"
    return ok("database", f"{shown_url(settings.database_url)}; keys that are good: {told}")


def _guarded(
    check: Callable[[Settings, Toolbox], Finding], settings: Settings, toolbox: Toolbox
) -> Finding:
    try:
        return check(settings, toolbox)
    except ConfigurationError as error:
        return fail(check.__name__.strip("_"), str(error))
