"""Reads a Route out of whatever a model answered, and turns it into assignments that can be carried out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage
from pydantic import ValidationError

from agents._kit.structured import json_in
from domain.agent import TIERS, AgentSpec, Assignment, Tier
from domain.routing import Route, RouteAssignment

MAX_ASSIGNMENTS: Final = 12
"""Assignments of one round that are carried out; the supervisor can give the rest in the next."""

MAX_TASK_CHARS: Final = 8_000
"""How long one assignment's instruction may be."""

_PARALLEL: Final = "parallel:"


def route_schema(specs: Sequence[AgentSpec], *, most: Tier = "deep") -> dict[str, Any]:
    """Return the JSON schema of a Route whose agents are exactly these, and whose tiers go as far as `most`.

    What its fields mean, the supervisor's prompt says: both are sent with every decision.

    `tier` and `last` may be left out. OpenAI's strict mode would want every property named in `required`, but it is
    not asked for: a schema goes out with `strict: false`, and what comes back is checked here.
    """
    assignment = {
        "type": "object",
        "properties": {
            "agent": {"type": "string", "enum": [spec.name for spec in specs]},
            "task": {"type": "string"},
            "tier": {"type": "string", "enum": list(TIERS[: TIERS.index(most) + 1])},
        },
        "required": ["agent", "task"],
        "additionalProperties": False,
    }
    return {
        "title": "Route",
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "Why, in one sentence."},
            "assignments": {"type": "array", "items": assignment},
            "last": {"type": "boolean"},
        },
        "required": ["reason", "assignments"],
        "additionalProperties": False,
    }


def read_route(message: AIMessage, task: str) -> Route | None:
    """Return the Route in a message's content or in its tool call; `None` where there is none.

    The compact form `parallel:researcher,coder` gives every named agent the whole task.
    """
    for candidate in json_in(message):
        try:
            return Route.model_validate(candidate)
        except ValidationError:
            continue
    compact = message.text.strip()
    if compact[: len(_PARALLEL)].lower() == _PARALLEL and len(compact) <= MAX_TASK_CHARS:
        names = [name.strip() for name in compact[len(_PARALLEL) :].split(",")]
        if names and all(name.isidentifier() for name in names):
            assignments = [RouteAssignment(agent=name, task=task) for name in names]
            return Route(reason="The supervisor named the agents.", assignments=assignments)
    return None


def make_assignments(
    route: Route, specs: Sequence[AgentSpec], round_: int, *, most: Tier = "deep"
) -> list[Assignment]:
    """Return what a Route really sets to work: unknown agents left out, identical assignments merged.

    LangGraph ignores a jump to an unknown node silently, so nothing unchecked may reach it. A tier can
    only be raised, as far as `most`.
    """
    by_name = {spec.name: spec for spec in specs}
    seen: set[tuple[str, str]] = set()
    count: dict[str, int] = {}
    assignments: list[Assignment] = []
    for wanted in route.assignments:
        task = wanted.task.strip()[:MAX_TASK_CHARS]
        if wanted.agent not in by_name or not task or (wanted.agent, task) in seen:
            continue
        seen.add((wanted.agent, task))
        count[wanted.agent] = number = count.get(wanted.agent, 0) + 1
        path = wanted.agent if number == 1 else f"{wanted.agent}#{number}"
        made = Assignment(agent=wanted.agent, task=task, path=path, round=round_)
        tier = _raised(wanted.tier, by_name[wanted.agent], most)
        assignments.append({**made, "tier": tier} if tier else made)
    return assignments[:MAX_ASSIGNMENTS]


def _raised(wanted: Tier | None, spec: AgentSpec, most: Tier) -> Tier | None:
    """Return the tier an assignment is raised to; `None` where it stays with the agent's own.

    A graph from outside has models of its own: no tier of ours would change anything.
    """
    if wanted is None or spec.graph is not None:
        return None
    tier = min(wanted, most, key=TIERS.index)
    return tier if TIERS.index(tier) > TIERS.index(spec.tier) else None
