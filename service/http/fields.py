"""The kinds of values that bodies are made of, each described as it is checked.

What no JSON schema can say is a `format` of ours: `agent-name` (one of `GET /v1/agents`), `workspace-path`,
`webhook-url` and, of decisions, `approval-id`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
)

from domain.errors import ToolFailedError
from service.endpoints import MAX_URL_CHARS
from tools.workspace import MAX_PATH_CHARS, split_path

TASK_CHARS: Final = 32_000
VALUE_CHARS: Final = 512
REASON_CHARS: Final = 2_000
MAX_METADATA: Final = 50
SCHEMA_CHARS: Final = 20_000
SAFE_INTEGER: Final = 2**53

KEPT: Final = r"^[^\x00]*$"
"""A text that every database takes."""

SAYING: Final = r"^[\s\x1c-\x1f\x85]*[^\s\x00\x1c-\x1f\x85][^\x00]*$"
"""One that is not blank either, as Python means it: JavaScript counts fewer characters as white space. Written so
that no text takes long to match."""

NAME: Final = r"^[^\x00-\x1f]+$"


def says_something(text: str) -> str:
    """Return a text that is not blank; raises `ValueError`."""
    if not text.strip():
        msg = "must not be blank"
        raise ValueError(msg)
    return can_be_kept(text)


def can_be_kept(text: str) -> str:
    """Return a text that every database takes; raises `ValueError`."""
    if "\x00" in text:
        msg = "must not contain NUL characters"
        raise ValueError(msg)
    try:
        # Pydantic refuses lone surrogates, but not where the string is one of several alternatives.
        text.encode()
    except UnicodeEncodeError:
        msg = "must not contain half of a surrogate pair"
        raise ValueError(msg) from None
    return text


def _fits_in_json(value: object) -> object:
    if isinstance(value, (int, float)) and abs(value) > SAFE_INTEGER:
        msg = "must be at most 2**53, so that every JSON reader keeps it"
        raise ValueError(msg)
    if isinstance(value, str):
        if len(value) > VALUE_CHARS:
            msg = f"must have at most {VALUE_CHARS} characters"
            raise ValueError(msg)
        return can_be_kept(value)
    return value


def _is_short_schema(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        msg = "is nested too deeply"
        raise ValueError(msg) from None
    except ValueError:
        msg = "has a number that is too large for JSON readers"
        raise ValueError(msg) from None
    if len(text) > SCHEMA_CHARS:
        msg = f"must have at most {SCHEMA_CHARS} characters"
        raise ValueError(msg)
    can_be_kept(text)
    return value


def _as_workspace_path(name: str) -> str:
    """Return a file's name as the workspace has it; raises `ValueError`."""
    try:
        parts = split_path(name)
    except ToolFailedError as error:
        raise ValueError(error.detail.removesuffix(".")) from None
    if any(part.startswith(".") for part in parts):
        msg = f"the name {name[:80]!r} has a part that begins with a dot, which would hide the file"
        raise ValueError(msg)
    return "/".join(parts)


def text_schema(pattern: str, longest: int, *, shortest: int = 0) -> dict[str, Any]:
    """Return the description of a text."""
    return {"type": "string", "minLength": shortest, "maxLength": longest, "pattern": pattern}


_VALUE: Final[dict[str, Any]] = {
    "anyOf": [
        text_schema(KEPT, VALUE_CHARS),
        {"type": "boolean"},
        {"type": "number", "minimum": -SAFE_INTEGER, "maximum": SAFE_INTEGER},
        {"type": "null"},
    ]
}

Said = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=TASK_CHARS),
    AfterValidator(says_something),
    WithJsonSchema(text_schema(SAYING, TASK_CHARS, shortest=1)),
]
Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64, pattern=NAME)]
AgentName = Annotated[
    Name, WithJsonSchema({**text_schema(NAME, 64, shortest=1), "format": "agent-name"})
]
FileName = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_PATH_CHARS),
    AfterValidator(_as_workspace_path),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": MAX_PATH_CHARS, "format": "workspace-path"}
    ),
]
Base64 = Annotated[StrictStr, WithJsonSchema({"type": "string", "format": "byte"})]
WebhookUrl = Annotated[
    HttpUrl,
    WithJsonSchema({"type": "string", "maxLength": MAX_URL_CHARS, "format": "webhook-url"}),
]
FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Reason = Annotated[
    str,
    StringConstraints(strict=True, max_length=REASON_CHARS),
    AfterValidator(can_be_kept),
    WithJsonSchema(text_schema(KEPT, REASON_CHARS)),
]
Scalar = Annotated[
    StrictStr | StrictBool | StrictInt | FiniteFloat | None, AfterValidator(_fits_in_json)
]
Metadata = Annotated[
    dict[Name, Scalar],
    Field(max_length=MAX_METADATA),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_METADATA,
            "propertyNames": text_schema(NAME, 64, shortest=1),
            "additionalProperties": _VALUE,
        }
    ),
]

JsonSchemaIn = Annotated[
    dict[str, Any],
    AfterValidator(_is_short_schema),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]


class Strict(BaseModel):
    """A body in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
