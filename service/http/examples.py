"""What answers look like: an example of every success, as OpenAPI shows it."""

from __future__ import annotations

from typing import Any, Final

from service.http.receipt_examples import BUDGET, CONFIGURATION, DIGEST

Document = dict[str, Any]

_BODY: Final = "0193f2c4a1b27c3d8e4f5a6b7c8d9e0f"
_RUN_ID: Final = f"run_{_BODY}"
_THREAD_ID: Final = f"thr_{_BODY}"
_APPROVAL_ID: Final = f"apr_{_BODY}"
_SHA256: Final = "620b0c69abc77d46379459ba7ae57ea183c498534e70efa539ccd8338baaf801"
_TASK: Final = "Compute the mean of 120, 135, 150, 149, 171 and keep the values as CSV."
_OUTPUT: Final = "Computed with Python from 120, 135, 150, 149, 171:\n\n- mean: 145"
_CREATED: Final = "2026-11-29T11:28:34.329148Z"
_STARTED: Final = "2026-11-29T11:28:34.441564Z"
_ENDED: Final = "2026-11-29T11:28:37.388532Z"

_SHARE: Final[Document] = {
    "input_tokens": 1487,
    "output_tokens": 759,
    "cached_tokens": 0,
    "reasoning_tokens": 0,
    "cost_usd": "0.00067845",
    "cost_known": True,
    "calls": 4,
    "unmetered_calls": 0,
    "cache_savings_usd": "0",
}
_MODEL: Final = "openai:gpt-4o-mini"
_USAGE: Final[Document] = {
    **_SHARE,
    "by_agent": {"analyst": _SHARE},
    "by_model": {_MODEL: _SHARE},
}
_ARTIFACT: Final[Document] = {
    "name": "values.csv",
    "media_type": "text/csv",
    "size": 201,
    "sha256": _SHA256,
    "agent": "analyst",
    "url": f"/v1/runs/{_RUN_ID}/artifacts/values.csv",
}
_ACCEPTED: Final[Document] = {
    "id": _RUN_ID,
    "object": "run",
    "thread_id": _THREAD_ID,
    "status": "queued",
    "stop_reason": None,
    "task": _TASK,
    "result": None,
    "required_action": None,
    "error": None,
    "degraded": [],
    "actions": [],
    "cache": None,
    "forked_from": None,
    "usage": {
        **{name: value for name, value in _SHARE.items() if name == "cost_known"},
        **dict.fromkeys(("cost_usd", "cache_savings_usd"), "0"),
        **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens"), 0),
        **dict.fromkeys(("reasoning_tokens", "calls", "unmetered_calls"), 0),
        "by_agent": {},
        "by_model": {},
    },
    "budget": {
        "max_cost_usd": "0.5",
        "max_tokens": None,
        "max_seconds": 300.0,
        "per_agent": {},
        "max_tier": None,
        "unknown_prices": "allow",
        "max_rounds": 10,
        "spent": {"cost_usd": "0", "cost_known": True, "tokens": 0, "seconds": 0.0},
        "remaining": {"cost_usd": "0.5", "tokens": None, "seconds": 300.0, "rounds": 10},
    },
    "last_seq": 1,
    "trace_url": None,
    "trace_id": _RUN_ID.removeprefix("run_"),
    "graph_version": "1-400babcb1e694bdd",
    "rounds": 0,
    "attempt": 0,
    "engine": "model",
    "created_at": _CREATED,
    "started_at": None,
    "ended_at": None,
    "metadata": {"ticket": "A-17"},
    "tags": ["demo"],
    "links": {"self": f"/v1/runs/{_RUN_ID}", "events": f"/v1/runs/{_RUN_ID}/events"},
}
_ENDED_RUN: Final[Document] = {
    **_ACCEPTED,
    "status": "completed",
    "stop_reason": "done",
    "result": {
        "output": _OUTPUT,
        "format": "markdown",
        "structured": None,
        "citations": [],
        "artifacts": [_ARTIFACT],
        "validation": None,
        "agents": {"analyst": {"status": "completed", "output": _OUTPUT, "error": None}},
    },
    "usage": _USAGE,
    "last_seq": 19,
    "rounds": 1,
    "attempt": 1,
    "started_at": _STARTED,
    "ended_at": _ENDED,
}
_CANCELLED: Final[Document] = {
    **_ENDED_RUN,
    "status": "cancelled",
    "stop_reason": "cancelled",
    "rounds": 0,
}
_DECIDED: Final[Document] = {
    "id": _APPROVAL_ID,
    "type": "action",
    "run_id": _RUN_ID,
    "thread_id": _THREAD_ID,
    "agent": "coder",
    "tool": "http_request",
    "status": "resolved",
    "action": {
        "name": "http_request",
        "args": {"method": "POST", "url": "https://shop.example.com/orders", "body": "{}"},
    },
    "args_digest": f"sha256:{_SHA256}",
    "description": "coder wants to call http_request",
    "allowed_decisions": ["approve", "edit", "reject", "respond"],
    "response_schema": {"title": "Decision about http_request", "type": "object"},
    "expires_at": "2026-12-29T11:28:34.716605Z",
    "on_expiry": "reject",
    "decision": {
        "type": "approve",
        "edited_action": None,
        "message": None,
        "comment": "Checked with accounting.",
        "remember": None,
        "by": f"key_{_BODY}",
        "at": "2026-11-29T11:28:36.765490Z",
        "diff": None,
    },
    "created_at": "2026-11-29T11:28:34.716605Z",
}
_ASKED: Final[Document] = {**_DECIDED, "status": "pending", "decision": None}
_EVENT: Final[Document] = {
    "seq": 1,
    "type": "run.created",
    "run_id": _RUN_ID,
    "ts": _CREATED,
    "agent": None,
    "path": None,
    "round": 0,
    "attempt": 0,
    "data": {"task": _TASK, "thread_id": _THREAD_ID},
}
_DELIVERY: Final[Document] = {
    "id": f"whd_{_BODY}",
    "object": "delivery",
    "run_id": _RUN_ID,
    "type": "run.completed",
    "url": "https://hooks.example.com/signalbox",
    "status": "pending",
    "attempts": 1,
    "next_attempt_at": "2026-11-29T11:28:42.620920Z",
    "last_status": 503,
    "last_error": "It answered 503.",
    "created_at": _ENDED,
    "delivered_at": None,
}
_FEEDBACK: Final[Document] = {
    "id": f"fbk_{_BODY}",
    "object": "feedback",
    "run_id": _RUN_ID,
    "key": "helpful",
    "score": 1,
    "comment": "The mean is right.",
    "by": f"key_{_BODY}",
    "created_at": "2026-11-29T11:30:02.117305Z",
}
_RECEIPT: Final[Document] = {
    "object": "receipt",
    "run_id": _RUN_ID,
    **{
        name: _ENDED_RUN[name]
        for name in ("thread_id", "status", "stop_reason", "attempt", "rounds")
    },
    "created_by": f"key_{_BODY}",
    "caller_kind": "key",
    "created_at": _CREATED,
    "started_at": _STARTED,
    "ended_at": _ENDED,
    "task_digest": DIGEST,
    "files": [{"name": "sales.csv", "size": 26, "sha256": _SHA256}],
    "engine": "model",
    "graph_version": "1-400babcb1e694bdd",
    "agents": None,
    "approvals_mode": "policy",
    "validation": "auto",
    "output_schema_digest": None,
    "output_digest": DIGEST,
    "artifacts": [
        {name: _ARTIFACT[name] for name in ("name", "media_type", "size", "sha256", "agent")}
    ],
    "cache": None,
    "configurations": [CONFIGURATION],
    "prompts": CONFIGURATION["prompts"],
    "degraded": [],
    "budget": BUDGET,
    "approvals": [_DECIDED],
    "actions": [
        {
            "id": f"act_{_BODY}",
            "approval_id": _APPROVAL_ID,
            "tool": "http_request",
            "args": _DECIDED["action"]["args"],
            "agent": "coder",
            "path": "coder",
            "round": 1,
            "status": "done",
            "args_digest": f"sha256:{_SHA256}",
            "attempt": 2,
            "started_at": "2026-11-29T11:28:36.900478Z",
            "ended_at": "2026-11-29T11:28:37.373646Z",
            "result": "201 Created",
            "settled_by": None,
        }
    ],
    "usage": _USAGE,
    "digest": f"sha256:{_SHA256}",
}
_CALL: Final[Document] = {
    "key": "1|analyst|0|1",
    "at": _STARTED,
    "agent": "analyst",
    "model": _MODEL,
    "tier": "standard",
    "round": 1,
    "status": "completed",
    "metered": True,
    "input_tokens": 390,
    "output_tokens": 574,
    "cached_tokens": 0,
    "reasoning_tokens": 0,
    "cost_usd": "0.0004029",
    "saved_cost_usd": None,
}
_TIER: Final[Document] = {
    "tier": "standard",
    "model": _MODEL,
    "provider": "openai",
    "options": {
        "temperature": None,
        "max_tokens": 4096,
        "context": 128_000,
        "context_known": True,
        "json_schema": True,
        "tools": True,
        "parallel": 16,
    },
    "price": {"input_per_mtok": "0.15", "output_per_mtok": "0.6", "cached_per_mtok": "0.075"},
    "price_known": True,
    "fallbacks": [],
    "agents": ["supervisor", "analyst", "coder", "researcher"],
}
_AGENT: Final[Document] = {
    "name": "analyst",
    "description": "Computes with numbers and tables, every figure executed in Python; draws charts.",
    "tier": "standard",
    "model": _MODEL,
    "tools": ["run_python", "describe_table", "read_file", "list_files", "ask_user"],
    "routable": True,
    "outside_graph": False,
}
_TOOL: Final[Document] = {
    "name": "search_documents",
    "description": "Search the local documents and return numbered excerpts with their sources.",
    "effect": "none",
    "gate": "auto",
    "rules": [],
    "off_reason": None,
    "args_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
}
_READY: Final[Document] = {
    "status": "ok",
    "checks": {"database": "ok", "models": "ok"},
    "components": {
        "database": {"status": "ok", "detail": None, "seconds": 0.002},
        "models": {"status": "ok", "detail": None, "seconds": 0.0},
    },
    "sandbox": {"backend": "native", "detail": "a confined process", "libraries": ["numpy"]},
}


