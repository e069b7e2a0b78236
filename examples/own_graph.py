"""A LangGraph graph of your own as an agent, which asks a person: SIGNALBOX_AGENTS=examples/agents, no model."""

from signalbox import Approval, Decision, Signalbox


def answer(approval: Approval) -> Decision:
    """Answer what the graph's `interrupt()` asks."""
    print(f"{approval.agent} asks: {approval.description}")
    return Decision.respond("platform 4")


with Signalbox() as client:
    run = client.run("Announce the night train.", agents=["announcer"], on_approval=answer)
    print(run.output)
