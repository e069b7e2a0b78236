"""The files that agents produce, as a client gets them: told of, listed, downloaded, and gone with their run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import creating, followed
from tests.integration.problem_checks import assert_problem
from tests.integration.team_script import composer, decisions, worker

SANDBOX = "auto"

PROGRAM = """
import os
os.makedirs("charts", exist_ok=True)
open("charts/a b.png", "wb").write(b"\\x89PNG\\r\\n" + bytes(range(256)) * 2_000)
open("line\\nend 100%.txt", "w").write("odd")
open("page.html", "w").write("<script>alert(1)</script>")
open("..hidden", "w").write("x")
print("made")
"""
CHART = b"\x89PNG\r\n" + bytes(range(256)) * 2_000


@pytest.fixture
async def product(modelled: Product) -> Product:
    """Return the product with the fake model server, in memory and on SQLite."""
    return modelled


def makes(task: str, *turns: Reply) -> list[Rule]:
    """Return the rules of an agent that takes one turn after the other, then answers."""
    where = f"<assignment>\n{task}\n"
    first, *later = turns
    return [
        Rule(when=When(schema=False, user=where, after_tool=False), reply=first, times=1),
        *(
            Rule(when=When(schema=False, user=where, after_tool=True), reply=each, times=1)
            for each in later
        ),
        Rule(when=When(schema=False, user=where, after_tool=True), reply=Reply(text="Made it.")),
    ]


def a_run_with_files(models: FakeModelServer) -> None:
    """Have the coder write a table twice and run a program."""
    models.add(
        *decisions(("coder", "Make it")),
        *makes(
            "Make it",
            Reply.calls(("write_file", {"path": "data.csv", "content": "n\n1\n"})),
            Reply.calls(
                ("write_file", {"path": "data.csv", "content": "n\n1\n2\n"}),
                ("run_python", {"code": PROGRAM}),
            ),
        ),
    )


async def made(product: Product, models: FakeModelServer) -> dict[str, Any]:
    """Return an ended run that has produced files."""
    a_run_with_files(models)
    run = await product.finished("Make some files")
    assert run["status"] == "completed", run
    return run


async def listed(product: Product, run_id: str) -> list[dict[str, Any]]:
    """Return a run's artifacts."""
    response = await product.client.get(f"/v1/runs/{run_id}/artifacts")
    assert response.status_code == 200, response.text
    page = response.json()
    assert (page["next_cursor"], page["has_more"]) == (None, False)
    return list(page["data"])


async def test_files_are_listed_and_come_back_as_they_were(
    product: Product, models: FakeModelServer
) -> None:
    """In their last version, under any name, with the run and beside it."""
    run = await made(product, models)
    artifacts = await listed(product, run["id"])
    assert run["result"]["artifacts"] == artifacts
    contents = {
        "charts/a b.png": CHART,
        "data.csv": b"n\n1\n2\n",
        "line\nend 100%.txt": b"odd",
        "page.html": b"<script>alert(1)</script>",
    }
    assert [artifact["name"] for artifact in artifacts] == sorted(contents)
    for artifact in artifacts:
        content = contents[artifact["name"]]
        assert artifact["size"] == len(content)
        assert artifact["sha256"] == hashlib.sha256(content).hexdigest()
        assert artifact["agent"] == "coder"
        response = await product.client.get(artifact["url"])
        assert (response.status_code, response.content) == (200, content)
        assert response.headers["content-type"] == artifact["media_type"]
        assert response.headers["content-length"] == str(len(content))
        last = quote(artifact["name"].rpartition("/")[2], safe="")
        disposition = f"attachment; filename*=UTF-8''{last}"
        assert response.headers["content-disposition"] == disposition
        assert response.headers["etag"] == f'"{artifact["sha256"]}"'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert response.headers["cache-control"] == "private, no-store"


