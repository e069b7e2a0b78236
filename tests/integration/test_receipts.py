"""The receipt says what a run was really executed with, and says it for ever."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from agents.coder import PROMPT as CODER
from graph.composer import PROMPT as ANSWER
from service.store.receipt_tables import budget_changes, configurations, run_configurations
from tests.conftest import ROOT
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import decided, pending, start_run, waiting
from tests.integration.retrying import mend, retried
from tests.integration.team_script import solo, unauthorised

SECRET = "sk-canary-0123456789"


async def receipt_of(product: Product, run_id: str) -> dict[str, Any]:
    response = await product.client.get(f"/v1/runs/{run_id}/receipt")
    assert response.status_code == 200, response.text
    receipt: dict[str, Any] = response.json()
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    assert receipt["digest"] == sha256(json.dumps(rest, sort_keys=True))
    return receipt


def sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


async def test_a_receipt_says_what_went_in_what_executed_it_and_what_came_out(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*solo())
    given = {"OPENAI_API_KEY": SECRET, "max_rounds": 3, "revision": "abc123"}
    async with start(models=models, model_fast="openai:small, openai:spare", **given) as product:
        sent = [{"name": "a.txt", "content_base64": "aGVsbG8="}]
        run = await product.finished("Do it", files=sent, agents=["coder"])
        receipt = await receipt_of(product, run["id"])
        info = (await product.client.get("/v1/info")).json()
    assert (receipt["created_by"], receipt["caller_kind"]) == ("default", "local")
    assert receipt["task_digest"] == sha256("Do it")
    assert receipt["output_digest"] == sha256(run["result"]["output"])
    content = hashlib.sha256(b"hello").hexdigest()
    assert receipt["files"] == [{"name": "a.txt", "size": 5, "sha256": content}]
    assert (receipt["agents"], receipt["cache"], receipt["usage"]) == (
        ["coder"],
        None,
        run["usage"],
    )
    [executed] = receipt["configurations"]
    assert executed["attempts"] == [1]
    assert executed["product"] == {"version": info["version"], "revision": "abc123"}
    assert executed["graph_version"] == run["graph_version"]
    assert executed["models"]["fast"] == ["openai:small", "openai:spare"]
    assert executed["prompts"]["coder"] == sha256(CODER)
    assert executed["prompts"]["answer"] == sha256(ANSWER)
    assert executed["prompts"].keys() >= {"supervisor", "validator", "fill"}
    assert receipt["prompts"] == executed["prompts"]
    assert "run_python" in executed["tools"]
    changed = executed["settings"]["changed"]
    assert changed["SIGNALBOX_MAX_ROUNDS"] == 3
    # An address of the operator's: that it was set, and whether to the same, and no more.
    assert changed["OPENAI_BASE_URL"].startswith("sha256:")
    told = {k: v for k, v in executed.items() if k not in {"digest", "attempts"}}
    assert executed["digest"] == sha256(json.dumps(told, sort_keys=True))
    assert SECRET not in json.dumps(receipt)
    assert models.base_url not in json.dumps(receipt)


async def test_a_run_that_goes_on_under_other_settings_names_both(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """And every process gives the same bytes, whatever it is set to itself."""
    models.add(unauthorised())
    url = f"sqlite:///{tmp_path}/runs.db"
    async with start(models=models, database_url=url) as product:
        run_id = (await product.finished("Do it"))["id"]
        [before] = (await receipt_of(product, run_id))["configurations"]
    mend(models, *solo())
    async with start(models=models, database_url=url, model_timeout=7) as product:
        await retried(product, run_id)
        path = f"/v1/runs/{run_id}/receipt"
        first = (await product.client.get(path)).content
        found = (await receipt_of(product, run_id))["configurations"]
    async with start(models=models, database_url=url, max_rounds=2, sandbox="off") as product:
        assert (await product.client.get(path)).content == first
    assert [each["attempts"] for each in found] == [[1], [2]]
    assert found[0] == before
    assert [each["settings"]["changed"]["SIGNALBOX_MODEL_TIMEOUT"] for each in found] == [5.0, 7.0]
    assert found[0]["prompts"] == found[1]["prompts"]


async def test_attempts_with_the_same_configuration_share_it(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """Where a process serves, and how much, is no part of it."""
    models.add(unauthorised())
    url = f"sqlite:///{tmp_path}/runs.db"
    async with start(models=models, database_url=url) as product:
        run_id = (await product.finished("Do it"))["id"]
    mend(models, *solo())
    async with start(
        models=models, database_url=url, max_queued=5, OPENAI_API_KEY=SECRET
    ) as product:
        await retried(product, run_id)
        [executed] = (await receipt_of(product, run_id))["configurations"]
    assert executed["attempts"] == [1, 2]


async def test_who_has_changed_the_budget_is_said(start: Start, models: FakeModelServer) -> None:
    """By a decision, by a change of the run, by a retry; a change to the same is none."""
    models.add(*solo(gate="go"))
    go = models.event("go")
    async with start(models=models) as product:
        run_id = await start_run(product, budget={"max_tokens": 10})
        await waiting(product, run_id)
        [approval] = await pending(product, run_id)
        edit = {"name": "raise_budget", "args": {"max_tokens": 900_000}}
        await decided(product, approval, type="edit", edited_action=edit)
        patch = {"budget": {"max_tokens": 950_000, "max_rounds": 4}}
        for _ in range(2):
            answer = await product.client.patch(f"/v1/runs/{run_id}", json=patch)
            assert answer.status_code == 200, answer.text
        go.set()
        await product.ended(run_id)
        budget = (await receipt_of(product, run_id))["budget"]
    raised, patched = budget["changes"]
    assert (raised["how"], raised["by"]) == ("decision", "default")
    assert raised["before"]["max_tokens"] == 10
    assert raised["after"]["max_tokens"] == 900_000
    assert (patched["how"], patched["by"], patched["before"]) == (
        "patch",
        "default",
        raised["after"],
    )
    assert patched["after"] == budget["limits"]
    assert (budget["limits"]["max_tokens"], budget["limits"]["max_rounds"]) == (950_000, 4)


async def test_a_retry_that_raises_the_budget_says_so(
    start: Start, models: FakeModelServer
) -> None:
    models.add(unauthorised())
    async with start(models=models) as product:
        run_id = (await product.finished("Do it", budget={"max_rounds": 2}))["id"]
        mend(models, *solo())
        await retried(product, run_id, budget={"max_rounds": 5})
        [change] = (await receipt_of(product, run_id))["budget"]["changes"]
    assert (change["how"], change["by"]) == ("retry", "default")
    assert (change["before"]["max_rounds"], change["after"]["max_rounds"]) == (2, 5)


async def test_an_answer_that_was_there_already_names_its_run(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*solo())
    async with start(models=models, cache_seconds=600) as product:
        first = await product.finished("Do it")
        again = await product.run("Do it")
        receipt = await receipt_of(product, again.json()["id"])
    assert receipt["cache"]["run_id"] == first["id"]
    assert (receipt["configurations"], receipt["prompts"], receipt["attempt"]) == ([], {}, 0)
    assert receipt["output_digest"] == sha256(first["result"]["output"])


async def test_a_deleted_run_leaves_nothing_of_its_receipt(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """But the configuration, which is the server's and says nothing of the run."""
    models.add(*solo(gate="go"))
    go = models.event("go")
    async with start(models=models) as product:
        run_id = await start_run(product)
        patch = {"budget": {"max_rounds": 4}}
        assert (await product.client.patch(f"/v1/runs/{run_id}", json=patch)).status_code == 200
        go.set()
        await product.ended(run_id)
        assert (await product.client.delete(f"/v1/runs/{run_id}")).status_code == 204
        store: Any = product.services.store
        counts = [
            await store.database.read(lambda c, t=t: len(c.execute(t.select()).all()))
            for t in (run_configurations, budget_changes, configurations)
        ]
    assert counts == [0, 0, 1]


async def test_the_snippet_of_the_documents_checks_a_receipt(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """As it stands there, on a good receipt and on one of which a word was changed."""
    page = await asyncio.to_thread((ROOT / "docs/receipts.md").read_text, encoding="utf-8")
    snippet = page.partition("```python\n")[2].partition("```")[0]
    assert len(snippet.splitlines()) <= 6
    models.add(*solo(reply=Reply(text="Zürich, 5.0 €, \u2028.")))
    async with start(models=models) as product:
        run = await product.finished("Do it")
        text = (await product.client.get(f"/v1/runs/{run['id']}/receipt")).text
    said = [
        await asyncio.to_thread(checked, tmp_path, snippet, shown)
        for shown in (text, text.replace('"completed"', '"failed"', 1))
    ]
    assert said == ["good", "changed"]


def checked(folder: Path, snippet: str, receipt: str) -> str:
    """Return what the snippet prints beside a receipt."""
    (folder / "receipt.json").write_text(receipt, encoding="utf-8")
    command = [sys.executable, "-c", snippet]
    return subprocess.check_output(command, cwd=folder, text=True, timeout=20).strip()
