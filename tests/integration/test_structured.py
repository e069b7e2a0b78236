"""An answer as a JSON document: `output_schema`, and `result.structured` that fits it or is named as missing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import decisions, worker

FILL: Final = "^Give the answer below"
POINT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "mean": {"type": "number"}},
    "required": ["city", "mean"],
    "additionalProperties": False,
}
FOUND: Final = {"city": "Oslo", "mean": 7.5}


@pytest.fixture
async def product(start: Start, models: FakeModelServer) -> AsyncIterator[Product]:
    """Run the product."""
    async with start(models=models) as running_product:
        yield running_product


def fills(models: FakeModelServer, *answers: Any) -> list[ModelRequest]:
    """Teach a model these documents, one after the other, after a team of one that answers in words; return
    what it is asked for them."""
    left, asked = list(answers), list[ModelRequest]()

    def answer(request: ModelRequest) -> Reply:
        asked.append(request)
        given = left.pop(0) if len(left) > 1 else left[0]
        return given if isinstance(given, Reply) else Reply(text=json.dumps(given))

    models.add(
        Rule(when=When(schema=True, system=FILL), reply=answer),
        *decisions(("coder", "Do it")),
        worker("Do it", Reply(text="In Oslo it was 7.5.")),
    )
    return asked


async def test_an_answer_fits_its_schema(product: Product, models: FakeModelServer) -> None:
    """The words stay as they are; the call is the supervisor's, and the schema goes to the provider."""
    asked = fills(models, FOUND)
    run = await product.finished("How warm?", output_schema=POINT)
    assert run["status"] == "completed"
    assert run["result"]["output"] == "In Oslo it was 7.5."
    assert run["result"]["structured"] == FOUND
    assert run["degraded"] == []
    request = asked[0]
    assert request.schema is not None
    assert request.schema["properties"] == POINT["properties"]
    assert "In Oslo it was 7.5." in request.user
    assert run["usage"]["by_agent"]["supervisor"]["calls"] == 3


@pytest.mark.parametrize(
    ("schema", "sent", "found"),
    [
        ({"type": "array", "items": {"type": "number"}}, {"value": [1, 2]}, [1, 2]),
        ({"type": "string"}, {"value": "Oslo"}, "Oslo"),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/point"}},
                "$defs": {"point": POINT},
            },
            {"a": FOUND},
            {"a": FOUND},
        ),
    ],
    ids=["a list", "a text", "references"],
)
async def test_a_schema_may_be_of_any_kind(
    product: Product,
    models: FakeModelServer,
    schema: dict[str, Any],
    sent: dict[str, Any],
    found: object,
) -> None:
    """Providers want an object at the root: there whatever else is asked for is a member of one."""
    asked = fills(models, sent)
    run = await product.finished("How warm?", output_schema=schema)
    assert run["result"]["structured"] == found
    assert "$ref" not in json.dumps(asked[0].schema)


async def test_what_does_not_fit_is_asked_for_again(
    product: Product, models: FakeModelServer
) -> None:
    """Once, and the model is told where and why."""
    asked = fills(models, {"city": "Oslo", "mean": "warm"}, FOUND)
    run = await product.finished("How warm?", output_schema=POINT)
    assert run["result"]["structured"] == FOUND
    second = asked[1].transcript
    assert "/mean" in second
    assert "not of type 'number'" in second


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"city": 1, "mean": 1}, "does not fit"),
        (Reply(text="Nothing."), "no JSON document"),
        (Reply.error(401), "API key"),
    ],
    ids=["never fits", "no document", "no answer"],
)
async def test_what_never_fits_is_named_as_missing(
    product: Product, models: FakeModelServer, answer: Any, said: str
) -> None:
    """The answer in words is there all the same."""
    fills(models, answer)
    run = await product.finished("How warm?", output_schema=POINT)
    assert run["status"] == "completed"
    assert run["result"]["output"] == "In Oslo it was 7.5."
    assert run["result"]["structured"] is None
    (part,) = run["degraded"]
    assert part["agent"] == "supervisor"
    assert "output_schema" in part["reason"]
    assert said in part["reason"]


