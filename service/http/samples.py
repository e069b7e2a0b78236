"""What the examples of answers are made of: one run and all about it."""

from __future__ import annotations

from typing import Any, Final

from service.http.receipt_examples import BUDGET, CONFIGURATION, DIGEST

Document = dict[str, Any]

BODY: Final = "0193f2c4a1b27c3d8e4f5a6b7c8d9e0f"
RUN_ID: Final = f"run_{BODY}"
THREAD_ID: Final = f"thr_{BODY}"
APPROVAL_ID: Final = f"apr_{BODY}"
SHA256: Final = "620b0c69abc77d46379459ba7ae57ea183c498534e70efa539ccd8338baaf801"
TASK: Final = "Compute the mean of 120, 135, 150, 149, 171 and keep the values as CSV."
OUTPUT: Final = "Computed with Python from 120, 135, 150, 149, 171:\n\n- mean: 145"
CREATED: Final = "2026-11-29T11:28:34.329148Z"
STARTED: Final = "2026-11-29T11:28:34.441564Z"
ENDED: Final = "2026-11-29T11:28:37.388532Z"

SHARE: Final[Document] = {
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
MODEL: Final = "openai:gpt-4o-mini"
USAGE: Final[Document] = {
    **SHARE,
    "by_agent": {"analyst": SHARE},
    "by_model": {MODEL: SHARE},
}
ARTIFACT: Final[Document] = {
    "name": "values.csv",
    "media_type": "text/csv",
    "size": 201,
    "sha256": SHA256,
    "agent": "analyst",
    "url": f"/v1/runs/{RUN_ID}/artifacts/values.csv",
}
ACCEPTED: Final[Document] = {
    "id": RUN_ID,
    "object": "run",
    "thread_id": THREAD_ID,
    "status": "queued",
    "stop_reason": None,
    "task": TASK,
    "result": None,
    "required_action": None,
    "error": None,
    "degraded": [],
    "actions": [],
    "cache": None,
    "forked_from": None,
    "usage": {
        **{name: value for name, value in SHARE.items() if name == "cost_known"},
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
    "trace_id": RUN_ID.removeprefix("run_"),
    "graph_version": "1-400babcb1e694bdd",
    "rounds": 0,
    "attempt": 0,
    "engine": "model",
    "created_at": CREATED,
    "started_at": None,
    "ended_at": None,
    "metadata": {"ticket": "A-17"},
    "tags": ["demo"],
    "links": {"self": f"/v1/runs/{RUN_ID}", "events": f"/v1/runs/{RUN_ID}/events"},
}
ENDED_RUN: Final[Document] = {
    **ACCEPTED,
    "status": "completed",
    "stop_reason": "done",
    "result": {
        "output": OUTPUT,
        "format": "markdown",
        "structured": None,
        "citations": [],
        "artifacts": [ARTIFACT],
        "validation": None,
        "agents": {"analyst": {"status": "completed", "output": OUTPUT, "error": None}},
    },
    "usage": USAGE,
    "last_seq": 19,
    "rounds": 1,
    "attempt": 1,
    "started_at": STARTED,
    "ended_at": ENDED,
}
CANCELLED: Final[Document] = {
    **ENDED_RUN,
    "status": "cancelled",
    "stop_reason": "cancelled",
    "rounds": 0,
}
DECIDED: Final[Document] = {
    "id": APPROVAL_ID,
    "type": "action",
    "run_id": RUN_ID,
    "thread_id": THREAD_ID,
    "agent": "coder",
    "tool": "http_request",
    "status": "resolved",
    "action": {
        "name": "http_request",
        "args": {"method": "POST", "url": "https://shop.example.com/orders", "body": "{}"},
    },
    "args_digest": f"sha256:{SHA256}",
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
        "by": f"key_{BODY}",
        "at": "2026-11-29T11:28:36.765490Z",
        "diff": None,
    },
    "created_at": "2026-11-29T11:28:34.716605Z",
}
ASKED: Final[Document] = {**DECIDED, "status": "pending", "decision": None}
EVENT: Final[Document] = {
    "seq": 1,
    "type": "run.created",
    "run_id": RUN_ID,
    "ts": CREATED,
    "agent": None,
    "path": None,
    "round": 0,
    "attempt": 0,
    "data": {"task": TASK, "thread_id": THREAD_ID},
}
DELIVERY: Final[Document] = {
    "id": f"whd_{BODY}",
    "object": "delivery",
    "run_id": RUN_ID,
    "type": "run.completed",
    "url": "https://hooks.example.com/signalbox",
    "status": "pending",
    "attempts": 1,
    "next_attempt_at": "2026-11-29T11:28:42.620920Z",
    "last_status": 503,
    "last_error": "It answered 503.",
    "created_at": ENDED,
    "delivered_at": None,
}
FEEDBACK: Final[Document] = {
    "id": f"fbk_{BODY}",
    "object": "feedback",
    "run_id": RUN_ID,
    "key": "helpful",
    "score": 1,
    "comment": "The mean is right.",
    "by": f"key_{BODY}",
    "created_at": "2026-11-29T11:30:02.117305Z",
}
RECEIPT: Final[Document] = {
    "object": "receipt",
    "run_id": RUN_ID,
    **{
        name: ENDED_RUN[name]
        for name in ("thread_id", "status", "stop_reason", "attempt", "rounds")
    },
    "created_by": f"key_{BODY}",
    "caller_kind": "key",
    "created_at": CREATED,
    "started_at": STARTED,
    "ended_at": ENDED,
    "task_digest": DIGEST,
    "files": [{"name": "sales.csv", "size": 26, "sha256": SHA256}],
    "engine": "model",
    "graph_version": "1-400babcb1e694bdd",
    "agents": None,
    "approvals_mode": "policy",
    "validation": "auto",
    "output_schema_digest": None,
    "output_digest": DIGEST,
    "artifacts": [
        {name: ARTIFACT[name] for name in ("name", "media_type", "size", "sha256", "agent")}
    ],
    "cache": None,
    "configurations": [CONFIGURATION],
    "prompts": CONFIGURATION["prompts"],
    "degraded": [],
    "budget": BUDGET,
    "approvals": [DECIDED],
    "actions": [
        {
            "id": f"act_{BODY}",
            "approval_id": APPROVAL_ID,
            "tool": "http_request",
            "args": DECIDED["action"]["args"],
            "agent": "coder",
            "path": "coder",
            "round": 1,
            "status": "done",
            "args_digest": f"sha256:{SHA256}",
            "attempt": 2,
            "started_at": "2026-11-29T11:28:36.900478Z",
            "ended_at": "2026-11-29T11:28:37.373646Z",
            "result": "201 Created",
            "settled_by": None,
        }
    ],
    "usage": USAGE,
    "digest": f"sha256:{SHA256}",
}
CALL: Final[Document] = {
    "key": "1|analyst|0|1",
    "at": STARTED,
    "agent": "analyst",
    "model": MODEL,
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
TIER: Final[Document] = {
    "tier": "standard",
    "model": MODEL,
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
AGENT: Final[Document] = {
    "name": "analyst",
    "description": "Computes with numbers and tables, every figure executed in Python; draws charts.",
    "tier": "standard",
    "model": MODEL,
    "tools": ["run_python", "describe_table", "read_file", "list_files", "ask_user"],
    "routable": True,
    "outside_graph": False,
}
TOOL: Final[Document] = {
    "name": "search_documents",
    "description": "Search the local documents and return numbered excerpts with their sources.",
    "effect": "none",
    "gate": "auto",
    "rules": [],
    "off_reason": None,
    "args_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
}
READY: Final[Document] = {
    "status": "ok",
    "checks": {"database": "ok", "models": "ok"},
    "components": {
        "database": {"status": "ok", "detail": None, "seconds": 0.002},
        "models": {"status": "ok", "detail": None, "seconds": 0.0},
    },
    "sandbox": {"backend": "native", "detail": "a confined process", "libraries": ["numpy"]},
}


NOTE: Final[Document] = {
    "id": f"nte_{BODY}",
    "text": "Leave out 2019, and answer in French.",
    "by": f"key_{BODY}",
    "at": "2026-11-29T11:28:35.120012Z",
}

METRICS: Final = """\
# HELP signalbox_runs_total Runs that have ended here.
# TYPE signalbox_runs_total counter
signalbox_runs_total{status="completed"} 3.0
"""

FORKED_ID: Final = "run_0193f2c5a1b27c3d8e4f5a6b7c8d9e10"
CHECKPOINT: Final = "1f0bd5a4-6f3e-6c52-8001-0a7d7b9d3a10"