async def test_each_file_is_told_of_before_its_call_ends(
    product: Product, models: FakeModelServer
) -> None:
    """Live and again later: the events of a call that leaves files."""
    a_run_with_files(models)
    async with creating(product, task="Make some files") as stream:
        view = await stream.end()
    run_id = view.frames[0]["run_id"]
    told = view.of("tool.started", "artifact.created", "tool.completed")
    calls: dict[str, list[Any]] = {}
    for event in told:
        if event["type"] == "tool.completed":
            kept = event["data"]["artifacts"]
            assert [left for left in calls.pop("left", []) if left in kept] or not kept
        elif event["type"] == "artifact.created":
            calls.setdefault("left", []).append(event["data"]["artifact"])
            assert event["data"].keys() == {"artifact"}
            assert (event["agent"], event["path"], event["round"]) == ("coder", "coder", 1)
    names = [e["data"]["artifact"]["name"] for e in view.of("artifact.created")]
    assert sorted(names) == [
        *("charts/a b.png", "data.csv", "data.csv", "line\nend 100%.txt", "page.html"),
    ]
    told_with_calls = [a for e in view.of("tool.completed") for a in e["data"]["artifacts"]]
    told_alone = [e["data"]["artifact"] for e in view.of("artifact.created")]
    assert sorted(map(str, told_with_calls)) == sorted(map(str, told_alone))
    replay = await followed(product, run_id)
    stored = await product.events(run_id)
    envelopes = [{k: v for k, v in f.items() if not k.startswith("_")} for f in replay.frames]
    assert envelopes == stored
    assert [e["seq"] for e in stored] == [e["seq"] for e in view.frames if e.get("seq")]


async def test_the_model_is_told_what_the_user_gets(
    product: Product, models: FakeModelServer
) -> None:
    await made(product, models)
    transcript = models.requests[-2].transcript
    assert "Wrote 6 bytes to data.csv.\nFiles kept for the user: data.csv (6 bytes)" in transcript
    assert "made\nFiles kept for the user: charts/a b.png (512006 bytes), " in transcript
    assert r"'line\nend 100%.txt' (3 bytes)" in transcript


@pytest.mark.parametrize(
    ("name", "inline", "content_type"),
    [
        ("data.csv", True, "text/csv; charset=utf-8"),
        ("charts/a b.png", True, "image/png"),
        ("line\nend 100%.txt", True, "text/plain; charset=utf-8"),
        ("page.html", False, "text/html"),
    ],
)
async def test_only_harmless_kinds_are_shown_inline(
    product: Product, models: FakeModelServer, name: str, content_type: str, *, inline: bool
) -> None:
    run = await made(product, models)
    path = f"/v1/runs/{run['id']}/artifacts/{quote(name)}"
    response = await product.client.get(f"{path}?inline=true")
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    kind = "inline" if inline else "attachment"
    assert response.headers["content-disposition"].startswith(f"{kind}; filename*=UTF-8''")
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert (await product.client.get(f"{path}?inline=maybe")).status_code == 400


async def test_who_has_the_file_gets_no_second_copy(
    product: Product, models: FakeModelServer
) -> None:
    run = await made(product, models)
    artifact = (await listed(product, run["id"]))[1]
    etag = f'"{artifact["sha256"]}"'
    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = await product.client.get(artifact["url"], headers={"if-none-match": sent})
        assert (response.status_code, response.content) == (304, b""), sent
        assert response.headers["etag"] == etag
        assert response.headers["cache-control"] == "private, no-store"
    response = await product.client.get(artifact["url"], headers={"if-none-match": '"other"'})
    assert response.status_code == 200


