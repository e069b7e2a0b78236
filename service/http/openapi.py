"""The OpenAPI description, where FastAPI cannot derive it or derives what is not so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from starlette.routing import BaseRoute

from domain.approval import Approval
from domain.run import Run
from service.http.caller import scopes_of
from service.http.examples import EXAMPLES
from service.http.fields import KEPT, SAFE_INTEGER
from service.http.following import links_of
from service.http.parameters import ABOUT, SEQ
from service.http.schemas import ProblemOut

SCHEME: Final = "bearer"
JSON: Final = "application/json"

_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `signalbox keys create`, or a token of the issuer that this server trusts. A "
    "server without keys serves the machine it runs on, and asks for none.",
}


def _header(description: str, *, always: bool = False) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": "string"}}


_HEADERS: Final = {
    "X-Request-Id": _header("The request's own id, or one that was made for it.", always=True),
    "RateLimit": _header("What is left of the caller's requests, and in how many seconds more."),
    "RateLimit-Policy": _header("How many requests the caller has in a minute."),
    "Idempotency-Replayed": _header("`true` where an earlier request with the same key did it."),
    "Location": _header("Where the run is.", always=True),
    "Retry-After": _header("Seconds until the request may be sent again.", always=True),
    "WWW-Authenticate": _header("What is wrong with the key.", always=True),
}
_CREATES: Final = frozenset({"create_run", "fork_run", "run_workflow", "stream_workflow"})


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    described = {"type": "string", **schema}
    return {"name": name, "in": "header", "description": description, "schema": described}


_KEY: Final = _parameter(
    "Idempotency-Key",
    "The same request with the same key is done once, however often it is sent: for 48 hours.",
    pattern=r"^[\x21-\x7e]{1,255}$",
)
_PREFER: Final = _parameter("Prefer", "`wait=N` is `?wait=N`, in whole seconds.")
_READ: Final[dict[str, list[dict[str, Any]]]] = {
    "create_run": [_PREFER],
    "get_run": [_PREFER],
    "list_events": [
        _parameter("Last-Event-ID", "The last event seen; it wins over `after`.", pattern=SEQ)
    ],
    "get_artifact": [_parameter("If-None-Match", "The `ETag` of a copy that is there.")],
}
"""The headers that handlers read, but for the key of every POST."""

_ACTION: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": KEPT},
        "args": {
            "type": "object",
            "propertyNames": {"pattern": KEPT},
            "additionalProperties": {"$ref": "#/components/schemas/JsonIn"},
        },
    },
    "required": ["name", "args"],
    "additionalProperties": False,
}
_JSON_IN: Final = {
    "description": "Any JSON that is kept as it was sent; nested at most 50 levels deep.",
    "anyOf": [
        {"type": "string", "pattern": KEPT},
        {"type": "number", "minimum": -SAFE_INTEGER, "maximum": SAFE_INTEGER},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "array", "items": {"$ref": "#/components/schemas/JsonIn"}},
        {
            "type": "object",
            "propertyNames": {"pattern": KEPT},
            "additionalProperties": {"$ref": "#/components/schemas/JsonIn"},
        },
    ],
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


def event_schema(data: dict[str, Any], example: dict[str, str]) -> dict[str, Any]:
    """Return the description of server-sent events; before OpenAPI 3.2 `schema` says what each event is."""
    fields: dict[str, Any] = {
        "id": {"type": "string", "description": "Its number, where it is stored."},
        "event": {"type": "string", "description": "Its type."},
        "data": {"type": "string", "contentMediaType": JSON, "contentSchema": data},
        "retry": {"type": "integer", "description": "Milliseconds to wait before coming back."},
    }
    schema = {"type": "object", "description": "One event.", "properties": fields}
    return {"text/event-stream": {"schema": schema, "example": example}}


def finish(schema: dict[str, Any], routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Complete the description, and take out what FastAPI invents."""
    components = schema.setdefault("components", {})
    components["headers"] = _HEADERS
    components["securitySchemes"] = {SCHEME: _BEARER}
    _correct(components.setdefault("schemas", {}))
    scopes = {getattr(route, "operation_id", None): scopes_of(route) for route in routes}
    for path, methods in schema.get("paths", {}).items():
        for method, operation in methods.items():
            name = operation["operationId"]
            needed = scopes[name]
            # Of several one is enough: alternatives of OpenAPI.
            operation["security"] = [{SCHEME: [scope]} for scope in needed]
            _describe_parameters(operation, keyed=method == "post")
            _describe_failures(path, method, operation, closed=bool(needed))
            for status, response in operation["responses"].items():
                _describe_answer(name, status, response, _headers_of(name, method, status))
                if needed:
                    response["headers"].update(_refs("RateLimit", "RateLimit-Policy"))
    return schema


