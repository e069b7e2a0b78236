"""Publishing a file: a person decides about exactly the bytes that are copied."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from domain.errors import ConfigurationError
from service.settings import read_settings
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import asked, decide, decided, pending, results, start_run, turns
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import decisions

TEXT: Final = "It grew by 42.5%.\n"
UPLOAD: Final = {"name": "out/report.md", "content_base64": "SXQgZ3JldyBieSA0Mi41JS4K"}
SHA256: Final = hashlib.sha256(TEXT.encode()).hexdigest()
PUBLISH: Final = ("publish_file", {"path": "./out//report.md"})
PINNED: Final = {"path": "./out//report.md", "sha256": SHA256}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
async def product(start: Start, models: FakeModelServer, output: Path) -> AsyncIterator[Product]:
    """Run the product with an output folder."""
    async with start(models=models, output_dir=output) as running_product:
        yield running_product


def publishing(*calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Return the script of an analyst that makes some calls at once, and says that it did."""
    return [
        *decisions(("analyst", "Publish it")),
        turns("Publish it", Reply.calls(*(calls or [PUBLISH])), Reply(text="Published.")),
    ]


def published(output: Path) -> dict[str, str]:
    """Return what was published, by its path below the run."""
    found = (path for path in output.glob("run_*/**/*") if path.is_file())
    return {"/".join(path.relative_to(output).parts[1:]): path.read_text() for path in found}


def workspace(product: Product, run_id: str) -> Path:
    """Return a run's folder."""
    return product.services.settings.data_dir / "workspaces" / "default" / run_id


async def begin(product: Product, **body: Any) -> str:
    """Start a run that has the report with it."""
    return await start_run(product, files=[UPLOAD], **body)


async def test_a_file_is_published_when_a_person_has_approved_it(
    product: Product, models: FakeModelServer, output: Path
) -> None:
    models.add(*publishing())
    run_id = await begin(product)
    approval = await asked(product, run_id)
    assert approval["description"] == (
        "analyst wants to call publish_file: ./out//report.md (18 bytes)"
    )
    assert approval["action"] == {"name": "publish_file", "args": PINNED}
    assert published(output) == {}
    await decided(product, approval, type="approve", args_digest=approval["args_digest"])
    run = await product.ended(run_id)
    assert published(output) == {"out/report.md": TEXT}
    assert (output / run_id / "out" / "report.md").is_file()
    assert [action["status"] for action in run["actions"]] == ["done"]
    [told] = results(models.requests[-2])
    assert told == f"Published 18 bytes as {run_id}/out/report.md in the output folder."


async def test_what_has_changed_since_it_was_approved_is_not_published(
    product: Product, models: FakeModelServer, output: Path
) -> None:
    models.add(
        *decisions(("analyst", "Publish it")),
        turns("Publish it", Reply.calls(PUBLISH), Reply.calls(PUBLISH), Reply(text="Published.")),
    )
    run_id = await begin(product)
    approval = await asked(product, run_id)
    (workspace(product, run_id) / "out" / "report.md").write_text("It shrank.")
    await decided(product, approval, type="approve")
    again = await asked(product, run_id)
    assert published(output) == {}
    assert "has changed since" in results(models.requests[-1])[0]
    assert again["action"]["args"]["sha256"] == hashlib.sha256(b"It shrank.").hexdigest()
    await decided(product, again, type="approve")
    run = await product.ended(run_id)
    assert published(output) == {"out/report.md": "It shrank."}
    assert [action["status"] for action in run["actions"]] == ["failed", "done"]


async def test_a_person_refuses_or_answers_in_its_place(
    product: Product, models: FakeModelServer, output: Path
) -> None:
    models.add(*publishing(PUBLISH, PUBLISH))
    run_id = await begin(product)
    await asked_twice(product, run_id)
    run = await product.ended(run_id)
    assert published(output) == {}
    assert [action["status"] for action in run["actions"]] == ["decided", "decided"]
    assert sorted(results(models.requests[-2])) == ["A person refused this call: not yet", "Later."]


