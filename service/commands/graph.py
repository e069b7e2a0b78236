"""`signalbox graph`: the workflow as a picture in text."""

from __future__ import annotations

from typing import Any, Final

from langchain_core.runnables.graph import Graph

from graph.workflow import build_workflow
from service.parts import open_gateway, open_team, open_toolbox
from service.settings import Settings
from tools.sandbox.off import NoSandbox

HANDLER: Final = "__error_handler__"


def draw(settings: Settings) -> str:
    """Return the workflow with all agents that are found, in Mermaid."""
    return _drawn(settings).draw_mermaid().strip()


def outline(settings: Settings) -> dict[str, Any]:
    """Return the workflow as JSON: `nodes` by name, `edges` from `source` to `target`; `conditional` ones are one of
    several ways."""
    drawn = _drawn(settings)
    edges = [
        {"source": edge.source, "target": edge.target, "conditional": edge.conditional}
        for edge in drawn.edges
        if {edge.source, edge.target} <= drawn.nodes.keys()
    ]
    return {"nodes": list(drawn.nodes), "edges": edges}


def _drawn(settings: Settings) -> Graph:
    # Nothing runs: only names and the ways between them matter here.
    toolbox = open_toolbox(settings, NoSandbox("Programs are not run by this command."))
    team = open_team(settings, toolbox)
    workflow = build_workflow(
        team=team, gateway=open_gateway(settings, team), toolbox=toolbox, checkpointer=None
    )
    drawn = workflow.get_graph()
    # What makes an agent's failure a result is a node to LangGraph, and no step to anybody else.
    drawn.nodes = {
        name: node._replace(metadata=None)
        for name, node in drawn.nodes.items()
        if not name.startswith(HANDLER)
    }
    return drawn
