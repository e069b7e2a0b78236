"""An agent of your own that is a prompt: start the server with SIGNALBOX_AGENTS=examples/agents and a model."""

from signalbox import Signalbox

with Signalbox() as client:
    names = {agent.name: agent.description for agent in client.agents()}
    if "haiku" not in names:
        raise SystemExit(
            "No agent `haiku`: start the server with SIGNALBOX_AGENTS=examples/agents."
        )
    print("haiku:", names["haiku"])
    run = client.run("A haiku about railway signals", agents=["haiku"])
    print(run.output)
