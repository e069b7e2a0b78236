"""`signalbox agents` and `signalbox agent test`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

from agents._kit.loop import AgentLoop
from domain.agent import Assignment
from domain.approval import PausedWork
from domain.errors import ConfigurationError, RunFailedError
from domain.run import RunContext
from service.bootstrap import (
    open_gates,
    open_gateway,
    open_team,
    open_toolbox,
    sandbox_wishes,
)
from service.settings import Settings
from tools.registry import Toolbox
from tools.sandbox.choice import open_sandbox
from tools.sandbox.off import NoSandbox


def list_agents(settings: Settings) -> str:
    """Return a table of the team."""
    # Only the names of the tools matter here.
    toolbox = open_toolbox(settings, NoSandbox("Programs are not run by this command."))
    team = open_team(settings, toolbox)
    gateway = open_gateway(settings, team)
    lines = []
    for spec in team.specs:
        tools = ", ".join(spec.tools) or ("its own graph" if spec.graph else "no tools")
        lines.append(f"{spec.name:<12} {spec.tier:<9} {gateway.name(spec.tier):<28} {tools}")
        lines.append(f"{'':<12} {spec.description}")
    return "\n".join(lines)


async def test_agent(settings: Settings, name: str, task: str) -> dict[str, Any]:
    """Run one agent without supervisor, store or server; return its outcome."""
    async with open_sandbox(sandbox_wishes(settings)) as sandbox:
        toolbox = open_toolbox(settings, sandbox)
        try:
            return await _test_agent(settings, name, task, toolbox)
        finally:
            await toolbox.aclose()


async def _test_agent(settings: Settings, name: str, task: str, toolbox: Toolbox) -> dict[str, Any]:
    team = open_team(settings, toolbox)
    spec = team.get(name)
    if spec is None:
        known = ", ".join(s.name for s in team.specs)
        msg = f"There is no agent {name!r}; the agents are {known}."
        raise ConfigurationError(msg)
    gates = open_gates(settings, toolbox)
    loop = AgentLoop(spec, open_gateway(settings, team), toolbox, gates=gates)
    with tempfile.TemporaryDirectory(prefix="signalbox-") as folder:
        outcome = await loop(
            Assignment(agent=name, task=task, path=name, round=1),
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
