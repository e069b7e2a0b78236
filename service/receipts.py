"""The receipt of a run: who asked, what it was executed with, what was approved by whom, what it cost."""

from __future__ import annotations

from typing import Any, Final, Literal

from domain.caller import LOCAL_CALLER
from domain.deciding import ApprovalStore
from domain.ports import ArtifactStore, RunRef
from domain.run import Run
from service.configuration import canonical_digest, text_digest
from service.store.receipts import Executed, Recorded, SqlReceipts

CallerKind = Literal["local", "key", "token"]
"""Who asked: `local` whoever sits at the machine of a server without keys · `key` an API key, by its id ·
`token` somebody with a token of the trusted issuer, as `iss|sub`."""

_OF_ARTIFACT: Final = ("name", "media_type", "size", "sha256", "agent")
_OF_RUN: Final = frozenset(
    {"status", "stop_reason", "thread_id", "created_at", "started_at", "ended_at", "engine"}
    | {"graph_version", "attempt", "rounds", "degraded", "usage", "cache"}
)


class ReceiptService:
    """Writes receipts, for one tenant at a time.

    All that stands in one is recorded with the run: nothing of this process, so that every process gives the same.
    """

    def __init__(
        self, *, approvals: ApprovalStore, artifacts: ArtifactStore, records: SqlReceipts
    ) -> None:
        self._approvals = approvals
        self._artifacts = artifacts
        self._records = records

    async def receipt(self, run: Run) -> dict[str, Any]:
        """Return the receipt of a run as it stands, with the digest of all the rest of it."""
        ref = RunRef(run.tenant_id, run.id)
        asked, done = await self._approvals.records(ref)
        recorded = await self._records.of_run(ref)
        artifacts = await self._artifacts.of_run(ref)
        document: dict[str, Any] = {
            "object": "receipt",
            "run_id": run.id,
            **run.model_dump(mode="json", include=set(_OF_RUN)),
            "created_by": run.caller_id,
            "caller_kind": kind_of(run.caller_id),
            "task_digest": text_digest(run.task),
            "files": [dict(file) for file in run.files],
            "agents": None if run.agents is None else sorted(run.agents),
            "approvals_mode": run.approval_mode,
            "validation": run.validation,
            "output_schema_digest": run.output_schema and canonical_digest(run.output_schema),
            "output_digest": None if run.result is None else text_digest(run.result.output),
            "artifacts": [{name: each[name] for name in _OF_ARTIFACT} for each in artifacts],
            "configurations": _configurations(recorded.executed),
            "prompts": recorded.executed[-1].content["prompts"] if recorded.executed else {},
            "approvals": [each.model_dump(mode="json") for each in asked],
            "actions": [each.model_dump(mode="json") for each in done],
            "budget": _budget(run, recorded),
        }
        return {**document, "digest": canonical_digest(document)}


def kind_of(caller_id: str) -> CallerKind:
    """Return what kind of caller an id is of."""
    if caller_id == LOCAL_CALLER.id:
        return "local"
    return "key" if caller_id.startswith("key_") else "token"


def _configurations(executed: list[Executed]) -> list[dict[str, Any]]:
    """Return each configuration once, with the attempts that were executed with it."""
    found: dict[str, dict[str, Any]] = {}
    for attempt, digest, content in executed:
        one = found.setdefault(digest, {"digest": digest, "attempts": [], **content})
        one["attempts"].append(attempt)
    return list(found.values())


def _budget(run: Run, recorded: Recorded) -> dict[str, Any]:
    limits = run.budget.limits.stored() or {}
    changes = [
        {**change._asdict(), "at": change.at.isoformat().replace("+00:00", "Z")}
        for change in recorded.changes
    ]
    return {"limits": {**limits, "max_rounds": run.budget.max_rounds}, "changes": changes}
