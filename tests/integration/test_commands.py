"""What commands print as JSON is JSON and all of stdout, and what `run` and `approve` do on a running server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from domain.errors import ConfigurationError, RunFailedError
from service.cli import cli
from tests.docs.cli_page import commands
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.people import asked, post, start_run, turns, waiting
from tests.integration.team_script import decisions, solo
from tests.unit.service.test_commands import WITHOUT_JSON

Called = Callable[..., Result]

HERE: Final = {
    "agents": [],
    "config": ["--set"],
    "config check": [],
    "db check": [],
    "db upgrade": [],
    "doctor": ["--offline"],
    "graph": [],
    "keys create": ["--name", "me"],
    "keys list": [],
    "keys revoke": ["{key}"],
    "webhooks list": [],
    "webhooks rotate": ["https://example.com/hook"],
    "webhooks secret": ["https://example.com/hook"],
}
"""Commands that ask no server."""

AT_A_SERVER: Final = {
    "approve": [],
    "run": ["What is 6 * 7?"],
    "runs fork": ["{run}"],
    "runs history": ["{run}"],
    "runs list": [],
    "runs show": ["{run}"],
    "runs watch": ["{run}"],
}

BY_OTHERS: Final = {"webhooks listen": "tests/e2e/test_webhooks.py"}
"""Commands that serve until they are told to stop."""


def called(env: dict[str, str], *args: str) -> Result:
    """Carry out a command in this process; `env` is beside an empty environment of its own."""
    names = dict.fromkeys(
        ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SIGNALBOX_API_KEY", "SIGNALBOX_URL")
    )
    return CliRunner().invoke(cli, list(args), prog_name="signalbox", env={**names, **env})


def test_every_command_that_prints_json_is_tried() -> None:
    leaves = {n.name for n in commands() if n.name not in WITHOUT_JSON} - {
        group.name for group in commands() if getattr(group.command, "commands", None)
    }
    assert leaves | {"config"} == HERE.keys() | AT_A_SERVER.keys() | BY_OTHERS.keys()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of commands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "knowledge").mkdir()
    return {"SIGNALBOX_KNOWLEDGE_DIR": "knowledge", "SIGNALBOX_SANDBOX": "off"}


@pytest.mark.may_block  # `doctor` looks at files, in a process that does nothing else
@pytest.mark.parametrize("name", HERE)
def test_json_is_all_of_stdout(name: str, here: dict[str, str]) -> None:
    key = ""
    if name == "keys revoke":
        made = called(here, "keys", "create", "--name", "me", "--json")
        key = json.loads(made.stdout)["id"]
    if name == "webhooks rotate":
        called(here, "webhooks", "secret", *HERE[name])
    args = [each.format(key=key) for each in HERE[name]]
    outcome = called(here, *name.split(), *args, "--json")
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome
    json.loads(outcome.stdout)
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout.endswith("\n")


async def test_json_of_a_server_is_all_of_stdout(product: Product) -> None:
    """Of `run` a line for each event, and at last the run."""
    run = await product.finished("What is 2 + 2?")
    for name, args in AT_A_SERVER.items():
        given = [each.format(run=run["id"]) for each in args]
        outcome = await asyncio.to_thread(
            called, {}, *name.split(), *given, "--json", "--server", product.base_url
        )
        assert outcome.exit_code == 0, (name, outcome.stderr)
        if name != "run":
            json.loads(outcome.stdout)
            continue
        *events, last = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert events[0]["type"] == "run.created"
        assert events[-1]["type"] == "run.completed"
        assert last["object"] == "run"
        assert "42" in last["result"]["output"]


async def test_another_server_is_told_from_a_signalbox(target: CountingTarget) -> None:
    """Whatever it answers; a password in its address is not shown."""
    url = target.url("").rstrip("/")
    for args in (("runs", "list"), ("run", "hello"), ("approve",)):
        outcome = await asyncio.to_thread(called, {}, *args, "--server", url)
        assert isinstance(outcome.exception, RunFailedError), outcome
    outcome = await asyncio.to_thread(called, {}, "run", "x", "--server", "http://me:hunter2@host")
    assert "hunter2" not in str(outcome.exception)
    assert isinstance(outcome.exception, ConfigurationError)


async def test_a_run_is_told_its_limits(product: Product) -> None:
    options = ("--budget", "$0.50", "--max-tokens", "90000", "--max-seconds", "60")
    outcome = await asyncio.to_thread(
        called, {}, "run", "What is 6 * 7?", *options, "--max-rounds", "2", *at(product)
    )
    budget = json.loads(outcome.stdout)["budget"]
    assert (float(budget["max_cost_usd"]), budget["max_tokens"]) == (0.5, 90_000)
    assert (budget["max_seconds"], budget["max_rounds"]) == (60, 2)


def at(product: Product) -> tuple[str, str]:
    return ("--server", product.base_url)


async def test_an_answer_is_printed_alone(product: Product) -> None:
    outcome = await asyncio.to_thread(called, {}, "run", "What is 6 * 7?", "--answer", *at(product))
    assert outcome.stdout == "Computed with Python:\n\n6 * 7 = 42\n"


@pytest.mark.slow
@pytest.mark.may_block  # looks at a few files
async def test_files_are_saved_over_nothing(product: Product, tmp_path: Path) -> None:
    """What is there already stays; the same file is not saved twice; a link leads nowhere."""
    table, out, elsewhere = tmp_path / "a.csv", tmp_path / "out", tmp_path / "elsewhere"
    table.write_text("month,revenue\nmay,12\njune,15\njuly,19\n")
    elsewhere.mkdir()
    outcome = await saving(product, table, out)
    run = json.loads(outcome.stdout)
    names = sorted(each["name"] for each in run["result"]["artifacts"])
    assert names
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == names
    await saving(product, table, out)
    again = sorted(path.name for path in out.rglob("*") if path.is_file())
    for name in names:
        (out / name).write_text("mine")
    outcome = await saving(product, table, out)
    assert all((out / name).read_text() == "mine" for name in names)
    assert len(list(out.rglob("*"))) == len(again) + len(names)
    assert "-2." in outcome.stderr


async def saving(product: Product, table: Path, out: Path) -> Result:
    args = ("run", "Summarise the table and chart revenue by month", "--file", str(table))
    outcome = await asyncio.to_thread(called, {}, *args, "--out", str(out), *at(product))
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


async def one_call(
    product: Product, models: FakeModelServer, target: CountingTarget
) -> dict[str, Any]:
    """Return the approval of a run that waits to send something."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    return await asked(product, await start_run(product))