async def test_nothing_else_is_reachable(product: Product, models: FakeModelServer) -> None:
    """Neither another run's file nor any path: a name is looked up and never opened."""
    run = await made(product, models)
    models.add(*decisions(("analyst", "Rest")), worker("Rest", Reply(text="Rested.")))
    other = await product.finished("Do nothing")
    assert await listed(product, other["id"]) == other["result"]["artifacts"] == []
    base, others = f"/v1/runs/{run['id']}/artifacts", f"/v1/runs/{other['id']}/artifacts"
    sha = run["result"]["artifacts"][0]["sha256"]
    for path in (
        *(f"{others}/data.csv", f"{others}/..%2F{run['id']}%2F{sha}", f"{base}/{sha}"),
        *(f"{base}/", f"{base}/%2E", f"{base}/charts", f"{base}/charts%2Fa%20b.png%0A"),
        *(f"{base}/..%2F..%2F..%2Fruns.db", f"{base}/%2Fetc%2Fpasswd", f"{base}/%FF"),
        *(f"{base}/..hidden", f"{base}/data.csv/", f"{base}//data.csv", f"{base}/{'x' * 5_000}"),
    ):
        assert_problem(await get_raw(product, path), "not-found")
    problem = (await get_raw(product, f"{base}/nope")).json()
    assert problem["detail"] == (f"The run has no artifact 'nope'. GET {base} lists those it has.")
    assert problem["run_id"] == run["id"]
    assert_problem(await get_raw(product, f"{base}/a%00b"), "not-found")
    for path in ("/v1/runs/run_0/artifacts", "/v1/runs/run_0/artifacts/data.csv"):
        assert_problem(await get_raw(product, path), "not-found")
    assert (await get_raw(product, f"{base}/charts%2Fa%20b.png")).content == CHART


async def get_raw(product: Product, path: str) -> httpx.Response:
    """Send a path as it stands, where httpx would tidy it."""
    url = httpx.URL(product.base_url).copy_with(raw_path=path.encode())
    return await product.client.get(url)


async def test_a_file_that_is_gone_is_no_fault_of_the_server(
    product: Product, models: FakeModelServer, tmp_path: Path
) -> None:
    """Also where something else lies in its place."""
    run = await made(product, models)
    shelf = tmp_path / "data" / "artifacts" / "default" / run["id"]
    first, second, third, _ = run["result"]["artifacts"]
    (shelf / first["sha256"]).unlink()
    (shelf / second["sha256"]).write_bytes(b"short")
    (shelf / third["sha256"]).unlink()
    (shelf / third["sha256"]).symlink_to("/etc/passwd")
    for artifact in (first, second, third):
        response = await product.client.get(artifact["url"])
        assert_problem(response, "not-found")
        assert "the file is not on this server" in response.json()["detail"]
    assert len(await listed(product, run["id"])) == 4


async def test_files_are_there_while_the_run_still_works_and_after_it_is_cancelled(
    product: Product, models: FakeModelServer
) -> None:
    """The agent that made it is stopped before it says anything."""
    models.event("never")
    call = Reply.calls(("write_file", {"path": "draft.md", "content": "# Draft\n"}))
    where = "<assignment>\nMake it\n"
    models.add(
        *decisions(("coder", "Make it")),
        Rule(when=When(schema=False, user=where, after_tool=False), reply=call),
        Rule(
            when=When(schema=False, user=where, after_tool=True),
            reply=Reply(text="x"),
            gate="never",
        ),
    )
    async with creating(product, task="Make a draft") as stream:
        view = await stream.until(lambda view: view.of("artifact.created"))
        run_id = view.frames[0]["run_id"]
        (artifact,) = await listed(product, run_id)
        assert (await product.client.get(artifact["url"])).text == "# Draft\n"
        assert (await product.client.get(f"/v1/runs/{run_id}")).json()["result"] is None
        cancelled = await product.client.post(f"/v1/runs/{run_id}/cancel")
        view = await stream.end()
    run = cancelled.json()
    assert (run["status"], run["result"]["output"]) == ("cancelled", "")
    assert run["result"]["artifacts"] == [artifact]
    (end,) = view.of("run.cancelled")
    assert end["data"]["run"]["result"]["artifacts"] == [artifact]


async def test_what_agents_leave_side_by_side_is_all_there(
    product: Product, models: FakeModelServer
) -> None:
    """Whoever it counts for: nobody sees which of two programs has written a file."""
    models.add(*decisions(("coder", "Make a"), ("analyst", "Make b")))
    for name in ("a", "b"):
        code = f"open('{name}.txt', 'w').write('{name}')"
        models.add(*makes(f"Make {name}", Reply.calls(("run_python", {"code": code}))))
    models.add(composer(Reply(text="Both.")))
    run = await product.finished("Make two files")
    artifacts = run["result"]["artifacts"]
    assert [artifact["name"] for artifact in artifacts] == ["a.txt", "b.txt"]
    contents = [(await product.client.get(artifact["url"])).text for artifact in artifacts]
    assert contents == ["a", "b"]