def _page(*rows: Document) -> Document:
    return {"data": [*rows], "next_cursor": None, "has_more": False}


_NOTE: Final[Document] = {
    "id": f"nte_{_BODY}",
    "text": "Leave out 2019, and answer in French.",
    "by": f"key_{_BODY}",
    "at": "2026-11-29T11:28:35.120012Z",
}

_METRICS: Final = """\
# HELP signalbox_runs_total Runs that have ended here.
# TYPE signalbox_runs_total counter
signalbox_runs_total{status="completed"} 3.0
"""

_FORKED_ID: Final = "run_0193f2c5a1b27c3d8e4f5a6b7c8d9e10"
_CHECKPOINT: Final = "1f0bd5a4-6f3e-6c52-8001-0a7d7b9d3a10"

EXAMPLES: Final[dict[tuple[str, str], Document | str]] = {
    ("get_metrics", "200"): _METRICS,
    ("create_run", "200"): _ENDED_RUN,
    ("create_run", "202"): _ACCEPTED,
    ("list_runs", "200"): _page(_ENDED_RUN),
    ("get_run", "200"): _ENDED_RUN,
    ("update_run", "200"): _ACCEPTED,
    ("retry_run", "202"): {
        **_ENDED_RUN,
        "status": "queued",
        "stop_reason": None,
        "result": None,
        "ended_at": None,
        "rounds": 0,
    },
    ("add_note", "202"): _NOTE,
    ("fork_run", "202"): {
        **_ACCEPTED,
        "id": _FORKED_ID,
        "thread_id": _FORKED_ID.replace("run_", "thr_"),
        "task": "Write it for engineers.",
        "forked_from": {"run_id": _RUN_ID, "checkpoint_id": _CHECKPOINT},
        "links": {
            "self": f"/v1/runs/{_FORKED_ID}",
            "events": f"/v1/runs/{_FORKED_ID}/events",
            "forked_from": f"/v1/runs/{_RUN_ID}",
        },
    },
    ("list_checkpoints", "200"): {
        "data": [
            {
                "checkpoint_id": _CHECKPOINT,
                "parent_id": "1f0bd5a4-5c1d-6b41-8000-9f6c6a8c2b0f",
                "created_at": _STARTED,
                "step": 1,
                "round": 1,
                "next": ["supervisor"],
                "finished": [
                    {"agent": "analyst", "path": "analyst", "round": 1, "status": "completed"}
                ],
                "results": 1,
                "stop_reason": None,
                "approvals": [],
                "final": False,
                "forkable": True,
                "refusal": None,
            }
        ],
        "next_cursor": None,
        "has_more": False,
    },
    ("cancel_run", "200"): _CANCELLED,
    ("cancel_run", "202"): _CANCELLED,
    ("get_thread", "200"): _page(_ENDED_RUN),
    ("export_run", "200"): {
        "object": "export",
        "schema_version": 1,
        "exported_at": "2026-11-30T09:00:00Z",
        "run": _ENDED_RUN,
        "files": [{"name": "sales.csv", "size": 26, "sha256": _SHA256}],
        "notes": [_NOTE],
        "receipt": _RECEIPT,
        "artifacts": [_ARTIFACT],
        "sources": [
            {"sha256": _SHA256, "size": 2166, "url": f"/v1/runs/{_RUN_ID}/sources/{_SHA256}"}
        ],
        "calls": [_CALL],
        "feedback": [_FEEDBACK],
        "events": [_EVENT],
    },
    ("create_feedback", "201"): _FEEDBACK,
    ("list_events", "200"): _page(_EVENT),
    ("list_artifacts", "200"): _page(_ARTIFACT),
    ("list_approvals", "200"): _page(_ASKED),
    ("get_approval", "200"): _ASKED,
    ("decide_approval", "200"): _DECIDED,
    ("decide_run", "200"): _page(_DECIDED),
    ("resolve_action", "200"): _ENDED_RUN,
    ("get_receipt", "200"): _RECEIPT,
    ("list_deliveries", "200"): _page(_DELIVERY),
    ("redeliver_delivery", "202"): _DELIVERY,
    ("get_usage", "200"): {
        "from": "2026-11-01",
        "to": "2026-11-30",
        "data": [{**_SHARE, "day": "2026-11-29", "model": _MODEL}],
        "next_cursor": None,
        "has_more": False,
        "total": _SHARE,
    },
    ("list_agents", "200"): _page(_AGENT),
    ("list_models", "200"): _page(_TIER),
    ("list_tools", "200"): _page(_TOOL),
    ("get_liveness", "200"): {"status": "ok", "checks": {}},
    ("get_readiness", "200"): _READY,
    ("get_readiness", "503"): {
        **_READY,
        "status": "down",
        "checks": {"database": "does not answer (TimeoutError)"},
        "components": {
            "database": {
                "status": "down",
                "detail": "does not answer (TimeoutError)",
                "seconds": 2.001,
            }
        },
    },
    ("get_info", "200"): {
        "name": "signalbox",
        "version": "0.1.0",
        "revision": None,
        "engine": "model",
        "graph_version": "1-400babcb1e694bdd",
        "environment": "production",
        "models": {"fast": _MODEL, "standard": _MODEL, "deep": "openai:gpt-5"},
        "protocols": {"api": "v1", "openapi": "3.1"},
        "features": ["runs", "events", "sse", "idempotency"],
    },
    ("run_workflow", "200"): _ENDED_RUN,
    ("run_workflow", "202"): _ACCEPTED,
}
"""By operation and status, what stands under `application/json`."""
