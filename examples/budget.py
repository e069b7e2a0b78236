"""A run with a limit: before a call would go beyond it, a person is asked. Here more is allowed, once."""

from signalbox import Approval, Decision, Signalbox


def decide(approval: Approval) -> Decision:
    """Raise the limit; `Decision.reject()` would finish with what there is."""
    print(f"{approval.type}: {approval.description}")
    return Decision.raise_budget({"max_tokens": 50_000})


with Signalbox() as client:
    run = client.run(
        "Compute the median of 3, 9 and 27.", budget={"max_tokens": 400}, on_approval=decide
    )
    print(run.output)
    print(f"{run.budget.spent.tokens} tokens of {run.budget.max_tokens}")
