"""What stands in an example of a receipt and in no other."""

from __future__ import annotations

from typing import Any, Final

_MODEL: Final = "openai:gpt-4o-mini"

DIGEST: Final = "sha256:620b0c69abc77d46379459ba7ae57ea183c498534e70efa539ccd8338baaf801"

CONFIGURATION: Final[dict[str, Any]] = {
    "digest": DIGEST,
    "attempts": [1, 2],
    "product": {"version": "0.1.0", "revision": "9f2c1ab"},
    "graph_version": "1-400babcb1e694bdd",
    "engine": "model",
    "prompts": {"supervisor": DIGEST, "answer": DIGEST, "analyst": DIGEST},
    "tools": {"run_python": DIGEST},
    "models": {"fast": [_MODEL], "standard": [_MODEL], "deep": ["openai:gpt-5", "openai:gpt-4.1"]},
    "settings": {"digest": DIGEST, "changed": {"SIGNALBOX_MAX_ROUNDS": 6}},
}

BUDGET: Final[dict[str, Any]] = {
    "limits": {"max_cost_usd": "0.75", "max_rounds": 6},
    "changes": [
        {
            "at": "2026-11-29T11:28:36.900478Z",
            "by": "key_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f",
            "how": "patch",
            "before": {"max_cost_usd": "0.5", "max_rounds": 6},
            "after": {"max_cost_usd": "0.75", "max_rounds": 6},
        }
    ],
}
