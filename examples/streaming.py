"""Follow a run live: who begins, what is called, what is written. A connection that breaks is made again."""

from signalbox import Signalbox

with Signalbox() as client:
    run = client.runs.create("Compute the mean and the trend of 3, 4, 8 and 11.")
    with client.runs.events(run.id) as events:
        for event in events:
            if event.type == "message.delta":
                print(event.data["text"], end="", flush=True)
            elif event.type in {"agent.started", "tool.started", "run.completed"}:
                print(f"\n[{event.type}] {event.agent or ''} {event.data.get('tool', '')}")
        print(f"The answer, put together from its pieces: {events.text}")
