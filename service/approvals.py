"""What people are asked: list, decide, settle, and close what nobody decided in time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from jsonschema import Draft202012Validator

from agents._kit.cleaning import is_clean
from agents._kit.registry import Team
from domain.approval import ACTION_PREFIX, VERBS, Approval, Settled, ToolAction, approval_id
from domain.deciding import ApprovalQuery, ApprovalStore, Decided, Verdict
from domain.dispatch import Dispatcher
from domain.errors import CallerError
from domain.limits import BudgetRules
from domain.ports import Clock, IdempotencyKey, RunRef
from domain.problems import Code, Pointer
from service.hub import EventHub
from service.limits import check_limits, check_raise, read_raise
from service.notices import Notice
from tools.gates import Gates, misunderstanding
from tools.registry import Tool, Toolbox

EXPIRE_SECONDS: Final = 1.0
"""How often approvals are looked for whose time is over."""

EXPIRE_AT_ONCE: Final = 50

_INBOX: Final = "GET /v1/approvals lists those that are."


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Who decides."""

    tenant_id: str
    caller_id: str


class ApprovalService:
    """The inbox of one server, for one tenant at a time."""

    def __init__(
        self,
        *,
        store: ApprovalStore,
        hub: EventHub,
        dispatcher: Dispatcher,
        clock: Clock,
        toolbox: Toolbox,
        gates: Gates,
        team: Team,
        budgets: BudgetRules,
    ) -> None:
        self._store = store
        self._hub = hub
        self._dispatcher = dispatcher
        self._clock = clock
        self._toolbox = toolbox
        self._gates = gates
        self._team = team
        self._budgets = budgets

    async def get(self, tenant_id: str, approval: str) -> Approval:
        """Return an approval, or raise `not-found`."""
        found = await self._store.get(tenant_id, approval)
        if found is None:
            raise CallerError("not-found", f"The approval {approval[:80]!r} is not there. {_INBOX}")
        return found

    async def find(self, tenant_id: str, query: ApprovalQuery) -> list[Approval]:
        """Return up to `query.limit + 1` approvals, newest first."""
        return await self._store.find(tenant_id, query)

    async def decide(
        self,
        decider: Decider,
        verdicts: Sequence[Verdict],
        *,
        run_id: str | None = None,
        idempotency: IdempotencyKey | None = None,
        link: str | None = None,
    ) -> Decided:
        """Record decisions, all or none; with `run_id` they have to be about that run's approvals, with
        `link` about the one that it leads to.

        Raises `CallerError`, and leaves everything as it was, where one of them cannot be."""
        for index, verdict in enumerate(verdicts):
            approval = await self.get(decider.tenant_id, verdict.approval_id)
            prefix = "" if run_id is None else f"/decisions/{index}"
            if run_id is not None and approval.run_id != run_id:
                raise _invalid(prefix, "/approval_id", f"is no approval of the run {run_id[:80]!r}")
            self._check(approval, verdict, prefix)
        decided = await self._store.decide(
            decider.tenant_id,
            verdicts,
            by=decider.caller_id,
            now=self._clock.now(),
            idempotency=idempotency,
            link=link,
        )
        self._tell(decided)
        return decided

    async def settle(
        self,
        decider: Decider,
        action: str,
        *,
        outcome: Literal["done", "not_done"],
        result: str | None,
        idempotency: IdempotencyKey | None = None,
    ) -> Settled:
        """Settle an action that is in doubt; return its run."""
        if not action.startswith(ACTION_PREFIX):
            msg = f"The action {action[:80]!r} is not there. GET /v1/runs/{{id}}/receipt lists those of a run."
            raise CallerError("not-found", msg)
        return await self._store.settle(
            decider.tenant_id,
            approval_id(action),
            outcome=outcome,
            result=result,
            by=decider.caller_id,
            now=self._clock.now(),
            idempotency=idempotency,
        )

    async def expire(self) -> bool:
        """Close some approvals whose time is over; return whether there may be more."""
        closed = await self._store.expire(now=self._clock.now(), limit=EXPIRE_AT_ONCE)
        for decided in closed:
            self._tell(decided)
        return len(closed) >= EXPIRE_AT_ONCE

    def _tell(self, decided: Decided) -> None:
        """Tell the readers, and have the run go on where it may."""
        if decided.events:
            run_id = decided.events[0].run_id
            self._hub.publish(run_id, [Notice(e, run=decided.run) for e in decided.events])
        run = decided.run
        if run is not None and run.status == "queued":
            self._dispatcher.submit(RunRef(run.tenant_id, run.id), alone=True)

    def _check(self, approval: Approval, verdict: Verdict, prefix: str) -> None:
        """Refuse a decision that does not answer the question; nothing is written then."""
        decision = verdict.decision
        allowed = VERBS[approval.type]
        if decision.type not in allowed:
            detail = f"{decision.type!r} does not answer this; it may be {' or '.join(allowed)}"
            raise _invalid(prefix, "/type", detail)
        if verdict.remember and decision.type not in {"approve", "edit"}:
            raise _invalid(prefix, "/remember", "goes with type 'approve' or 'edit' only")
        if approval.status == "pending":
            if approval.type == "budget":
                self._check_raise(approval, verdict, prefix)
            elif decision.edited_action is not None and approval.tool is not None:
                edited = decision.edited_action
                self._check_edit(approval, approval.tool, edited, prefix)
            elif decision.type == "approve" and approval.tool in self._toolbox.names:
                action = approval.action
                args = action.args if action else {}
                self._check_call(
                    approval, self._toolbox.get(str(approval.tool)), args, f"{prefix}/type"
                )
            if decision.type == "respond":
                _check_message(approval, decision.message or "", prefix)

    def _check_edit(self, approval: Approval, name: str, edited: ToolAction, prefix: str) -> None:
        where = f"{prefix}/edited_action"
        if edited.name != name:
            # Another tool has other gates, which nobody has looked at.
            raise _invalid(where, "/name", f"is to stay {name!r}: an edit changes arguments only")
        if name not in self._toolbox.names:
            raise _invalid(where, "/name", f"{name!r} is no tool of this server any more")
        tool = self._toolbox.get(name)
        faults = tool.faults(edited.args) + tool.surplus(edited.args)
        if faults:
            raise _faulty(f"{where}/args", faults)
        if tool.pin is not None and approval.action and edited.args != approval.action.args:
            # Whoever decides has looked at this content, and at no other.
            detail = (
                "stands for exactly what was asked about; reject it and say what you want instead"
            )
            raise _invalid(where, "/args", detail)
        self._check_call(approval, tool, edited.args, f"{where}/args")

    def _check_raise(self, approval: Approval, verdict: Verdict, prefix: str) -> None:
        """Refuse an edit of a budget that raises nothing, or more than this server allows."""
        edited = verdict.decision.edited_action
        if edited is None:
            return
        limits = read_raise(edited, prefix)
        names = [spec.name for spec in self._team.specs]
        asked = approval.action.args if approval.action else {}
        rules = self._budgets
        if "unknown_prices" in asked:
            # That is what the server wants to be asked about; its other limits hold all the same.
            rules = rules.model_copy(update={"unknown_prices": "allow"})
        check_limits(limits, rules, names, prefix=f"{prefix}/edited_action/args")
        check_raise(approval, limits, prefix)

    def _check_call(
        self, approval: Approval, tool: Tool, args: Mapping[str, Any], where: str
    ) -> None:
        """Refuse to let a call run that this server would not let run, or not by this decision.

        The gates may have changed since it was asked for."""
        wrong = misunderstanding(tool, args)
        if wrong:
            raise _invalid(where, "", f"is a call that cannot be made now ({wrong}); reject it")
        ruling = self._gates.judge(tool, args, mode="policy")
        if ruling.gate == "deny":
            raise _invalid(where, "", "is a call that the policy of this server denies")
        if ruling.gate == "ask" and ruling.by == "other" and approval.decided_by != "other":
            # Whoever may decide about what was asked may not be one who may decide about this.
            detail = "is a call about which somebody else than the run's creator has to decide"
            raise _invalid(where, "", detail)


