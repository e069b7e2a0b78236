"""`signalbox runs` and `signalbox graph`: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from domain.errors import ConfigurationError, RunFailedError
from service.commands import run_views
from service.commands.graph import draw
from service.commands.run_views import Server
from service.server import open_socket
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.people import asked, post, start_run, turns
from tests.integration.retrying import mend
from tests.integration.team_script import composer, decisions, solo, unauthorised

Captured = pytest.CaptureFixture[str]


def at(product: Product) -> Server:
    """Return how a command finds the product."""
    return Server(product.services.settings, product.base_url)


async def test_runs_are_listed_and_shown(
    modelled: Product, models: FakeModelServer, capsys: Captured
) -> None:
    """As a table with all there is to one on its line, as JSON, and one with all about it."""
    models.add(*solo(Reply(text="Done it.\nAll \x1b[31mof it.")))
    run = await modelled.finished("Do it")
    server = at(modelled)
    await run_views.list_runs(server, status="completed", thread=None, limit=5, json_=False)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["ID", "STATUS"]
    assert row.split()[:2] == [run["id"], "completed"]
    assert row.endswith("Do it")
    await run_views.list_runs(server, status="failed", thread=None, limit=5, json_=False)
    nothing = capsys.readouterr()
    assert (nothing.out, nothing.err) == ("", "There are no such runs.\n")
    await run_views.list_runs(server, status=None, thread=run["thread_id"], limit=5, json_=True)
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == [run["id"]]
    await run_views.show_run(server, run["id"], json_=False)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{run['id']}  completed (done)\n")
    assert "agent      coder: completed, " in shown
    assert re.search(r"^agent      supervisor: \d+ tokens$", shown, re.MULTILINE)
    assert "Done it.\nAll \\x1b[31mof it.\n" in shown, "what could hide something is written out"
    await run_views.show_run(server, run["id"], json_=True)
    assert json.loads(capsys.readouterr().out) == run


async def test_what_a_run_waits_for_is_shown(
    acting_once: Product, models: FakeModelServer, target: CountingTarget, capsys: Captured
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    await run_views.show_run(at(acting_once), run_id, json_=False)
    assert f"waits for  {approval['id']} (http_request)" in capsys.readouterr().out


async def test_a_run_is_watched_to_its_end(
    modelled: Product, models: FakeModelServer, capsys: Captured
) -> None:
    """Its progress on stderr, its answer on stdout; how it ended is the exit code."""
    models.add(*solo(gate="work"))
    gate = models.event("work")
    server = at(modelled)
    run_id = await start_run(modelled)
    watching = asyncio.create_task(run_views.watch_run(server, run_id, json_=False))
    gate.set()
    assert await watching == 0
    out, err = capsys.readouterr()
    assert out == "Done it.\n"
    assert "works on: Do it" in err
    assert "completed after 1 round" in err
    mend(models, unauthorised())
    failed = await modelled.finished("Do that")
    assert await run_views.watch_run(server, failed["id"], json_=True, quiet=True) == 1
    out, err = capsys.readouterr()
    assert (json.loads(out)["error"]["code"], err) == ("model-error", "")
    mend(models, *solo(gate="never"))
    models.event("never")
    run_id = await start_run(modelled, "Do it once more")
    await modelled.client.post(f"/v1/runs/{run_id}/cancel", json={})
    assert await run_views.watch_run(server, run_id, json_=False, quiet=True) == 4


async def test_a_run_is_forked_at_a_checkpoint_of_its_history(
    modelled: Product, models: FakeModelServer, capsys: Captured
) -> None:
    models.add(*solo())
    run = await modelled.finished("Do it")
    server = at(modelled)
    await run_views.show_history(server, run["id"], limit=50, json_=False)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["CHECKPOINT", "STEP", "ROUND", "NEXT", "FINISHED", "FORKABLE"]
    assert [rows[0].split()[3], rows[-1].split()[3]] == ["end", "-"]
    [before] = [row.split()[0] for row in rows if "coder completed" in row]
    mend(models, *decisions(), composer(Reply(text="Otherwise.")))
    body = {"checkpoint_id": before, "task": "Say it otherwise"}
    assert await run_views.fork_run(server, run["id"], body, watch=True, json_=True) == 0
    out, err = capsys.readouterr()
    fork = json.loads(out)
    assert fork["forked_from"] == {"run_id": run["id"], "checkpoint_id": before}
    assert f"{fork['id']} begins at {before} of {run['id']}" in err
    assert await run_views.fork_run(server, run["id"], {}, watch=False, json_=False) == 0
    new = capsys.readouterr().out.strip()
    assert (await modelled.ended(new))["status"] == "completed"


@pytest.mark.may_block
async def test_an_export_is_written_whole_or_not_at_all(
    modelled: Product, models: FakeModelServer, tmp_path: Path, capsys: Captured
) -> None:
    models.add(*solo())
    run = await modelled.finished("Do it")
    file = tmp_path / "run.json"
    await run_views.export_run(at(modelled), run["id"], file)
    assert json.loads(file.read_text())["run"]["id"] == run["id"]
    assert capsys.readouterr().out == ""
    other = tmp_path / "other.json"
    with pytest.raises(RunFailedError):
        await run_views.export_run(at(modelled), f"run_{'0' * 32}", other)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        await run_views.export_run(at(modelled), run["id"], tmp_path / "none" / "run.json")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["run.json"]


async def test_a_fault_is_said_in_a_sentence(product: Product) -> None:
    """Nothing there, nobody there, no address."""
    settings = product.services.settings
    with pytest.raises(RunFailedError, match="is not there"):
        await run_views.watch_run(at(product), f"run_{'0' * 32}", json_=False)
    with open_socket("127.0.0.1", 0) as sock:
        nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(RunFailedError, match="cannot be reached"):
            await run_views.show_run(Server(settings, nobody), "run_0", json_=False)
    with pytest.raises(ConfigurationError, match="is no address"):
        await run_views.show_run(Server(settings, "nowhere"), "run_0", json_=False)


@pytest.mark.may_block
async def test_the_workflow_is_drawn(product: Product) -> None:
    drawn = draw(product.services.settings)
    assert "graph TD;" in drawn
    assert {"supervisor -.-> coder;", "coder --> supervisor;", "answer -.-> fill;"} <= {
        line.strip() for line in drawn.splitlines()
    }
    assert "error_handler" not in drawn
