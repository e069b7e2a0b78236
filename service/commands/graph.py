"""`signalbox graph`: the workflow as a picture in text."""

from __future__ import annotations

from typing import Final

from graph.workflow import build_workflow
from service.parts import open_gateway, open_team, open_toolbox
from service.settings import Settings
from tools.sandbox.off import NoSandbox

HANDLER: Final = "__error_handler__"


def draw(settings: Settings) -> str:
    """Return the workflow with all agents that are found, in Mermaid."""
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
    return drawn.draw_mermaid().strip()