async def test_another_schema_is_another_answer(product: Product, models: FakeModelServer) -> None:
    """Of what was answered before, only the same question with the same schema has the answer."""
    fills(models, FOUND)
    first = await product.finished("How warm?", output_schema=POINT, cache=True)
    again = await product.finished("How warm?", output_schema=POINT, cache=True)
    plain = await product.finished("How warm?", cache=True)
    assert again["cache"]["run_id"] == first["id"]
    assert again["result"]["structured"] == FOUND
    assert plain["cache"] is None
    assert plain["result"]["structured"] is None


DEEP: Final[dict[str, Any]] = {
    "$ref": "#/$defs/a",
    "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}},
}
WIDE: Final[dict[str, Any]] = {
    "$ref": "#/$defs/n0",
    "$defs": {
        f"n{i}": {"allOf": [{"$ref": f"#/$defs/n{i + 1}"}, {"$ref": f"#/$defs/n{i + 1}"}]}
        for i in range(20)
    }
    | {"n20": {}},
}


REPEATED: Final[dict[str, Any]] = {
    "$defs": {"a": {"enum": list(range(1_000, 3_500))}},
    "anyOf": [{"$ref": "#/$defs/a"}] * 300,
}
"""Small as it comes, and five megabytes once written out."""


def nested(levels: int) -> dict[str, Any]:
    """Return a schema with lists in lists."""
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return {"allOf": inner}


async def test_a_document_too_large_to_be_checked_is_named_as_missing(
    product: Product, models: FakeModelServer
) -> None:
    """Each of its items by each of many values: no thread works on that for minutes."""
    schema = {"type": "object", "properties": {"a": {"items": {"enum": list(range(1, 2_001))}}}}
    fills(models, {"a": [0] * 200})
    run = await product.finished("How warm?", output_schema=schema)
    assert run["result"]["structured"] is None
    assert "too large to be checked" in run["degraded"][0]["reason"]


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "words"}, "/output_schema/type"),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "/output_schema/properties/a/pattern"),
        ({"$ref": "https://example.com/x"}, "/output_schema/$ref"),
        ({"$ref": "#/$defs/none"}, "/output_schema/$ref"),
        ({"$id": "x"}, "/output_schema/$id"),
        (DEEP, "/output_schema"),
        (WIDE, "/output_schema"),
        (nested(900), "/output_schema"),
        ({"anyOf": [{"const": nested(40)}]}, "/output_schema"),
        (REPEATED, "/output_schema"),
        ({"items": {"unevaluatedItems": False}}, "/output_schema/items/unevaluatedItems"),
        ({"items": {"$recursiveRef": "#"}}, "/output_schema/items/$recursiveRef"),
        ({"description": "x" * 20_001}, "/output_schema"),
        ({"description": "\ud800"}, "/output_schema"),
        ([], "/output_schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_schema_that_cannot_be_checked_by_is_refused(
    product: Product, schema: Any, pointer: str
) -> None:
    """Before anything is created: what is no schema, what leads elsewhere, what takes for ever."""
    body = json.dumps({"task": "How warm?", "output_schema": schema})
    response = await product.client.post(
        "/v1/runs", content=body, headers={"content-type": "application/json"}
    )
    problem = assert_problem(response, "validation-error")
    assert [each["pointer"] for each in problem["errors"]] == [pointer]
    assert (await product.client.get("/v1/runs")).json()["data"] == []


async def test_without_a_model_there_is_none(start: Start) -> None:
    """The offline planner does not pretend."""
    async with start() as product:
        response = await product.client.post("/v1/runs", json={"task": "x", "output_schema": POINT})
        problem = assert_problem(response, "validation-error")
    assert "OPENAI_API_KEY" in problem["detail"]
