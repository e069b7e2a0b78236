"""What the service tells about itself: its agents, its health, its version, its description."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from service.server import open_socket
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.integration.conftest import Start

# Nothing here changes the service, so one serves all tests of this file.
pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS: Final = {
    "/v1/runs": {"get", "post"},
    "/v1/runs/{run_id}": {"get", "patch", "delete"},
    "/v1/runs/{run_id}/export": {"get"},
    "/v1/runs/{run_id}/feedback": {"post"},
    "/v1/threads/{thread_id}": {"get", "delete"},
    "/v1/runs/{run_id}/events": {"get"},
    "/v1/runs/{run_id}/artifacts": {"get"},
    "/v1/runs/{run_id}/artifacts/{name}": {"get"},
    "/v1/runs/{run_id}/sources/{sha256}": {"get"},
    "/v1/runs/{run_id}/notes": {"post"},
    "/v1/runs/{run_id}/cancel": {"post"},
    "/v1/runs/{run_id}/retry": {"post"},
    "/v1/runs/{run_id}/history": {"get"},
    "/v1/runs/{run_id}/fork": {"post"},
    "/v1/runs/{run_id}/decisions": {"post"},
    "/v1/runs/{run_id}/deliveries": {"get"},
    "/v1/runs/{run_id}/deliveries/{delivery_id}/redeliver": {"post"},
    "/v1/runs/{run_id}/receipt": {"get"},
    "/v1/approvals": {"get"},
    "/v1/approvals/{approval_id}": {"get"},
    "/v1/approvals/{approval_id}/decision": {"post"},
    "/v1/actions/{action_id}/resolution": {"post"},
    "/v1/agents": {"get"},
    "/v1/models": {"get"},
    "/v1/tools": {"get"},
    "/v1/usage": {"get"},
    "/v1/info": {"get"},
    "/health/live": {"get"},
    "/health/ready": {"get"},
    "/metrics": {"get"},
    "/api/workflow": {"post"},
    "/api/workflow/stream": {"post"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    """Run one product for all tests of this file."""
    folder: Path = tmp_path_factory.mktemp("standing")
    async with running(folder / "data", knowledge_dir=folder) as product:
        yield product


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def schema(standing: Product) -> dict[str, Any]:
    """Return the OpenAPI description."""
    response = await standing.client.get("/openapi.json")
    assert response.status_code == 200
    described: dict[str, Any] = response.json()
    return described


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every operation with its method and path."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def judge(schema: dict[str, Any], part: dict[str, Any]) -> Draft202012Validator:
    """Return what says whether a document fits a part of the description."""
    return Draft202012Validator({**part, "components": schema["components"]})


async def test_the_tiers_are_listed_with_what_the_planner_costs(standing: Product) -> None:
    """Without a model every tier is the planner's, which costs nothing."""
    page = (await standing.client.get("/v1/models")).json()
    assert [row["tier"] for row in page["data"]] == ["fast", "standard", "deep"]
    standard = page["data"][1]
    assert (standard["model"], standard["provider"]) == ("offline:planner", "offline")
    assert standard["fallbacks"] == []
    assert standard["price_known"] is True
    assert standard["price"]["input_per_mtok"] == "0"
    assert {"supervisor", "researcher", "coder"} <= set(standard["agents"])


async def test_the_team_is_listed_as_registered(standing: Product) -> None:
    """Each agent says what it is for, what it may use, and whether the supervisor may call it."""
    response = await standing.client.get("/v1/agents")
    page = response.json()
    assert response.status_code == 200
    assert (page["next_cursor"], page["has_more"]) == (None, False)
    agents = {agent["name"]: agent for agent in page["data"]}
    assert agents.keys() >= {"researcher", "coder", "analyst"}
    for agent in agents.values():
        assert agent.keys() == {
            *("name", "description", "tier", "model", "tools", "routable", "outside_graph"),
        }
        assert agent["description"].strip()
        assert agent["tier"] in {"fast", "standard", "deep"}
        assert len(set(agent["tools"]) - {"ask_user"}) <= 5
    assert "run_python" in agents["analyst"]["tools"]


async def test_a_live_service_says_so(standing: Product) -> None:
    """Liveness asks nothing of the service but to answer."""
    response = await standing.client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "checks": {}})
    assert response.headers["cache-control"] == "no-store"