async def asked_twice(product: Product, run_id: str) -> None:
    await product.client.get(f"/v1/runs/{run_id}?wait=20")
    first, second = await pending(product, run_id)
    await decided(product, first, type="reject", message="not yet")
    await decided(product, second, type="respond", message="Later.")


@pytest.mark.parametrize(
    "args",
    [
        {"path": "out/other.md", "sha256": SHA256},
        {"path": "out/other.md"},
        {"path": "./out//report.md"},
        {"path": "./out//report.md", "sha256": "0" * 64},
    ],
)
async def test_nobody_changes_what_a_person_has_looked_at(
    product: Product, models: FakeModelServer, output: Path, args: dict[str, str]
) -> None:
    """An edit would be about a content that nobody has seen: refused, and the approval stays open."""
    models.add(*publishing())
    run_id = await begin(product)
    approval = await asked(product, run_id)
    (workspace(product, run_id) / "out" / "other.md").write_text("Unseen.")
    edit = {"type": "edit", "edited_action": {"name": "publish_file", "args": args}}
    problem = assert_problem(await decide(product, approval, **edit), "validation-error")
    assert pointers(problem) == ["/edited_action/args"]
    assert "exactly what was asked about" in problem["detail"]
    same = {"type": "edit", "edited_action": {"name": "publish_file", "args": PINNED}}
    await decided(product, approval, **same)
    await product.ended(run_id)
    assert published(output) == {"out/report.md": TEXT}


async def test_of_what_cannot_be_published_nobody_is_asked(
    product: Product, models: FakeModelServer, output: Path
) -> None:
    paths = ["no.md", "../secret", "out", "/etc/passwd"]
    calls = [("publish_file", {"path": path, "sha256": SHA256}) for path in paths]
    models.add(*publishing(*calls, ("publish_file", {"path": "out/report.md", "to": "here"})))
    run = await product.ended(await begin(product))
    assert (run["status"], run["actions"]) == ("completed", [])
    told = results(models.requests[-2])
    assert "no file 'no.md'" in told[0]
    assert "relative to the workspace" in told[1]
    assert "not a plain file" in told[2]
    assert "/to: publish_file has no such argument" in told[4]
    assert published(output) == {}


async def test_where_no_gate_asks_it_is_published_at_once(
    product: Product, models: FakeModelServer, output: Path
) -> None:
    """And is in the ledger all the same."""
    models.add(*publishing())
    run = await product.ended(await begin(product, approvals={"mode": "never"}))
    assert published(output) == {"out/report.md": TEXT}
    assert [action["status"] for action in run["actions"]] == ["done"]


async def test_no_link_in_the_output_folder_is_followed(
    product: Product, models: FakeModelServer, output: Path, tmp_path: Path
) -> None:
    models.add(*publishing())
    run_id = await begin(product)
    approval = await asked(product, run_id)
    (tmp_path / "outside").mkdir()
    (output / run_id).symlink_to(tmp_path / "outside")
    await decided(product, approval, type="approve")
    run = await product.ended(run_id)
    assert "leads over a link" in results(models.requests[-2])[0]
    assert not list((tmp_path / "outside").iterdir())
    assert [action["status"] for action in run["actions"]] == ["failed"]


async def test_without_an_output_folder_nobody_is_asked(
    start: Start, models: FakeModelServer
) -> None:
    models.add(*publishing())
    async with start(models=models) as product:
        run = await product.ended(await begin(product))
        listing = (await product.client.get("/v1/tools")).json()["data"]
    [told] = results(models.requests[-2])
    assert "SIGNALBOX_OUTPUT_DIR is not set" in told
    assert (run["status"], run["actions"]) == ("completed", [])
    [tool] = [tool for tool in listing if tool["name"] == "publish_file"]
    assert tool["off_reason"] == told


@pytest.mark.parametrize("name", ["no", "file"])
def test_an_output_folder_that_cannot_be_used_stops_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"SIGNALBOX_OUTPUT_DIR=.*an existing folder"):
        read_settings(output_dir=tmp_path / name, _env_file=None)
