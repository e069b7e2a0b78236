"""Pieces of the OpenAPI description that FastAPI cannot derive."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from starlette.routing import BaseRoute

from domain.approval import Approval
from domain.run import Run
from service.http.caller import scopes_of
from service.http.schemas import ProblemOut

SCHEME: Final = "bearer"

_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `signalbox keys create`, or a token of the issuer that this server trusts. A "
    "server without keys serves the machine it runs on, and asks for none.",
}


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


def _add_security(schema: dict[str, Any], routes: Sequence[BaseRoute]) -> None:
    """Say of each operation what its caller needs, and how those are refused who have it not."""
    schema["components"]["securitySchemes"] = {SCHEME: _BEARER}
    scopes = {getattr(route, "operation_id", None): scopes_of(route) for route in routes}
    refusals = {str(status): answer for status, answer in problems(401, 403, 429).items()}
    for methods in schema.get("paths", {}).values():
        for operation in methods.values():
            needed = scopes[operation["operationId"]]
            # Of several one is enough: alternatives of OpenAPI.
            operation["security"] = [{SCHEME: [scope]} for scope in needed]
            if needed:
                answers = {**refusals, **operation["responses"]}
                operation["responses"] = dict(sorted(answers.items()))


def finish(schema: dict[str, Any], routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Add what `problems` refers to and who may call, and take out the validation errors FastAPI invents."""
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
    _add_security(schema, routes)
    return schema
