"""Tell a run something while it is under way: its supervisor reads it at its next decision. It takes a model."""

from signalbox import Decision, Signalbox

with Signalbox() as client:
    run = client.runs.create("Describe the tides of a week.", approvals="always")
    run = client.runs.wait(run.id)
    print(run.status)  # requires_action: it waits for a person, and takes notes meanwhile
    if run.status != "requires_action":
        raise SystemExit("It asked nobody, and has ended: without a model there is nothing to ask.")
    client.runs.add_note(run.id, "Leave out Sunday.")
    run = client.follow(run.id, on_approval=lambda _: Decision.approve())
    print(run.output)
    for event in client.runs.stored_events(run.id, types=["supervisor.decision"]):
        print(event.data["reason"], event.data.get("notes", []))
