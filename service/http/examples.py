"""What answers look like: an example of every success, as OpenAPI shows it."""

from __future__ import annotations

from typing import Final

from service.http.samples import (
    ACCEPTED,
    AGENT,
    ARTIFACT,
    ASKED,
    CALL,
    CANCELLED,
    CHECKPOINT,
    DECIDED,
    DELIVERY,
    ENDED_RUN,
    EVENT,
    FEEDBACK,
    FORKED_ID,
    METRICS,
    MODEL,
    NOTE,
    READY,
    RECEIPT,
    RUN_ID,
    SHA256,
    SHARE,
    STARTED,
    TIER,
    TOOL,
    Document,
)


def _page(*rows: Document) -> Document:
    return {"data": [*rows], "next_cursor": None, "has_more": False}


EXAMPLES: Final[dict[tuple[str, str], Document | str]] = {
    ("get_metrics", "200"): METRICS,
    ("create_run", "200"): ENDED_RUN,
    ("create_run", "202"): ACCEPTED,
    ("list_runs", "200"): _page(ENDED_RUN),
    ("get_run", "200"): ENDED_RUN,
    ("update_run", "200"): ACCEPTED,
    ("retry_run", "202"): {
        **ENDED_RUN,
        "status": "queued",
        "stop_reason": None,
        "result": None,
        "ended_at": None,
        "rounds": 0,
    },
    ("add_note", "202"): NOTE,
    ("fork_run", "202"): {
        **ACCEPTED,
        "id": FORKED_ID,
        "thread_id": FORKED_ID.replace("run_", "thr_"),
        "task": "Write it for engineers.",
        "forked_from": {"run_id": RUN_ID, "checkpoint_id": CHECKPOINT},
        "links": {
            "self": f"/v1/runs/{FORKED_ID}",
            "events": f"/v1/runs/{FORKED_ID}/events",
            "forked_from": f"/v1/runs/{RUN_ID}",
        },
    },
    ("list_checkpoints", "200"): {
        "data": [
            {
                "checkpoint_id": CHECKPOINT,
                "parent_id": "1f0bd5a4-5c1d-6b41-8000-9f6c6a8c2b0f",
                "created_at": STARTED,
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
    ("cancel_run", "200"): CANCELLED,
    ("cancel_run", "202"): CANCELLED,
    ("get_thread", "200"): _page(ENDED_RUN),
    ("export_run", "200"): {
        "object": "export",
        "schema_version": 1,
        "exported_at": "2026-11-30T09:00:00Z",
        "run": ENDED_RUN,
        "files": [{"name": "sales.csv", "size": 26, "sha256": SHA256}],
        "notes": [NOTE],
        "receipt": RECEIPT,
        "artifacts": [ARTIFACT],
        "sources": [{"sha256": SHA256, "size": 2166, "url": f"/v1/runs/{RUN_ID}/sources/{SHA256}"}],
        "calls": [CALL],
        "feedback": [FEEDBACK],
        "events": [EVENT],
    },
    ("create_feedback", "201"): FEEDBACK,
    ("list_events", "200"): _page(EVENT),
    ("list_artifacts", "200"): _page(ARTIFACT),
    ("list_approvals", "200"): _page(ASKED),
    ("get_approval", "200"): ASKED,
    ("decide_approval", "200"): DECIDED,
    ("decide_run", "200"): _page(DECIDED),
    ("resolve_action", "200"): ENDED_RUN,
    ("get_receipt", "200"): RECEIPT,
    ("list_deliveries", "200"): _page(DELIVERY),
    ("redeliver_delivery", "202"): DELIVERY,
    ("get_usage", "200"): {
        "from": "2026-11-01",
        "to": "2026-11-30",
        "data": [{**SHARE, "day": "2026-11-29", "model": MODEL}],
        "next_cursor": None,
        "has_more": False,
        "total": SHARE,
    },
    ("list_agents", "200"): _page(AGENT),
    ("list_models", "200"): _page(TIER),
    ("list_tools", "200"): _page(TOOL),
    ("get_liveness", "200"): {"status": "ok", "checks": {}},
    ("get_readiness", "200"): READY,
    ("get_readiness", "503"): {
        **READY,
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
        "models": {"fast": MODEL, "standard": MODEL, "deep": "openai:gpt-5"},
        "protocols": {"api": "v1", "openapi": "3.1"},
        "features": ["runs", "events", "sse", "idempotency"],
    },
    ("run_workflow", "200"): ENDED_RUN,
    ("run_workflow", "202"): ACCEPTED,
}
"""By operation and status, what stands under `application/json`."""
