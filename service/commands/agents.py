"""`signalbox agents` and `signalbox agent test`."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

from agents._kit.loop import AgentLoop
from agents._kit.models import ModelGateway
from agents._kit.registry import Team
from domain.agent import AgentSpec, Assignment
from domain.approval import PausedWork
from domain.errors import ConfigurationError, RunFailedError
from domain.run import RunContext
from service.parts import (
    open_gates,
    open_gateway,
    open_remotes,
    open_team,
    open_toolbox,
    sandbox_wishes,
)
from service.settings import Settings
from tools.gates import Gates
from tools.registry import Toolbox
from tools.sandbox.choice import open_sandbox
from tools.sandbox.off import NoSandbox


def list_agents(settings: Settings) -> str:
    """Return a table of the team."""
    lines = []
    for each in describe_agents(settings):
        tools = ", ".join(each["tools"]) or ("its own graph" if each["graph"] else "no tools")
        lines.append(f"{each['name']:<12} {each['tier']:<9} {each['model']:<28} {tools}")
        lines.append(f"{'':<12} {each['description']}")
    return "\n".join(lines)


def describe_agents(settings: Settings) -> list[dict[str, Any]]:
    """Return what there is to know of each agent of the team."""
    # Only the names of the tools matter here.
    toolbox = open_toolbox(settings, NoSandbox("Programs are not run by this command."))
    team = open_team(settings, toolbox)
    gateway = open_gateway(settings, team)
    return [
        {
            "name": spec.name,
            "tier": spec.tier,
            "model": gateway.name(spec.tier),
            "tools": list(spec.tools),
            "graph": spec.graph is not None,
            "description": spec.description,
        }
        for spec in team.specs
    ]


async def test_agent(settings: Settings, name: str, task: str) -> dict[str, Any]:
    """Run one agent without supervisor, store or server; return its outcome."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(open_sandbox(sandbox_wishes(settings)))
        toolbox = open_toolbox(settings, sandbox)
        stack.push_async_callback(toolbox.aclose)
        team = open_team(settings, toolbox)
        gateway = open_gateway(settings, team)
        stack.push_async_callback(gateway.aclose)
        open_remotes(settings, team, gateway)
        gates = open_gates(settings, toolbox)
        return await _work(_find(team, name), gateway, toolbox, gates, task)


def _find(team: Team, name: str) -> AgentSpec:
    spec = team.get(name)
    if spec is None:
        known = ", ".join(s.name for s in team.specs)
        msg = f"There is no agent {name!r}; the agents are {known}."
        raise ConfigurationError(msg)
    return spec


async def _work(
    spec: AgentSpec, gateway: ModelGateway, toolbox: Toolbox, gates: Gates, task: str
) -> dict[str, Any]:
    loop = AgentLoop(spec, gateway, toolbox, gates=gates)
    with tempfile.TemporaryDirectory(prefix="signalbox-") as folder:
        outcome = await loop(
            Assignment(agent=spec.name, task=task, path=spec.name, round=1),
            task=task,
            results="",
            context=RunContext(
                task=task,
                workspace=Path(folder, "workspace"),
                shelf=Path(folder, "artifacts"),
                sources=Path(folder, "sources"),
            ),
            config={"configurable": {}},
            write=lambda _: None,
        )
    if "asks" in outcome:
        asks = cast("PausedWork", outcome)["asks"]
        asked = ", ".join(sorted({str(ask["tool"]) for ask in asks}))
        msg = f"The agent asks a person ({asked}), which needs a server: give the task to `signalbox run`."
        raise RunFailedError(msg)
    return cast("dict[str, Any]", outcome)
