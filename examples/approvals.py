"""A person decides before a program runs. Here it is this program: it allows what is short, and says why not else."""

from signalbox import Approval, Decision, Signalbox

LONGEST = 2_000


def decide(approval: Approval) -> Decision | None:
    """Look at one call; `None` would leave it to somebody else, in the inbox for instance."""
    print(f"{approval.agent} wants to call {approval.tool}: {approval.description}")
    if approval.action and len(str(approval.action.args)) <= LONGEST:
        return Decision.approve(comment="Short enough to be read.")
    return Decision.reject("Write a shorter program.")


with Signalbox() as client:
    run = client.run("What is 12% of 250?", approvals="always", on_approval=decide)
    print(run.output)
    for approval in client.approvals.list(run_id=run.id):
        if approval.decision:
            print(f"{approval.tool}: {approval.decision.type} by {approval.decision.by}")
