"""Whatever an outside graph interrupts with becomes a question that can be shown, answered and kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from langgraph.types import Interrupt

from domain.errors import RunFailedError
from graph.questions import SHOWN_CHARS, read_ask, resume_value, wants_json

HOSTILE: list[Any] = [
    {"action_requests": [{}], "review_configs": [{"allowed_decisions": 5}]},
    {"action_requests": [{}], "review_configs": [{"allowed_decisions": [["a"]]}]},
    {"action_requests": 7, "review_configs": 8},
    {(1, 2): "x"},
    object(),
    float("nan"),
    "x" * 5_000_000,
    "\x00\ud800",
    None,
    {"id": "apr_1", "type": "action", "tool": "http_request"},
]

SCHEMAS: list[Any] = [
    {"type": "number", "minimum": float("nan")},
    {"type": "string", "pattern": "^(a+)+$"},
    {"type": "string", "pattern": "("},
    {"$ref": "http://127.0.0.1:9/x"},
    {"$ref": "#/nope"},
    {"type": "string", "minLength": "x"},
    {"properties": 5},
    {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5_000)}},
    7,
]


def question(value: Any, schema: Any = None) -> Interrupt:
    return Interrupt(value=value, id="0" * 32, response_schema=schema)


@pytest.mark.parametrize("value", HOSTILE, ids=[str(n) for n in range(len(HOSTILE))])
def test_any_value_can_be_shown_and_kept(value: Any) -> None:
    ask = read_ask(question(value), node="acme", run_id="r", round_=1)
    assert (ask["type"], ask["tool"], ask["agent"]) == ("input", None, "acme")
    assert len(ask["description"]) <= SHOWN_CHARS + 1
    assert "\x00" not in ask["description"]
    json.dumps(ask, allow_nan=False).encode()


@pytest.mark.parametrize("schema", SCHEMAS, ids=[str(n) for n in range(len(SCHEMAS))])
def test_no_schema_harms_its_reader(schema: Any) -> None:
    """A pattern that takes for ever is left out, a reference leads nowhere, a broken one is dropped."""
    ask = read_ask(question("q", schema), node="acme", run_id="r", round_=1)
    text = json.dumps(ask, allow_nan=False)
    assert "pattern" not in text
    assert "http://127" not in text
    message = ask["response_schema"]["properties"]["message"]
    Draft202012Validator.check_schema(message)


def test_a_field_may_be_called_like_a_keyword() -> None:
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}}}
    ask = read_ask(question("q", schema), node="acme", run_id="r", round_=1)
    assert ask["response_schema"]["properties"]["message"]["contentSchema"] == schema


def test_what_wants_a_document_ends_its_run_when_nobody_answers() -> None:
    """No text that could be said in a person's place would be one."""
    asked = question("q", {"type": ["string", "null"]})
    assert wants_json(asked)
    assert read_ask(asked, node="acme", run_id="r", round_=1).get("on_expiry") == "fail"
    with pytest.raises(RunFailedError, match="wants a JSON document"):
        resume_value(asked, node="acme", decision={"type": "respond", "message": "Nobody …"})


def test_a_document_is_handed_over_as_one() -> None:
    asked = question({"action_requests": [{}], "review_configs": []})
    decision = {"type": "respond", "message": '{"decisions": [{"type": "approve"}]}'}
    value = resume_value(asked, node="acme", decision=decision)
    assert value == {"decisions": [{"type": "approve"}]}
