"""What may be answered to a question, as JSON schemas derived from what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langchain_core.utils.function_calling import convert_to_openai_tool

from domain.approval import MAX_MESSAGE_CHARS
from tools.registry import Tool

_MESSAGE: Final = {"type": "string", "minLength": 1, "maxLength": MAX_MESSAGE_CHARS}


def action_schema(tool: Tool) -> dict[str, Any]:
    """Return the schema of a decision about a call of this tool."""
    args: dict[str, Any] = dict(convert_to_openai_tool(tool.tool)["function"]["parameters"])
    shared = {"$defs": args.pop("$defs")} if "$defs" in args else {}
    edited = {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "args": args},
        "required": ["name", "args"],
        "additionalProperties": False,
    }
    return {
        "title": f"Decision about {tool.name}",
        "oneOf": [
            _decision("approve"),
            _decision("edit", edited_action=edited),
            _decision("reject", optional={"message": _MESSAGE}),
            _decision("respond", message=_MESSAGE),
        ],
        **shared,
    }


def decisions_schema(requests: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the schema of what LangChain's own middleware is answered: a decision about each request.

    `requests` says of each which decisions it allows; nothing stands for all of them.
    """
    action = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "args": {"type": "object"}},
        "required": ["name", "args"],
    }
    known = {
        "approve": _decision("approve"),
        "edit": _decision("edit", edited_action=action),
        "reject": _decision("reject", optional={"message": _MESSAGE}),
        "respond": _decision("respond", message=_MESSAGE),
    }
    each = [
        {"oneOf": [schema for kind, schema in known.items() if kind in allowed]}
        for allowed in (set(allowed) & known.keys() or known.keys() for allowed in requests)
    ]
    listed = {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}
    return {"type": "object", "properties": {"decisions": listed}, "required": ["decisions"]}


def answer_schema(message: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of the answer to a question; `message` is that of its text."""
    return {"title": "Answer", **_decision("respond", message=message or _MESSAGE)}


def _decision(
    kind: str, *, optional: dict[str, Any] | None = None, **needed: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, **needed, **(optional or {})},
        "required": ["type", *needed],
        "additionalProperties": False,
    }
