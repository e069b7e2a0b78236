"""Reads what a graph asks: our own questions as they are, and whatever an outside graph interrupts with.

An outside graph may interrupt with anything. Nothing of it may keep the run from going on, so what
cannot be shown is shown as far as it goes, and a schema that could harm its reader is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from langgraph.types import Interrupt

from agents._kit.cleaning import is_clean, plain_text
from domain.approval import Ask, ask_id
from domain.errors import RunFailedError
from graph.spending import ASK
from tools.decisions import answer_schema, decisions_schema

SHOWN_CHARS: Final = 4_000
"""How much of an outside graph's question is shown."""

SCHEMA_CHARS: Final = 20_000
"""How long the schema of an answer may be."""

_UNSAFE: Final = frozenset(
    {
        # A pattern can take for ever, and a reference can lead into the network.
        *("pattern", "patternProperties", "format", "$dynamicRef", "$dynamicAnchor"),
        *("$id", "$schema", "$anchor", "$vocabulary"),
    }
)
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Where the keys are names that somebody chose, and no keywords."""


def read_ask(found: Interrupt, *, node: str, run_id: str, round_: int) -> Ask:
    """Return the question that an interrupt puts; one of an outside graph becomes a request for input."""
    if node == ASK:
        return cast("Ask", found.value)
    ask = Ask(
        id=ask_id(run_id, round_, node, found.id),
        type="input",
        agent=node,
        path=node,
        round=round_,
        call=found.id,
        tool=None,
        args={},
        description=_shown(found.value),
        response_schema=answer_schema(_message_schema(found)),
        by="any",
    )
    if wants_json(found):
        ask["on_expiry"] = "fail"  # nothing that could be said in its place would be what it wants
    return ask


def resume_value(found: Interrupt, *, node: str, decision: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the graph asked for
    """Return what answers an interrupt: our own nodes take the decision, outside graphs what was said."""
    if node == ASK:
        return dict(decision)
    message = str(decision.get("message", ""))
    if not wants_json(found):
        return message
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        msg = f"The question of {node} wants a JSON document, and was answered with another text."
        raise RunFailedError(msg, code="run-incompatible") from None


def wants_json(found: Interrupt) -> bool:
    """Return whether an outside graph wants a document: by its schema, or LangChain's own middleware."""
    if isinstance(found.response_schema, dict) and found.response_schema:
        return found.response_schema.get("type") != "string"
    return isinstance(found.value, dict) and "action_requests" in found.value


def _message_schema(found: Interrupt) -> dict[str, Any] | None:
    schema = _safe_schema(found.response_schema)
    if not wants_json(found):
        return {**schema, "type": "string", "minLength": 1} if schema else None
    if schema is None and isinstance(found.value, dict) and not found.response_schema:
        schema = decisions_schema(_allowed(found.value))
    return {
        "type": "string",
        "description": "A JSON document.",
        "contentMediaType": "application/json",
        "contentSchema": schema if schema is not None else True,
    }


def _safe_schema(schema: object) -> dict[str, Any] | None:
    """Return a schema without what could harm its reader; `None` where there is none to be had."""
    try:
        if not isinstance(schema, dict) or not is_clean(schema):
            return None
        safe: dict[str, Any] = _without_unsafe(schema)
        if len(json.dumps(safe)) > SCHEMA_CHARS:
            return None
        Draft202012Validator.check_schema(safe)
    except Exception:  # noqa: BLE001 - somebody else's schema may break its reader in any way
        return None
    return safe


def _without_unsafe(value: Any, *, names: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_without_unsafe(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_unsafe(each, names=not names and key in _NAMED)
        for key, each in value.items()
        if names or not (key in _UNSAFE or (key == "$ref" and not str(each).startswith("#")))
    }


def _allowed(value: Mapping[str, Any]) -> list[list[str]]:
    """Return for each request of LangChain's middleware which decisions it allows."""
    requests, configs = value["action_requests"], value.get("review_configs")
    count = len(requests) if isinstance(requests, list) else 1
    told = [_verbs(config) for config in (configs if isinstance(configs, list) else [])]
    return [*told, *([[]] * count)][:count]


def _verbs(config: object) -> list[str]:
    verbs = config.get("allowed_decisions") if isinstance(config, dict) else None
    return [verb for verb in verbs if isinstance(verb, str)] if isinstance(verbs, list) else []


def _shown(value: object) -> str:
    """Return what can be shown of a value, whatever it is."""
    try:
        text = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        )
    except (TypeError, ValueError, RecursionError):
        text = f"(a {type(value).__name__} that cannot be shown)"
    return plain_text(text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…")
