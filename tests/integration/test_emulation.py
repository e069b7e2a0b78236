"""A model that takes no tools, or no JSON schema, does the same work: it is told in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.integration.conftest import Start

VERDICT = {"criteria": [], "disagreements": [], "verdict": "accept", "reasons": [], "fixes": []}

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "researcher": ("search_documents", {"query": "lighthouse"}),
    "coder": ("write_file", {"path": "a.txt", "content": "x"}),
    "analyst": ("list_files", {}),
}


def refusals() -> list[Rule]:
    """Return the rules of a provider that takes neither schemas nor tools."""
    no_schema = "Invalid parameter: 'response_format' of type 'json_schema' is not supported."
    return [
        Rule(name="schema", when=When(schema=True), reply=Reply.error(400, message=no_schema)),
        Rule(
            name="tools",
            when=When(tools=True),
            reply=Reply.error(400, message="this model does not support tools"),
        ),
    ]


def in_words(agent: str) -> list[Rule]:
    """Return the rules of a model that is told in words: it decides, calls a tool, answers, judges."""
    name, args = CALLS[agent]
    schema = "has to follow this JSON schema"
    call = json.dumps({"tool": name, "args": args})
    return [
        Rule(when=When(system=f'(?s){schema}.*"criteria"'), reply=Reply.json(VERDICT)),
        Rule(when=When(system=schema, user="<results>"), reply=Reply.route()),
        Rule(when=When(system=schema), reply=Reply.route((agent, "Do it"))),
        Rule(when=When(user=f'<tool_result tool="{name}">'), reply=Reply(text="Done as told.")),
        Rule(
            when=When(system="You can call these tools", user="<assignment>\nDo it\n"),
            reply=Reply(text=f"I look first.\n```json\n{call}\n```"),
        ),
    ]


@pytest.mark.parametrize("agent", CALLS)
@pytest.mark.parametrize("known", [True, False], ids=["declared", "learned"])
async def test_what_a_model_cannot_do_is_put_in_words(
    start: Start, models: FakeModelServer, agent: str, known: bool, pytestconfig: pytest.Config
) -> None:
    """The supervisor decides, the agent's call is a real one, the validator judges; nothing is missing."""
    models.add(*refusals(), *in_words(agent))
    chain = "openai:fake-1" + ("?json_schema=off&tools=off" if known else "")
    async with start(models=models, model_standard=chain, validation="on") as product:
        run = await product.finished("Do it")
        events = await product.events(run["id"])
        again = await product.finished("Do it")
        (row, *_) = (await product.client.get("/v1/models")).json()["data"]
    assert (run["status"], run["degraded"]) == ("completed", []), run
    assert run["result"]["output"] == "Done as told."
    assert again["status"] == "completed"
    called = [e["data"]["tool"] for e in events if e["type"] == "tool.completed"]
    assert called == [CALLS[agent][0]]
    assert run["result"]["validation"]["verdict"] == "accept"
    # Where a worker calls the models, it is the one that has learned.
    if known or pytestconfig.getoption("--over") != "postgres-queue":
        assert (row["options"]["json_schema"], row["options"]["tools"]) == (False, False)
    # What it has learned of a model the process keeps.
    assert (models.counts["schema"], models.counts["tools"]) == ((0, 0) if known else (1, 1))
    retried = [e["data"]["reason"] for e in events if e["type"] == "agent.retrying"]
    assert len(retried) == (0 if known else 2)
