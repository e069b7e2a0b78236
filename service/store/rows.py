"""Between rows and the domain's objects; the one place that knows both."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import RowMapping

from domain.artifact import Artifact, artifact_url
from domain.events import Event, EventDraft
from domain.limits import NO_LIMITS, Limits, RunBudget, Spent, budget_of
from domain.ports import RunRef
from domain.run import Run
from domain.usage import ModelCall, Usage
from service.store.columns import utc

_SAME: Final = (
    "id",
    "tenant_id",
    "caller_id",
    "caller_places",
    "thread_id",
    "status",
    "stop_reason",
    "task",
    "last_seq",
    "trace_url",
    "graph_version",
    "rounds",
    "attempt",
    "retried_after",
    "engine",
    "created_at",
    "started_at",
    "ended_at",
    "approval_mode",
    "validation",
    "cache_key",
    "cache_seconds",
    "cache_web",
    "leader_id",
    "traceparent",
)
_JSON: Final = frozenset(
    {
        *("result", "required_action", "error", "degraded", "actions", "cache", "forked_from"),
        *("metadata", "tags"),
    }
)

_OF_CALL: Final = (
    *("key", "agent", "model", "tier", "round", "status"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("most_tokens", "most_cost_usd", "saved_cost_usd"),
)
_OF_ARTIFACT: Final = ("name", "media_type", "size", "sha256", "agent")


def links(run_id: str, parent: str | None = None) -> dict[str, str]:
    """Return where a run and its events are found, and the run that it was forked from."""
    own = {"self": f"/v1/runs/{run_id}", "events": f"/v1/runs/{run_id}/events"}
    return {**own, "forked_from": f"/v1/runs/{parent}"} if parent else own


def run_row(run: Run) -> dict[str, Any]:
    """Return a run as a row; its usage has rows of its own."""
    return {
        **{name: getattr(run, name) for name in _SAME},
        **run.model_dump(mode="json", include=set(_JSON)),
        "max_rounds": run.budget.max_rounds,
        "budget": run.budget.limits.stored(),
        "agents": None if run.agents is None else list(run.agents),
        "output_schema": run.output_schema,
        "files": list(run.files) or None,
        "webhook": run.webhook.model_dump(mode="json") if run.webhook else None,
    }


def run_from(row: RowMapping, usage: Usage) -> Run:
    """Return the run of a row, with its usage."""
    return Run.model_validate(
        {
            **row,
            "budget": _budget(row, usage),
            "usage": usage,
            "links": links(row["id"], (row["forked_from"] or {}).get("run_id")),
            "files": row["files"] or (),
        }
    )


def limits_of(row: RowMapping) -> Limits:
    """Return the limits of a run's row."""
    return Limits.model_validate(row["budget"]) if row["budget"] else NO_LIMITS


def seconds_of(row: RowMapping, now: datetime) -> float:
    """Return how long a run has been running until `now`, or until it ended; waiting does not count."""
    since: datetime | None = row["claimed_at"]
    until: datetime = row["ended_at"] or now
    under_way = 0.0 if since is None else max((until - since).total_seconds(), 0.0)
    return float(row["ran_seconds"]) + under_way


def _budget(row: RowMapping, usage: Usage) -> RunBudget:
    spent = Spent.model_construct(
        cost_usd=usage.counted_cost_usd,
        cost_known=usage.cost_known,
        tokens=usage.counted_tokens,
        seconds=round(seconds_of(row, datetime.now(UTC)), 3),
    )
    return budget_of(
        limits_of(row), max_rounds=row["max_rounds"], rounds=row["rounds"], spent=spent
    )


def event_of(draft: EventDraft, *, run_id: str, seq: int, attempt: int, now: datetime) -> Event:
    """Return the event that a draft becomes under a `seq`."""
    return Event(
        seq=seq,
        type=draft.type,
        run_id=run_id,
        ts=utc(now),
        agent=draft.agent,
        path=draft.path,
        round=draft.round,
        attempt=attempt,
        data=draft.data,
        key=draft.key,
    )


def event_row(tenant_id: str, event: Event) -> dict[str, Any]:
    """Return an event as a row."""
    return {"tenant_id": tenant_id, **vars(event)}


def artifact_row(ref: RunRef, draft: EventDraft, now: datetime) -> dict[str, Any]:
    """Return the artifact of which an event tells as a row."""
    artifact: Artifact = draft.data["artifact"]
    return {
        "tenant_id": ref.tenant_id,
        "run_id": ref.run_id,
        **{name: artifact[name] for name in _OF_ARTIFACT},
        "round": draft.round,
        "created_at": draft.at or now,
    }


def artifact_from(row: RowMapping) -> Artifact:
    """Return the artifact of a row."""
    return Artifact(
        name=row["name"],
        media_type=row["media_type"],
        size=row["size"],
        sha256=row["sha256"],
        agent=row["agent"],
        url=artifact_url(row["run_id"], row["name"]),
    )


def call_row(call: ModelCall, *, tenant_id: str, run_id: str, now: datetime) -> dict[str, Any]:
    """Return a model call as a row."""
    return {"tenant_id": tenant_id, "run_id": run_id, "ts": now, **vars(call)}


def money_text(call: ModelCall) -> dict[str, str | None]:
    """Return a call's amounts the way a driver takes them that knows no column types."""
    names = ("cost_usd", "most_cost_usd", "saved_cost_usd")
    amounts = {name: getattr(call, name) for name in names}
    return {name: None if value is None else str(value) for name, value in amounts.items()}


def call_from(row: RowMapping) -> ModelCall:
    """Return the model call of a row."""
    lost = row["status"] == "lost"
    cost = row["cost_usd"]
    if lost:
        # Nobody was told what it used; what could cost nothing at most has cost nothing.
        cost = row["most_cost_usd"] if row["most_cost_usd"] == 0 else None
    values = {name: row[name] for name in _OF_CALL}
    return ModelCall(**values, cost_usd=cost, metered=row["metered"] and not lost)
