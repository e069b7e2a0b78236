"""The client's models and options have the fields of `/openapi.json`, no more and no fewer."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final, get_args

from domain.problems import KINDS, make_problem
from service.http.application import open_app
from signalbox import Problem, Signalbox, errors, models
from signalbox.models import Model
from signalbox.options import AgentBudget, Budget, CacheAge, Decision, RunOptions, WebhookTarget
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


OPERATIONS: Final = {
    "add_note": "runs.add_note",
    "cancel_run": "runs.cancel",
    "create_feedback": "runs.add_feedback",
    "create_run": "runs.create",
    "decide_approval": "approvals.decide",
    "decide_run": "runs.decide",
    "delete_run": "runs.delete",
    "delete_thread": "threads.delete",
    "export_run": "runs.export",
    "fork_run": "runs.fork",
    "get_approval": "approvals.get",
    "get_artifact": "artifacts.read",
    "get_info": "info",
    "get_readiness": "health",
    "get_receipt": "runs.receipt",
    "get_run": "runs.get",
    "get_source": "runs.source",
    "get_thread": "threads.runs",
    "get_usage": "usage",
    "list_agents": "agents",
    "list_approvals": "approvals.list",
    "list_artifacts": "artifacts.list",
    "list_checkpoints": "runs.history",
    "list_deliveries": "runs.deliveries",
    "list_events": "runs.events",
    "list_models": "models",
    "list_runs": "runs.list",
    "list_tools": "tools",
    "redeliver_delivery": "runs.redeliver",
    "resolve_action": "actions.resolve",
    "retry_run": "runs.retry",
    "update_run": "runs.update",
}
"""What the client offers, by the operation that it asks for."""

NOT_OFFERED: Final = {
    "get_liveness": "for whoever keeps the process alive; `health` says more",
    "get_metrics": "for Prometheus",
    "run_workflow": "the short form of `run`",
    "stream_workflow": "the short form of `runs.events`",
}

FAMILIES: Final[dict[int, str]] = {
    **dict.fromkeys((400, 405, 406, 413, 415, 422), "InvalidRequestError"),
    401: "UnauthenticatedError",
    402: "BudgetExhaustedError",
    403: "ForbiddenError",
    404: "NotFoundError",
    409: "RunConflictError",
    410: "NotFoundError",
    429: "RateLimitedError",
    503: "OverloadedError",
    **dict.fromkeys((500, 502, 504), "ServerFailedError"),
}


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
    known = {NAMES.get(name, name) for name in schemas}
    assert set(models.__all__) - known == {"Event", "Model"}, "every model belongs to an answer"


SENT: Final[tuple[tuple[type, str, set[str], set[str]], ...]] = (
    (RunOptions, "RunCreate", {"idempotency_key"}, {"task"}),
    (Budget, "BudgetIn", set(), set()),
    (AgentBudget, "AgentLimits-Input", set(), set()),
    (WebhookTarget, "WebhookIn", set(), set()),
    (CacheAge, "CacheIn", set(), set()),
    (Decision, "DecisionIn", set(), set()),
)
"""What is passed, the body that it becomes, what only one of them has."""


async def test_every_option_can_be_passed(product: Product) -> None:
    schemas = document(product)["components"]["schemas"]
    for options, name, ours, theirs in SENT:
        there = set(schemas[name]["properties"])
        assert set(options.__annotations__) - ours == there - theirs, name


async def test_every_route_has_an_operation(product: Product) -> None:
    paths = document(product)["paths"]
    operations = {op["operationId"] for path in paths.values() for op in path.values()}
    assert operations == OPERATIONS.keys() | NOT_OFFERED.keys()
    with Signalbox(product.base_url) as client:
        assert all(callable(attrgetter(name)(client)) for name in OPERATIONS.values())


def test_every_code_has_an_exception() -> None:
    """One that is not known, as those of newer servers may be, is of the family of its status."""
    assert errors.BY_CODE.keys() == KINDS.keys()
    for code, kind in KINDS.items():
        problem = Problem.model_validate(make_problem(code, "Detail."))
        assert errors.kind_of(problem) is errors.BY_CODE[code]
        newer = problem.model_copy(update={"code": "new"})
        assert errors.kind_of(newer).__name__ == FAMILIES[kind.status], code


def test_what_a_newer_server_adds_is_kept() -> None:
    """Neither a field nor a value that this version does not know is refused."""

    class Small(Model):
        status: str

    read = Small.model_validate_json('{"status": "paused", "because": {"of": 1}}')
    assert read.status == "paused"
    assert read.model_extra == {"because": {"of": 1}}
    assert get_args(models.Run.model_fields["status"].annotation) == ()