async def test_what_waits_is_listed_shown_and_decided(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    approval = await one_call(acting_once, models, target)
    id_, run_id = approval["id"], approval["run_id"]

    async def approve(*args: str) -> Result:
        return await asyncio.to_thread(called, {}, "approve", *args, *at(acting_once))

    listed = await approve()
    assert [listed.stdout.splitlines()[1].split()[i] for i in (0, 1, 3)] == [
        id_,
        run_id,
        "http_request",
    ]
    shown = await approve(id_)
    assert shown.stdout.startswith(f"{id_}  pending\n")
    assert f"url: {target.url('/orders')}" in shown.stdout
    assert "--yes · --edit JSON · --no · --respond TEXT" in shown.stdout
    assert [a["id"] for a in json.loads((await approve("--json")).stdout)] == [id_]
    assert json.loads((await approve(id_, "--json")).stdout) == approval
    edited = {**approval["action"]["args"], "url": target.url("/other")}
    done = await approve(id_, "--edit", json.dumps(edited), "--comment", "Otherwise.", "--json")
    assert done.exit_code == 0, done.stderr
    decision = json.loads(done.stdout)["decision"]
    assert (decision["type"], decision["comment"]) == ("edit", "Otherwise.")
    await acting_once.ended(run_id)
    assert [target.count("/orders"), target.count("/other")] == [0, 1]
    other = await approve(id_, "--no")
    assert (other.exit_code, "already" in str(other.exception)) == (1, True)
    assert (await approve()).stdout == ""


async def test_a_run_is_decided_as_a_whole_and_too_late_is_said(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    approval = await one_call(acting_once, models, target)
    run_id = approval["run_id"]

    async def approve(*args: str) -> Result:
        return await asyncio.to_thread(called, {}, "approve", *args, *at(acting_once))

    wrong = await approve("nobody")
    assert "is no id of an approval" in str(wrong.exception)
    done = await approve(run_id, "--no", "--message", "Not on a Friday", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[0]["decision"]["message"] == "Not on a Friday"
    await acting_once.ended(run_id)
    assert target.count("/orders") == 0
    nothing = await approve(run_id, "--yes")
    assert "waits for no decision" in str(nothing.exception)


async def test_a_decision_that_comes_too_late(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    approval = await one_call(acting_once, models, target)
    await acting_once.client.post(f"/v1/runs/{approval['run_id']}/cancel", json={})
    outcome = await asyncio.to_thread(
        called, {}, "approve", approval["id"], "--yes", *at(acting_once)
    )
    assert type(outcome.exception).__name__ == "TooLateError"


async def test_a_run_that_nobody_decides_is_left_waiting(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Exit 3, with what to do; the Run is printed as it stands, and goes on when it is decided."""
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    outcome = await asyncio.to_thread(called, {}, "run", "Do it", *at(acting_once))
    run = json.loads(outcome.stdout)
    assert (outcome.exit_code, run["status"]) == (3, "requires_action")
    assert f"`signalbox approve {run['id']} --server {acting_once.base_url}`" in outcome.stderr
    await asyncio.to_thread(called, {}, "approve", run["id"], "--yes", *at(acting_once))
    assert (await acting_once.ended(run["id"]))["status"] == "completed"
    assert target.count("/orders") == 1


async def test_auto_lets_run_what_no_rule_keeps_for_a_person(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    outcome = await asyncio.to_thread(
        called, {}, "run", "Do it", "--approve", "auto", *at(acting_once)
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert target.count("/orders") == 1


async def test_auto_leaves_a_mandatory_gate_to_a_person(
    start: Any, models: FakeModelServer, target: CountingTarget
) -> None:
    gates = '[{"tool": "http_request", "gate": "ask", "mandatory": true}]'
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    )
    async with start(models=models, http_allow=target.address, gates=gates) as product:
        outcome = await asyncio.to_thread(
            called, {}, "run", "Do it", "--approve", "auto", *at(product)
        )
        run = json.loads(outcome.stdout)
        assert (outcome.exit_code, run["status"]) == (3, "requires_action")
        assert target.count("/orders") == 0
        await waiting(product, run["id"])


async def test_a_run_that_fails_or_is_cut_short_says_so(
    modelled: Product, models: FakeModelServer
) -> None:
    models.add(*solo(gate="work"))
    models.event("work")
    going = asyncio.create_task(
        asyncio.to_thread(called, {}, "run", "Do it", "--quiet", *at(modelled))
    )
    while not (data := (await modelled.client.get("/v1/runs")).json()["data"]):  # noqa: ASYNC110 - the command creates it
        await asyncio.sleep(0.01)
    await modelled.client.post(f"/v1/runs/{data[0]['id']}/cancel", json={})
    outcome = await going
    assert (outcome.exit_code, json.loads(outcome.stdout)["status"]) == (4, "cancelled")
