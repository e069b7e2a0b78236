"""What the doctor finds on this machine: settings, versions, folders, the port."""

from __future__ import annotations

import difflib
import os
import socket
import sys
from importlib.metadata import version

import httpx
from pydantic import SecretStr

from service.bootstrap import product_version, uses_queue
from service.commands.findings import Finding, fail, masked, ok, warn
from service.health_checks import disk_trouble
from service.settings import PREFIX, Settings, known_variables, unknown_variables


def versions(settings: Settings) -> list[Finding]:
    """Return what runs here."""
    python = ".".join(map(str, sys.version_info[:3]))
    revision = f" ({settings.revision})" if settings.revision else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("langgraph", "langchain-core"))
    return [
        ok("version", f"signalbox {product_version()}{revision} on Python {python}, {libraries}")
    ]


def variables(settings: Settings) -> list[Finding]:
    """Look for variables that name no setting, and for settings that contradict each other."""
    found = []
    for name in unknown_variables():
        # Without what all have in common, which would make any name look like any other.
        meant = {each.removeprefix(PREFIX): each for each in known_variables()}
        near = difflib.get_close_matches(name.removeprefix(PREFIX), meant, n=1, cutoff=0.7)
        fix = (
            f"Rename it to {meant[near[0]]}."
            if near
            else "Remove it; .env.example has every setting."
        )
        found.append(warn("settings", f"{name}: no such setting", fix))
    found += [warn("settings", text, fix) for text, fix in _contradictions(settings)]
    uses_queue(settings)  # says where that cannot be
    return found or [
        ok("settings", "every SIGNALBOX_ variable is known, and none contradicts another")
    ]


def _contradictions(settings: Settings) -> list[tuple[str, str]]:
    found = []
    if settings.sandbox_socket and settings.sandbox != "remote":
        text = f"SIGNALBOX_SANDBOX_SOCKET is set, and SIGNALBOX_SANDBOX={settings.sandbox} does not use it"
        found.append((text, "Set SIGNALBOX_SANDBOX=remote, or remove SIGNALBOX_SANDBOX_SOCKET."))
    for name in ("events", "checkpoints"):
        days = getattr(settings, f"keep_{name}_days")
        if settings.keep_runs_days and days > settings.keep_runs_days:
            variable = f"SIGNALBOX_KEEP_{name.upper()}_DAYS"
            text = f"{variable}={days:g} is longer than runs are kept ({settings.keep_runs_days:g} days)"
            found.append((text, f"Lower {variable}, or raise SIGNALBOX_KEEP_RUNS_DAYS."))
    if settings.tiers is None and settings.prices:
        text = "SIGNALBOX_PRICES is set, and no model is"
        found.append((text, "Set SIGNALBOX_MODEL_STANDARD or OPENAI_API_KEY, or remove it."))
    if settings.langsmith_api_key and not settings.langsmith_tracing:
        text = "LANGSMITH_API_KEY is set, and LANGSMITH_TRACING is not, so nothing is traced"
        found.append((text, "Set LANGSMITH_TRACING=true, or remove LANGSMITH_API_KEY."))
    return found


def secrets(settings: Settings) -> list[Finding]:
    """Return which keys of others are set; of each how it begins and ends."""
    told = []
    for name, variable in (
        ("openai_api_key", "OPENAI_API_KEY"),
        ("tavily_api_key", "TAVILY_API_KEY"),
        ("langsmith_api_key", "LANGSMITH_API_KEY"),
        ("api_key", "SIGNALBOX_API_KEY"),
    ):
        secret: SecretStr | None = getattr(settings, name)
        told.append(f"{variable} {masked(secret.get_secret_value()) if secret else 'not set'}")
    return [ok("secrets", "; ".join(told))]


def folder(settings: Settings) -> list[Finding]:
    """Look whether the folder of the data can be written, and whether its disk has room."""
    place = settings.data_dir.resolve()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "Set SIGNALBOX_DATA_DIR to a folder that this user may write to."
        return [fail("data", f"{place} cannot be made ({error.strerror})", fix)]
    if not os.access(place, os.W_OK | os.X_OK):
        fix = "Set SIGNALBOX_DATA_DIR to another one, or change its owner."
        return [fail("data", f"{place} cannot be written", fix)]
    trouble = disk_trouble(place)
    if trouble:
        fix = "Free some space, lower SIGNALBOX_KEEP_RUNS_DAYS, or set SIGNALBOX_DATA_DIR to a larger disk."
        return [ok("data", str(place)), warn("disk", f"{trouble} at {place}", fix)]
    return [ok("data", str(place)), ok("disk", "there is room")]


def port(settings: Settings) -> list[Finding]:
    """Look whether the server could listen where it is set to."""
    if settings.port == 0:
        return [ok("port", "a free one is picked at the start")]
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if _is_ours(settings):
                return [ok("port", f"a signalbox server answers on {where}")]
            fix = "Stop what listens there, or set SIGNALBOX_PORT (and SIGNALBOX_HOST) to what is free."
            return [warn("port", f"{where} cannot be had ({error.strerror})", fix)]
    return [ok("port", f"{where} is free")]


def _is_ours(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            answer = client.get(f"http://{host}:{settings.port}/health/live")
        return bool(answer.json() == {"status": "ok", "checks": {}})
    except (httpx.HTTPError, ValueError):
        return False
