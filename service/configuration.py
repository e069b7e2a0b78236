"""What a server executes runs with, told without secrets: prompts, tools, models, settings, versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from domain.addresses import shown_url
from domain.agent import TIERS
from graph.composer import PROMPT as ANSWER
from graph.filling import PROMPT as FILL
from graph.supervisor import instructions
from graph.workflow import graph_version
from service.parts import Parts
from service.settings import Settings

TOLD: Final = frozenset(
    {
        *("env", "model_timeout", "model_max_output", "gates", "sandbox", "validation"),
        *("approval_seconds", "approval_on_expiry", "search_keyless", "budgets"),
        *("cache_seconds", "max_rounds"),
    }
)
"""The settings that change what runs do, and that may be read by whoever reads a receipt."""

HASHED: Final = frozenset(
    {
        *("agents", "http_allow", "knowledge_dir", "openai_base_url", "output_dir", "prices"),
        *("sandbox_python", "tavily_base_url", "agent_urls"),
    }
)
"""The others that do: addresses and places of the operator's, of which only a hash is told."""

ELSEWHERE: Final = frozenset({"model_fast", "model_standard", "model_deep", "revision"})
"""Those that the models and the product tell of."""

NO_PART: Final = frozenset(
    {
        *(
            "api_key",
            "data_dir",
            "database_pool",
            "database_url",
            "dispatch",
            "host",
            "oidc",
            "port",
        ),
        *("public_url", "takeover_seconds", "sandbox_socket", "max_concurrent_per_key", "max_wait"),
        *("max_concurrent_runs", "max_connections", "max_queued", "requests_per_minute"),
        *("keep_runs_days", "keep_events_days", "keep_checkpoints_days", "openai_api_key"),
        *("tavily_api_key", "langsmith_api_key", "langsmith_tracing", "agent_secret"),
    }
)
"""Those that say where and how much a server serves, and secrets: they are no part of it."""


class Configuration(NamedTuple):
    """What a server is made of, and the hash of that."""

    digest: str
    content: dict[str, Any]


def canonical_digest(document: object) -> str:
    """Return the SHA-256 of a JSON value, written with sorted keys as `json.dumps` does it."""
    return text_digest(json.dumps(document, sort_keys=True))


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def configuration_of(parts: Parts, settings: Settings, product: str) -> Configuration:
    """Return what a process executes runs with. It may read the file of prices."""
    tools = [parts.toolbox.get(name).tool for name in parts.toolbox.names]
    content = {
        "product": {"version": product, "revision": settings.revision},
        "graph_version": graph_version(parts.team, parts.toolbox),
        "engine": parts.gateway.engine,
        "prompts": _prompts(parts),
        "tools": {tool.name: canonical_digest(convert_to_openai_tool(tool)) for tool in tools},
        "models": _models(parts, settings),
        "settings": _settings(settings),
    }
    return Configuration(canonical_digest(content), content)


def _prompts(parts: Parts) -> dict[str, str]:
    """Return the hash of each prompt as it is given; the supervisor's names the whole team."""
    own = {
        "supervisor": instructions(parts.team.routable),
        "answer": ANSWER,
        "fill": FILL,
    }
    agents = {spec.name: spec.prompt for spec in parts.team.specs if spec.prompt}
    return {name: text_digest(prompt) for name, prompt in {**own, **agents}.items()}


def _models(parts: Parts, settings: Settings) -> dict[str, list[str]]:
    if settings.tiers is None:
        return {tier: [parts.gateway.name(tier)] for tier in TIERS}
    return {tier: [each.strip() for each in settings.tiers[tier].split(",")] for tier in TIERS}


def _settings(settings: Settings) -> dict[str, Any]:
    """Return the hash of all settings that change what runs do, and those that are not as they come."""
    fields = type(settings).model_fields
    effective = {name: _told(name, getattr(settings, name)) for name in sorted(TOLD | HASHED)}
    usual = {name: _told(name, fields[name].get_default()) for name in effective}
    changed = {_variable(name): v for name, v in effective.items() if v != usual[name]}
    return {"digest": canonical_digest(effective), "changed": changed}


def _variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"SIGNALBOX_{name.upper()}"


def _told(name: str, value: object) -> Any:  # noqa: ANN401 - any JSON value
    if name == "prices" and isinstance(value, Path):
        # What the file says, wherever it lies.
        return f"sha256:{hashlib.sha256(value.read_bytes()).hexdigest()}"
    told = _plain(value)
    if name not in TOLD and told is not None and told != []:
        return canonical_digest(told)
    return told


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return a setting as JSON that is the same in every process."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return shown_url(value) if isinstance(value, str) and "://" in value else value
