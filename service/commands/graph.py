"""`signalbox graph`: the workflow as a picture in text."""

from __future__ import annotations

from graph.workflow import build_workflow
from service.parts import open_gateway, open_team, open_toolbox
from service.settings import Settings
from tools.sandbox.off import NoSandbox


def draw(settings: Settings) -> str:
    """Return the workflow with all agents that are found, in Mermaid."""
    # Nothing runs: only names and the ways between them matter here.
    toolbox = open_toolbox(settings, NoSandbox("Programs are not run by this command."))
    team = open_team(settings, toolbox)
    workflow = build_workflow(
        team=team, gateway=open_gateway(settings, team), toolbox=toolbox, checkpointer=None
    )
    return workflow.get_graph().draw_mermaid().strip()