def _check_message(approval: Approval, message: str, prefix: str) -> None:
    """Refuse an answer that an outside graph could not read."""
    schema = approval.response_schema.get("properties", {}).get("message", {})
    if approval.type != "input" or not schema:
        return
    document: Any = message
    content = schema.get("contentSchema")
    if content is not None:
        try:
            document = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise _invalid(prefix, "/message", f"has to be a JSON document: {error}") from error
        if not is_clean(document):
            # The graph would be resumed with it, and what cannot be saved would stop it for good.
            detail = "has a number, half a character or a depth that cannot be kept"
            raise _invalid(prefix, "/message", detail)
    plain = {k: v for k, v in schema.items() if k not in {"contentSchema", "contentMediaType"}}
    try:
        found = next(Draft202012Validator(content or plain).iter_errors(document), None)
    except Exception:  # noqa: BLE001 - somebody else's schema may break its reader in any way
        return  # the graph has to check by itself
    if found is not None:
        where = "".join(f"/{part}" for part in found.absolute_path)
        raise _invalid(prefix, "/message", f"{where or 'it'}: {found.message[:300]}")


def _invalid(prefix: str, pointer: str, detail: str) -> CallerError:
    return _faulty(prefix, [Pointer(pointer=pointer, detail=detail)])


def _faulty(prefix: str, faults: Sequence[Pointer]) -> CallerError:
    code: Code = "validation-error"
    placed = [Pointer(pointer=f"{prefix}{f['pointer']}", detail=f["detail"]) for f in faults]
    detail = f"{placed[0]['pointer']}: {placed[0]['detail']}. Nothing was decided."
    return CallerError(code, detail, errors=placed)