def _correct(components: dict[str, Any]) -> None:
    """Correct the schemas: what is internal, errors that are not ours, names that have to fit a pattern."""
    own = ProblemOut.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    components.update(own.pop("$defs", {}))
    components["ProblemOut"] = own
    components["JsonIn"] = _JSON_IN
    for name in ("DecisionIn", "RunDecisionIn"):
        components[name]["properties"]["edited_action"]["anyOf"][0] = _ACTION
    for model in (Run, Approval):
        _drop_internal(components[model.__name__], model)
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for node in _objects(components):
        # A name of another form is refused; `patternProperties` would let it have any value.
        if "propertyNames" in node and len(node.get("patternProperties", {})) == 1:
            [(pattern, value)] = node.pop("patternProperties").items()
            node["propertyNames"]["pattern"] = pattern
            node["additionalProperties"] = value


def _drop_internal(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Take the fields out of the description of a resource that never leave the service."""
    for name, field in model.model_fields.items():
        if field.exclude:
            schema["properties"].pop(name, None)
            schema["required"] = [each for each in schema.get("required", []) if each != name]


def _objects(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    if isinstance(node, (dict, list)):
        for each in node.values() if isinstance(node, dict) else node:
            yield from _objects(each)


def _describe_parameters(operation: dict[str, Any], *, keyed: bool) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["name"] in ABOUT:
            parameter.setdefault("description", ABOUT[parameter["name"]])
        own = parameter["schema"]
        kinds = [kind for kind in own.get("anyOf", []) if kind.get("type") != "null"]
        if len(kinds) == 1:
            # A parameter cannot be null, only left out.
            del own["anyOf"]
            own.update(kinds[0])
    read = [*([_KEY] if keyed else []), *_READ.get(operation["operationId"], [])]
    if read:
        operation["parameters"] = [*operation.get("parameters", []), *read]


def _describe_failures(path: str, method: str, operation: dict[str, Any], *, closed: bool) -> None:
    """Add the failures that come from what a route is, not from what it does."""
    statuses = {500}
    if closed:
        statuses |= {401, 403, 429, 503}
    if "{" in path:
        statuses.add(404)
    if method == "post":
        statuses |= {400, 409, 410, 413, 415, 422}  # of the key and the body
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422", {}).get("content", {})):
        del answers["422"]
    added = {str(status): answer for status, answer in problems(*statuses).items()}
    operation["responses"] = dict(sorted({**added, **answers}.items()))


def _describe_answer(name: str, status: str, response: dict[str, Any], headers: list[str]) -> None:
    example = EXAMPLES.get((name, status))
    if example is not None:
        content = response["content"]
        content[JSON if JSON in content else "text/plain"]["example"] = example
    if status < "300" and (links := links_of(name)):
        response["links"] = links
    response["headers"] = {**_refs(*headers), **response.get("headers", {})}


def _headers_of(name: str, method: str, status: str) -> list[str]:
    """Return the headers of an answer, but for those that only its route knows."""
    succeeds = status < "300"
    waits = status == "429" or (status == "503" and name != "get_readiness")
    found = {
        "X-Request-Id": True,
        "Location": succeeds and name in _CREATES,
        "Idempotency-Replayed": succeeds and method == "post",
        "WWW-Authenticate": status == "401",
        "Retry-After": waits,
    }
    return [header for header, there in found.items() if there]


def _refs(*headers: str) -> dict[str, Any]:
    return {each: {"$ref": f"#/components/headers/{each}"} for each in headers}