async def test_a_ready_service_names_what_it_needs(standing: Product) -> None:
    """Readiness tells of each dependency by name."""
    response = await standing.client.get("/health/ready")
    ready = response.json()
    assert (response.status_code, ready["status"]) == (200, "ok")
    assert ready["checks"].keys() >= {"database", "dispatcher", "models", "disk", "webhooks"}
    assert set(ready["checks"].values()) == {"ok"}
    assert ready["sandbox"]["backend"] == "native"
    assert "Landlock" in ready["sandbox"]["detail"]


async def test_a_service_without_its_database_is_not_ready(
    standing: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is down is named, without the error's text, and liveness is not touched by it."""

    async def unreachable() -> None:
        raise ConnectionError("secret address")

    # A database cannot be taken from under a running process in a portable way.
    with monkeypatch.context() as patch:
        patch.setattr(standing.services.store, "ping", unreachable)
        response = await standing.client.get("/health/ready")
        alive = await standing.client.get("/health/live")
    assert (response.status_code, alive.status_code) == (503, 200)
    assert response.json()["status"] == "down"
    assert response.json()["checks"]["dispatcher"] == "ok"
    assert "ConnectionError" in response.json()["checks"]["database"]
    assert "secret" not in response.text


async def test_the_service_says_what_it_is(standing: Product) -> None:
    """Version, engine and models are what they really are."""
    info = (await standing.client.get("/v1/info")).json()
    assert info.keys() == {
        *("name", "version", "engine", "graph_version", "environment", "models", "features"),
        *("revision", "protocols"),
    }
    assert (info["name"], info["engine"], info["environment"]) == (
        "signalbox",
        "offline",
        "development",
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", info["version"])
    assert info["models"].keys() == {"fast", "standard", "deep"}
    assert {"runs", "events", "sse", "forks", "openai", "structured-output"} <= set(
        info["features"]
    )
    assert (info["protocols"]["api"], info["revision"]) == ("v1", None)


@pytest.mark.asyncio(loop_scope="function")
async def test_the_service_names_its_models(start: Start, models: FakeModelServer) -> None:
    """With a model configured, the engine and each tier's model say so."""
    names = {"model_fast": "openai:small", "model_deep": "openai:large"}
    async with start(models=models, **names) as product:
        info = (await product.client.get("/v1/info")).json()
        agents = (await product.client.get("/v1/agents")).json()["data"]
    assert info["engine"] == "model"
    assert info["models"]["fast"] == "openai:small"
    assert info["models"]["deep"] == "openai:large"
    assert {agent["model"] for agent in agents} <= set(info["models"].values())


async def test_every_route_is_described_and_no_other(schema: dict[str, Any]) -> None:
    """The description covers exactly what the service answers to."""
    assert schema["openapi"].startswith("3.1")
    described = {path: set(methods) for path, methods in schema["paths"].items()}
    assert described == PATHS


async def test_every_operation_has_a_name_of_verb_and_noun(schema: dict[str, Any]) -> None:
    """Generated clients get methods that read well, each name once."""
    names = [operation["operationId"] for _, operation in operations(schema)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(?:_[a-z]+)+", name) for name in names), names
    assert {"create_run", "get_run", "list_runs", "cancel_run", "list_events"} <= set(names)
    assert all(operation.get("summary") for _, operation in operations(schema))


async def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    """A generator that follows the references finds each of them."""
    found: list[str] = []

    def search(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found.append(node["$ref"])
            for value in node.values():
                search(value)
        elif isinstance(node, list):
            for value in node:
                search(value)

    search(schema)
    assert found
    for reference in set(found):
        target: Any = schema
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert isinstance(target, dict)


async def test_every_operation_describes_its_problems(schema: dict[str, Any]) -> None:
    """Every answer that is not a success is described as a problem, on every route."""
    problem = {"$ref": "#/components/schemas/ProblemOut"}
    for name, operation in operations(schema):
        failures = {s: r for s, r in operation["responses"].items() if s >= "400"}
        assert "500" in failures, name
        for status, response in failures.items():
            if (name, status) == ("get /health/ready", "503"):
                continue  # a probe's answer: it names each dependency
            assert response["content"].keys() == {"application/problem+json"}, (name, status)
            assert response["content"]["application/problem+json"]["schema"] == problem
    assert "HTTPValidationError" not in str(schema)


async def test_every_operation_describes_the_failures_of_its_kind(schema: dict[str, Any]) -> None:
    """What the door, the body, the key of a POST and an id can lead to is said on every route."""
    for name, operation in operations(schema):
        wanted = {"500"}
        if operation["security"]:
            wanted |= {"401", "403", "429", "503"}
        if "requestBody" in operation:
            wanted |= {"400", "409", "413", "415", "422"}
        if name.startswith("post "):
            wanted |= {"400", "409", "410", "422"}
        if "{" in name:
            wanted.add("404")
        assert wanted <= operation["responses"].keys(), name


async def test_every_parameter_is_described(schema: dict[str, Any]) -> None:
    """In words: a name alone leaves a reader to guess."""
    found = [(name, each) for name, o in operations(schema) for each in o.get("parameters", ())]
    assert found
    for name, parameter in found:
        reference = parameter.get("$ref", "").rpartition("/")[2]
        described = schema["components"]["parameters"][reference] if reference else parameter
        assert described.get("description"), (name, described["name"])
        # Names of Pydantic's, which no reader of a description knows.
        assert not {"ge", "le", "gt", "lt"} & described["schema"].keys(), (name, described["name"])


async def test_every_operation_says_who_may_call_it(schema: dict[str, Any]) -> None:
    """All but the probes need a key."""
    open_ = {name for name, operation in operations(schema) if operation["security"] == []}
    assert open_ == {"get /health/live", "get /health/ready"}
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_every_success_has_an_example_that_fits_its_schema(schema: dict[str, Any]) -> None:
    """What /docs shows is what a client gets; so is each example of a body."""
    for name, operation in operations(schema):
        for status, response in operation["responses"].items():
            if status >= "400":
                continue
            for media, content in response.get("content", {}).items():
                assert "example" in content, (name, status, media)
                judge(schema, content["schema"]).validate(content["example"])
    for name, described in schema["components"]["schemas"].items():
        for example in described.get("examples", []):
            judge(schema, {"$ref": f"#/components/schemas/{name}"}).validate(example)


async def test_every_answer_names_its_headers(schema: dict[str, Any]) -> None:
    """The id of the request on each, when to come back where one has to wait, where a run is."""
    for name, operation in operations(schema):
        for status, response in operation["responses"].items():
            headers = response["headers"].keys()
            assert "X-Request-Id" in headers, (name, status)
            if operation["security"] and status in {"429", "503"}:
                assert "Retry-After" in headers, (name, status)
        keyed = [p["name"] for p in operation.get("parameters", []) if p["in"] == "header"]
        assert ("Idempotency-Key" in keyed) is name.startswith("post ")
    created = schema["paths"]["/v1/runs"]["post"]["responses"]["202"]
    assert "Location" in created["headers"]


async def test_links_lead_from_answers_to_what_goes_on(schema: dict[str, Any]) -> None:
    """Each names an operation that there is and parameters that it has; a run leads to all about it."""
    parameters = {
        operation["operationId"]: {each["name"] for each in operation.get("parameters", [])}
        for _, operation in operations(schema)
    }
    for name, operation in operations(schema):
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert link["parameters"].keys() <= parameters[link["operationId"]], name
    created = schema["paths"]["/v1/runs"]["post"]["responses"]["202"]["links"]
    assert {"get_run", "list_events", "cancel_run", "list_deliveries"} <= created.keys()


async def test_every_body_has_an_example(schema: dict[str, Any]) -> None:
    """Whoever opens /docs can send each request as it stands."""
    for name, operation in operations(schema):
        if "requestBody" not in operation:
            continue
        media = operation["requestBody"]["content"]["application/json"]["schema"]
        options = [media, *media.get("anyOf", [])]
        names = [o["$ref"].rpartition("/")[2] for o in options if "$ref" in o]
        assert names, name
        assert schema["components"]["schemas"][names[0]]["examples"], name


async def test_the_example_of_a_task_is_accepted(standing: Product, schema: dict[str, Any]) -> None:
    """What the description shows is what the service takes."""
    for example in schema["components"]["schemas"]["RunCreate"]["examples"]:
        created = await standing.client.post("/v1/runs", json=example)
        assert created.status_code == 202
        path = f"{created.headers['location']}/cancel"
        assert (await standing.client.post(path)).status_code in {202, 409}


async def test_answers_are_sent_as_soon_as_they_are_written() -> None:
    """asyncio turns Nagle's algorithm off, but only on sockets that name TCP as their protocol."""
    with open_socket("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


async def test_the_documentation_is_there(standing: Product) -> None:
    """`/docs` is a page for people that reads the description."""
    response = await standing.client.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in response.text
