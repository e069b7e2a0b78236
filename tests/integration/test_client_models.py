"""The client's models and options have the fields of `/openapi.json`, no more and no fewer."""

from __future__ import annotations

from typing import Any, Final, get_args

import pytest

from domain.problems import KINDS
from service.http.application import open_app
from signalbox import errors, models
from signalbox.models import Model
from signalbox.options import AgentBudget, Budget, Decision, RunOptions, WebhookTarget
from tests.fakes.running import Product

NAMES: Final = {
    "AgentOut": "Agent",
    "BudgetChangeOut": "BudgetChange",
    "CallOut": "ModelCall",
    "CheckpointOut": "Checkpoint",
    "ComponentOut": "Component",
    "ConfigurationOut": "Configuration",
    "EventOut": "StoredEvent",
    "FinishedOut": "Finished",
    "ModelOut": "LanguageModel",
    "NoteOut": "Note",
    "PriceOut": "Price",
    "ProductOut": "Product",
    "SandboxOut": "Sandbox",
    "SettingsOut": "ChangedSettings",
    "SourceOut": "Source",
    "SpendingList": "SpendingPage",
    "SpendingOut": "Spending",
    "TierOut": "ModelTier",
    "ToolOut": "Tool",
}
"""What has another name there."""

ELSEWHERE: Final = {
    "AgentLimits-Input": "what is sent, which options are compared with",
    "AgentLimits-Output": "AgentLimits in a body",
    "JsonIn": "any JSON",
    "PointerOut": "Pointer",
    "ProblemOut": "Problem, with the run and the approval that an exception has",
    "RunCreate": "RunOptions",
    "Webhook": "of the service's own",
}
"""What has no model of its own, and why."""


def document(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = open_app(product.services).openapi()
    return found


def shape(schema: dict[str, Any]) -> Any:
    """Return what a field holds: closed sets and formats count as strings."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return NAMES.get(name, name)
    if "anyOf" in schema:
        parts = [shape(each) for each in schema["anyOf"]]
        return frozenset(str(part) for part in parts)
    if "const" in schema:
        return {str: "string", int: "integer"}[type(schema["const"])]
    if schema.get("type") == "array":
        return ("array", shape(schema.get("items", {})))
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return ("object", shape(inner) if isinstance(inner, dict) and inner else "any")
    if schema.get("format") in {"date", "date-time"}:
        return schema["format"]
    return schema.get("type", "any")


def optional(what: Any) -> Any:
    """Return what a field holds where it may be left out: `None` stands for that here."""
    parts = what if isinstance(what, frozenset) else frozenset({str(what)})
    return parts | {"null"}


def fields_of(schema: dict[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    return {
        name: optional(shape(field))
        if lenient and name not in required and "default" not in field
        else shape(field)
        for name, field in schema.get("properties", {}).items()
    }


async def test_every_answer_has_a_model_with_its_fields(product: Product) -> None:
    schemas = document(product)["components"]["schemas"]
    compared = 0
    for name, schema in schemas.items():
        if (
            name in ELSEWHERE
            or name.endswith("In")
            or (name.endswith(("Page", "List")) and name != "SpendingList")
        ):
            continue
        model = getattr(models, NAMES.get(name, name))
        own = model.model_json_schema(mode="serialization", by_alias=True)
        assert fields_of(own) == fields_of(schema, lenient=True), name
        compared += 1
    assert compared > 45
    assert ELSEWHERE.keys() <= schemas.keys(), "what is explained is still there"


def test_every_model_belongs_to_an_answer(product: Product) -> None:
    schemas = document(product)["components"]["schemas"]
    known = {NAMES.get(name, name) for name in schemas}
    assert set(models.__all__) - known == {"Event", "Model"}


@pytest.mark.parametrize(
    ("options", "schema", "own"),
    [
        (RunOptions, "RunCreate", {"idempotency_key"}),
        (Budget, "BudgetIn", set()),
        (AgentBudget, "AgentLimits-Input", set()),
        (WebhookTarget, "WebhookIn", set()),
        (Decision, "DecisionIn", set()),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_every_option_can_be_passed(
    product: Product, options: type, schema: str, own: set[str]
) -> None:
    there = set(document(product)["components"]["schemas"][schema]["properties"])
    given = set(options.__annotations__)
    assert given - own == there - ({"task"} if options is RunOptions else set())


async def test_every_route_has_an_operation(product: Product) -> None:
    """What the client does not offer is said here."""
    paths = document(product)["paths"]
    operations = {op["operationId"] for path in paths.values() for op in path.values()}
    assert {"create_run", "decide_run", "list_deliveries"} <= operations


def test_every_code_has_an_exception() -> None:
    assert errors.BY_CODE.keys() == KINDS.keys()
    for code, kind in KINDS.items():
        expected = errors.BY_CODE[code]
        by_status = errors._BY_STATUS.get(kind.status)
        assert by_status is None or issubclass(expected, errors.ProblemError), code


def test_what_a_newer_server_adds_is_kept() -> None:
    """Neither a field nor a value that this version does not know is refused."""

    class Small(Model):
        status: str

    read = Small.model_validate_json('{"status": "paused", "because": {"of": 1}}')
    assert read.status == "paused"
    assert read.model_extra == {"because": {"of": 1}}
    assert get_args(models.Run.model_fields["status"].annotation) == ()
