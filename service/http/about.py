"""Routes that tell about the service: its agents, its health, its version."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from langchain_core.utils.function_calling import convert_to_openai_tool
from starlette.responses import Response

from domain.agent import TIERS
from service.export import SCHEMA_VERSION
from service.health import worst
from service.http.approval_schemas import ToolList
from service.http.caller import Parts, needs
from service.http.models import ModelList, describe_tier
from service.http.openapi import problems
from service.http.runs import json_response
from service.http.schemas import AgentList, Health, Info

router: Final = APIRouter(tags=["service"])

PROTOCOLS: Final = {
    "api": "v1",
    "openapi": "3.1",
    "problems": "RFC 9457",
    "webhooks": "Standard Webhooks 1.0",
    "export": str(SCHEMA_VERSION),
}
"""What is spoken here, in which version."""


@router.get(
    "/v1/agents",
    operation_id="list_agents",
    summary="List the agents",
    dependencies=[needs("runs:read")],
    response_model=AgentList,
    responses=problems(500),
)
async def list_agents(parts: Parts) -> Response:
    """Return the team as registered."""
    data = [
        {
            "name": spec.name,
            "description": spec.description,
            "tier": spec.tier,
            "model": parts.gateway.get_model_for_task(None, spec).name,
            "tools": list(spec.tools),
            "routable": spec.routable,
            "outside_graph": spec.graph is not None,
        }
        for spec in parts.team.specs
    ]
    return json_response({"data": data, "next_cursor": None, "has_more": False})


@router.get(
    "/v1/models",
    operation_id="list_models",
    summary="List the tiers with their models",
    dependencies=[needs("runs:read")],
    response_model=ModelList,
    responses=problems(500),
)
async def list_models(parts: Parts) -> Response:
    """Return which model does the work of which tier, and what takes its place."""
    data = [describe_tier(parts.gateway, parts.team, tier) for tier in TIERS]
    return json_response({"data": data, "next_cursor": None, "has_more": False})


@router.get(
    "/v1/tools",
    operation_id="list_tools",
    summary="List the tools with their gates",
    dependencies=[needs("runs:read")],
    response_model=ToolList,
    responses=problems(500),
)
async def list_tools(parts: Parts) -> Response:
    """Return what agents may call, and which calls ask a person."""
    data = []
    for name in parts.toolbox.names:
        tool = parts.toolbox.get(name)
        rules = [rule for rule in parts.gates.rules if rule.tool in {"*", name}]
        schema = convert_to_openai_tool(tool.tool)["function"]["parameters"]
        data.append(
            {
                "name": name,
                "description": tool.tool.description,
                "effect": tool.effect,
                "gate": parts.gates.usual(tool),
                "rules": [] if tool.control else [r.model_dump(mode="json") for r in rules],
                "off_reason": tool.off_reason,
                "args_schema": schema,
            }
        )
    return json_response({"data": data, "next_cursor": None, "has_more": False})


@router.get(
    "/health/live",
    operation_id="get_liveness",
    summary="Is the process alive",
    response_model=Health,
    responses=problems(500),
)
async def get_liveness() -> Response:
    """Answer as long as the process can."""
    return json_response({"status": "ok", "checks": {}})


@router.get(
    "/health/ready",
    operation_id="get_readiness",
    summary="Can runs be accepted",
    response_model=Health,
    responses={
        503: {"model": Health, "description": "Something that is needed does not work"},
        **problems(500),
    },
)
async def get_readiness(parts: Parts) -> Response:
    """Check each thing the service depends on. What keeps it from accepting runs is `down`, and the answer a 503;
    what only hurts the runs is `degraded`."""
    found = await parts.health.look()
    status = worst(found)
    response = json_response(
        {
            "status": status,
            "checks": {name: one.detail or "ok" for name, one in found.items()},
            "components": {name: one._asdict() for name, one in found.items()},
            "sandbox": parts.sandbox.state._asdict(),
        }
    )
    response.status_code = 503 if status == "down" else 200
    return response


@router.get(
    "/v1/info",
    operation_id="get_info",
    summary="What this server is",
    dependencies=[needs("runs:read")],
    response_model=Info,
    responses=problems(500),
)
async def get_info(parts: Parts) -> Response:
    """Return version, engine and models."""
    return json_response(
        {
            "name": "signalbox",
            "version": parts.version,
            "revision": parts.settings.revision,
            "engine": parts.gateway.engine,
            "graph_version": parts.graph_version,
            "environment": parts.settings.env,
            "models": {tier: parts.gateway.name(tier) for tier in TIERS},
            "protocols": PROTOCOLS,
            "features": [
                "runs",
                "events",
                "sse",
                "idempotency",
                "outside-agents",
                "approvals",
                "artifacts",
                "files",
                "sources",
                "validation",
                "usage",
                "models",
                "budgets",
                "reuse",
                "retries",
                "forks",
                "notes",
                "structured-output",
                "openai",
                "sessions",
                "feedback",
                "metrics",
                "traces",
                "webhooks",
                "export",
                "deletion",
                "receipts",
                "health",
            ],
        }
    )
