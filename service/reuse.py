"""What makes two runs the same work, and how old an answer may be that one gets from another."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from domain.run import Run
from graph.composer import PROMPT as COMPOSER
from graph.supervisor import PROMPT as SUPERVISOR
from graph.workflow import graph_version
from service.settings import Settings
from service.workspaces import NewFile

if TYPE_CHECKING:
    from service.parts import Parts

USUAL_SECONDS: Final = 3600
"""How old an answer may be where a run wants one and neither it nor the server says how old."""


@dataclass(frozen=True, kw_only=True)
class ReuseAsked:
    """What a caller says about answers that were given before."""

    wanted: bool | None = None
    """`None` where nothing is said."""
    seconds: int | None = None
    """How old one may be."""
    web: bool = False
    """Whether one may be had that rests on the web."""


NOTHING_ASKED: Final = ReuseAsked()


def reuse_seconds(asked: ReuseAsked, usual: int) -> int | None:
    """Return how old what a run reuses may be; 0 where it is only for others to reuse, `None` where it has
    nothing to do with others."""
    if asked.seconds is not None:
        return asked.seconds
    if asked.wanted is None:
        return usual or None
    return (usual or USUAL_SECONDS) if asked.wanted else None


def key_of(run: Run, files: Sequence[NewFile], work_version: str) -> str:
    """Return what runs have in common that may share an answer.

    Limits are not part of it: an answer that a limit has made smaller is not shared.
    """
    about = {
        "version": work_version,
        "graph": run.graph_version,
        "engine": run.engine,
        "task": same_text(run.task),
        "agents": None if run.agents is None else sorted(run.agents),
        "validation": run.validation,
        "approvals": run.approval_mode,
        "output_schema": run.output_schema,
        "tier": run.budget.max_tier,
        "files": sorted((file.name, hashlib.sha256(file.content).hexdigest()) for file in files),
    }
    return digest(about)


def same_text(text: str) -> str:
    """Return a text as it is compared: letters composed, ends of lines alike, nothing around it.

    No more than that: within a program or a table each blank may count.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def work_version(parts: Parts, settings: Settings, product: str) -> str:
    """Return a hash of what may change an answer besides the task: prompts, models, tools and their settings."""
    tools = parts.toolbox.select(parts.toolbox.names)
    specs = [
        {name: value for name, value in vars(spec).items() if name != "graph"}
        for spec in parts.team.specs
    ]
    return digest(
        {
            "graph": graph_version(parts.team, parts.toolbox),
            "prompts": [SUPERVISOR, COMPOSER],
            "team": sorted(specs, key=lambda spec: str(spec["name"])),
            "models": settings.tiers,
            "most_output": settings.model_max_output,
            "base_url": settings.openai_base_url,
            "rounds": settings.max_rounds,
            "gates": [str(rule) for rule in parts.gates.rules],
            "tools": {each.name: [each.tool.description, each.off_reason] for each in tools},
            "hosts": sorted(settings.http_allow),
            "product": product,
            "knowledge": str(settings.knowledge_dir),
        }
    )


def digest(about: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(about, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
