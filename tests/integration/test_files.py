"""Files that come with a task: kept before it is accepted, read by its agents, gone with what failed."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from domain.caller import LOCAL_TENANT
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import results, turns
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import decisions, solo

CSV: Final = "month,trains\nmay,12\njune,15\n"
MEBIBYTE: Final = 1024**2
KEY: Final = {"idempotency-key": "upload-1"}


def upload(name: str, content: bytes | str) -> dict[str, str]:
    """Return a file as the body of a run has it."""
    data = content.encode() if isinstance(content, str) else content
    return {"name": name, "content_base64": base64.b64encode(data).decode()}


def workspaces(product: Product) -> list[Path]:
    """Return the folders of runs."""
    return sorted((product.services.settings.data_dir / "workspaces").glob("*/*"))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, by their paths in it."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


async def create(product: Product, *files: dict[str, str], **body: Any) -> httpx.Response:
    """Post a task with files."""
    headers = body.pop("headers", {})
    given = {"task": "Count the trains", "files": list(files), **body}
    return await product.client.post("/v1/runs", json=given, headers=headers)


async def test_an_agent_reads_the_table_that_came_with_the_task(
    modelled: Product, models: FakeModelServer
) -> None:
    """Supervisor, agent and answer are told what there is, and the agent finds it."""
    calls = [("read_file", {"path": "data/trains.csv"}), ("list_files", {})]
    models.add(
        *decisions(("analyst", "Count them")),
        turns("Count them", Reply.calls(*calls), Reply(text="27 trains.")),
    )
    answer = await create(
        modelled, upload("./data//trains.csv", CSV), upload("empty", ""), upload("é.bin", b"\0\xff")
    )
    assert answer.status_code == 202
    run = await modelled.ended(answer.json()["id"])
    assert (run["status"], run["result"]["output"]) == ("completed", "27 trains.")
    listed = "data/trains.csv (28 bytes)\nempty (0 bytes)\né.bin (2 bytes)"
    assert results(models.requests[-2]) == [CSV, listed]
    told = [request.user for request in models.requests]
    assert len(told) == 4
    assert all(f"<files>\n{listed}\n</files>" in prompt for prompt in told)
    assert "files" not in run
    [folder] = workspaces(modelled)
    assert contents(folder) == {"data/trains.csv": CSV.encode(), "empty": b"", "é.bin": b"\0\xff"}


async def test_files_are_there_before_the_run_is_accepted(
    modelled: Product, models: FakeModelServer
) -> None:
    """Byte for byte, up to the largest that may be sent: a body of 14 MB."""
    models.add(*solo(gate="work"))
    files = {f"{n}.bin": bytes([n]) * (5 * MEBIBYTE) for n in range(2)}
    answer = await create(modelled, *(upload(*each) for each in files.items()))
    assert answer.status_code == 202
    [folder] = workspaces(modelled)
    assert folder.name == answer.json()["id"]
    assert contents(folder) == files
    models.event("work").set()
    await modelled.ended(folder.name)


async def test_only_what_creates_a_run_may_be_large(product: Product) -> None:
    body = {
        "task": "a",
        "files": [upload("a", b"a" * 4 * MEBIBYTE), upload("b", b"b" * 5 * MEBIBYTE)],
    }
    size = len(httpx.Request("POST", "http://a", json=body).content)
    assert size > 12_000_000
    accepted = await product.client.post("/v1/runs", json=body)
    assert accepted.status_code == 202
    run_id = accepted.json()["id"]
    for path in ("/api/workflow", f"/v1/runs/{run_id}/cancel", f"/v1/runs/{run_id}/decisions"):
        assert_problem(await product.client.post(path, json=body), "payload-too-large")
    await product.ended(run_id)


async def test_a_repeated_request_keeps_one_workspace(
    modelled: Product, models: FakeModelServer
) -> None:
    """What the repetition brought along is removed; a body with one other byte is another body."""
    models.add(*solo(gate="work"))
    first = await create(modelled, upload("a.csv", CSV), headers=KEY)
    again = await create(modelled, upload("a.csv", CSV), headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]
    for other in (upload("a.csv", CSV + "x"), upload("b.csv", CSV)):
        refused = await create(modelled, other, headers=KEY)
        assert_problem(refused, "idempotency-key-reuse")
    assert_problem(await create(modelled, headers=KEY), "idempotency-key-reuse")
    [folder] = workspaces(modelled)
    assert (folder.name, contents(folder)) == (first.json()["id"], {"a.csv": CSV.encode()})
    models.event("work").set()
    await modelled.ended(folder.name)


async def test_what_is_refused_leaves_no_workspace(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*solo(gate="work"))
    first = (await create(modelled)).json()
    busy = await create(
        modelled,
        upload("a.csv", CSV),
        thread_id=first["thread_id"],
        multitask_strategy="reject",
    )
    assert_problem(busy, "thread-busy")
    unknown = await create(modelled, upload("a.csv", CSV), thread_id="thr_1")
    assert_problem(unknown, "not-found")
    assert [folder for folder in workspaces(modelled) if contents(folder)] == []
    models.event("work").set()
    await modelled.ended(first["id"])


async def test_a_follow_up_does_not_inherit_files(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(
        *decisions(("analyst", "Count them")),
        turns("Count them", Reply.calls(("list_files", {})), Reply(text="Done.")),
    )
    first = await modelled.ended((await create(modelled, upload("a.csv", CSV))).json()["id"])
    again = await create(modelled, thread_id=first["thread_id"])
    await modelled.ended(again.json()["id"])
    assert results(models.requests[-2]) == ["(the workspace is empty)"]
    assert "<files>" not in models.requests[-1].user


async def test_files_that_cannot_be_kept_create_nothing(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """Here a file stands where the workspaces belong; a full disk is answered in the same way."""
    models.add(*solo())
    async with start(models=models) as product:
        place = tmp_path / "data" / "workspaces" / LOCAL_TENANT
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("in the way")
        refused = await create(product, upload("a.csv", CSV), headers=KEY)
        assert_problem(refused, "overloaded")
        assert refused.headers["retry-after"] == "30"
        assert (await product.client.get("/v1/runs")).json()["data"] == []
        place.unlink()
        accepted = await create(product, upload("a.csv", CSV), headers=KEY)
        assert (accepted.status_code, "idempotency-replayed" in accepted.headers) == (202, False)
        await product.ended(accepted.json()["id"])


@pytest.mark.parametrize("files", [[], None])
async def test_no_files_are_fine_too(product: Product, files: list[Any] | None) -> None:
    run = await product.finished("What is 2 + 2?", files=files)
    assert run["status"] == "completed"
