"""Operations on approvals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from signalbox.flows import Flow
from signalbox.models import Approval
from signalbox.operations import Async, Sync, listing, operation
from signalbox.options import Budget, Decision
from signalbox.paging import give_all
from signalbox.sending import Sender, path_of


def get(sender: Sender, approval_id: str) -> Flow[Approval]:
    """Return an approval."""
    return sender.get(path_of("v1", "approvals", approval_id), Approval)


def decide(
    sender: Sender, approval_id: str, decision: Decision, *, key: str | None = None
) -> Flow[Approval]:
    """Record a decision."""
    path = path_of("v1", "approvals", approval_id, "decision")
    return sender.post(path, Approval, decision.body(), key=key)


class ApprovalOperations:
    """What can be done with approvals. A decision that loses to another raises `ApprovalConflictError`."""

    _sender: Sender

    @listing
    def list(
        self,
        *,
        status: str | None = None,
        run_id: str | None = None,
        page_size: int | None = None,
    ) -> Flow[Sequence[Approval]]:
        """Go through approvals, newest first; `status="pending"` are those that wait."""
        query = {"status": status, "run_id": run_id, "limit": page_size}
        return give_all(self._sender, "/v1/approvals", Approval, query)

    @operation
    def get(self, approval_id: str) -> Flow[Approval]:
        """Return an approval, with the whole call that it is about."""
        return get(self._sender, approval_id)

    @operation
    def decide(
        self, approval_id: str, decision: Decision, *, idempotency_key: str | None = None
    ) -> Flow[Approval]:
        """Record a decision."""
        return decide(self._sender, approval_id, decision, key=idempotency_key)

    @operation
    def approve(
        self,
        approval_id: str,
        *,
        comment: str | None = None,
        remember: bool = False,
        args_digest: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Approval]:
        """Let a call run; `remember`: and every other one of its tool in this run."""
        made = replace(
            Decision.approve(comment=comment, remember=remember), args_digest=args_digest
        )
        return decide(self._sender, approval_id, made, key=idempotency_key)

    @operation
    def edit(
        self,
        approval_id: str,
        name: str,
        args: Mapping[str, Any],
        *,
        comment: str | None = None,
        args_digest: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Approval]:
        """Let a call run with other arguments."""
        made = replace(Decision.edit(name, args, comment=comment), args_digest=args_digest)
        return decide(self._sender, approval_id, made, key=idempotency_key)

    @operation
    def reject(
        self,
        approval_id: str,
        message: str | None = None,
        *,
        comment: str | None = None,
        args_digest: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Approval]:
        """Do not let a call run; the agent reads the message."""
        made = replace(Decision.reject(message, comment=comment), args_digest=args_digest)
        return decide(self._sender, approval_id, made, key=idempotency_key)

    @operation
    def respond(
        self,
        approval_id: str,
        message: str,
        *,
        comment: str | None = None,
        args_digest: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Approval]:
        """Answer an agent's question, or give a call's result instead of running it."""
        made = replace(Decision.respond(message, comment=comment), args_digest=args_digest)
        return decide(self._sender, approval_id, made, key=idempotency_key)

    @operation
    def raise_budget(
        self,
        approval_id: str,
        budget: Budget,
        *,
        comment: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Approval]:
        """Allow a run more that has asked for it."""
        made = Decision.raise_budget(budget, comment=comment)
        return decide(self._sender, approval_id, made, key=idempotency_key)


class Approvals(ApprovalOperations, Sync):
    """Approvals, waited for."""


class AsyncApprovals(ApprovalOperations, Async):
    """Approvals, awaited."""
