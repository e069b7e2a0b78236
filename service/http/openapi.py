"""Pieces of the OpenAPI description that FastAPI cannot derive."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from domain.approval import Approval
from domain.run import Run
from service.http.schemas import ProblemOut


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of problem+json answers with these statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}
            },
        }
        for status in statuses
    }


def _drop_internal(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Take the fields out of the description of a resource that never leave the service."""
    for name, field in model.model_fields.items():
        if field.exclude:
            schema["properties"].pop(name, None)
            schema["required"] = [each for each in schema.get("required", []) if each != name]


def finish(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what `problems` refers to, and take out the validation errors FastAPI invents."""
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    own = ProblemOut.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    components.update(own.pop("$defs", {}))
    components["ProblemOut"] = own
    for model in (Run, Approval):
        _drop_internal(components[model.__name__], model)
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for methods in schema.get("paths", {}).values():
        for operation in methods.values():
            invalid = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(invalid.get("content", {})):
                del operation["responses"]["422"]
    return schema
