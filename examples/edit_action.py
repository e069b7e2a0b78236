"""Change what an agent wants to do before it is done: another program runs, and the agent is told."""

from signalbox import Approval, Decision, Signalbox

TASK = "What is 6 * 7?"


def edit(approval: Approval) -> Decision:
    """Put a line before the program. What the tool would not take is refused, and the question stays open."""
    assert approval.action, approval
    code = f"# looked at by a person\n{approval.action.args['code']}"
    return Decision.edit("run_python", {**approval.action.args, "code": code})


with Signalbox() as client:
    run = client.run(TASK, approvals="always", on_approval=edit)
    print(run.output)
    for action in client.runs.receipt(run.id).actions:
        print(action.tool, action.status, action.args)
