"""The policy table: which calls run, which ask whom and for how long, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from domain.errors import ConfigurationError
from service.bootstrap import open_services
from service.settings import read_settings
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.integration.conftest import Start
from tests.integration.people import (
    asked,
    decide,
    decided,
    get,
    pending,
    post,
    results,
    start_run,
    turns,
    waiting,
)
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import decisions

SANDBOX = "auto"

Calls = Callable[[CountingTarget], list[tuple[str, dict[str, Any]]]]

PRINT: Final = ("run_python", {"code": "print(6 * 7)"})
WRITE: Final = ("write_file", {"path": "notes.txt", "content": "four"})
READ: Final = ("read_file", {"path": "notes.txt"})


def put(target: CountingTarget, path: str, body: str = "{}") -> tuple[str, dict[str, Any]]:
    """Return a call that asks where no rule says otherwise."""
    return "http_request", {"method": "PUT", "url": target.url(path), "body": body}


def one_turn(*calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Return the script of a coder that makes some calls at once, and says that it did."""
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(*calls), Reply(text="Sent.")),
    ]


async def open_and_close(folder: Path, **given: Any) -> None:
    """Open the services with settings, as the server does before it listens."""
    values = {"database_url": "memory://", "data_dir": folder, "_env_file": None, **given}
    async with open_services(read_settings(**values)):
        pass


def urls(approvals: list[dict[str, Any]]) -> list[str]:
    """Return the paths of the requests that wait."""
    return [each["action"]["args"]["url"].rpartition("/")[2] for each in approvals]


async def test_the_first_rule_that_fits_a_call_counts(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """Method, host, path and size tell calls apart; behind the rules stand the built-in ones."""
    rules = [
        {"tool": "http_request", "when": {"path": "/never*"}, "gate": "deny"},
        {"tool": "http_request", "when": {"path": "/free*", "size_over": 10}, "gate": "ask"},
        {"tool": "http_request", "when": {"path": ["/free*", "/open"]}, "gate": "auto"},
        {"tool": "http_request", "when": {"method": "get", "path": "/secret"}, "gate": "ask"},
        {"tool": "http_request", "when": {"host": "*.example.com:443"}, "gate": "auto"},
    ]
    calls = [
        post(target, "/never-this"),
        post(target, "/free-big", "a" * 11),
        post(target, "/free-small", "a" * 10),
        put(target, "/open"),
        get(target, "/secret"),
        get(target, "/public"),
        post(target, "/other"),
    ]
    models.add(*one_turn(*calls))
    allow = f"{target.address},api.example.com:443"
    async with start(models=models, gates=json.dumps(rules), http_allow=allow) as product:
        run_id = await start_run(product)
        await waiting(product, run_id)
        found = await pending(product, run_id)
        assert sorted(urls(found)) == ["free-big", "other", "secret"]
        sent = [{"approval_id": each["id"], "type": "approve"} for each in found]
        answer = await product.client.post(f"/v1/runs/{run_id}/decisions", json={"decisions": sent})
        assert answer.status_code == 200
        run = await product.ended(run_id)
    assert run["status"] == "completed"
    told = results(models.requests[-2])
    assert told[0] == "The policy of this server denies this call of http_request."
    assert all("HTTP 200" in each for each in told[1:])
    assert sorted(request.path for request in target.requests) == [
        *("/free-big", "/free-small", "/open", "/other", "/public", "/secret"),
    ]
    assert set(target.keys().values()) == {1}
    assert len(run["actions"]) == 6


async def test_no_edit_leads_to_a_call_that_is_denied(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    rules = [{"tool": "http_request", "when": {"path": "/never*"}, "gate": "deny"}]
    models.add(*one_turn(post(target, "/orders")))
    async with start(models=models, gates=json.dumps(rules), http_allow=target.address) as product:
        run_id = await start_run(product)
        approval = await asked(product, run_id)
        name, args = post(target, "/never-this")
        edit = {"type": "edit", "edited_action": {"name": name, "args": args}}
        problem = assert_problem(await decide(product, approval, **edit), "validation-error")
        assert pointers(problem) == ["/edited_action/args"]
        assert "denies" in problem["detail"]
        await decided(product, approval, type="reject")
        await product.ended(run_id)
    assert not target.requests


@pytest.mark.parametrize(
    ("mode", "asks"),
    [("policy", ["http_request"]), ("always", ["http_request", "write_file"]), ("never", [])],
)
async def test_a_run_says_when_it_wants_to_ask(
    start: Start, models: FakeModelServer, target: CountingTarget, mode: str, asks: list[str]
) -> None:
    """What changes nothing is asked about in none of the modes."""
    models.add(*one_turn(WRITE, post(target, "/orders"), get(target, "/read"), ("list_files", {})))
    async with start(models=models, http_allow=target.address) as product:
        run_id = await start_run(product, approvals={"mode": mode})
        if asks:
            await waiting(product, run_id)
        for approval in await pending(product, run_id):
            asks.remove(approval["tool"])
            await decided(product, approval, type="approve")
        assert not asks
        run = await product.ended(run_id)
        receipt = (await product.client.get(f"/v1/runs/{run_id}/receipt")).json()
    assert run["status"] == "completed"
    assert receipt["approvals_mode"] == mode
    assert [target.count("/orders"), target.count("/read")] == [1, 1]


async def test_a_mandatory_gate_is_lifted_by_nobody(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """Neither by `approvals.mode` nor by an approval for the rest of the run."""
    rules = [
        {"tool": "http_request", "when": {"path": "/pay"}, "gate": "ask", "mandatory": True},
    ]
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(post(target, "/note"), post(target, "/pay")),
            Reply.calls(post(target, "/note"), post(target, "/pay")),
            Reply(text="Sent."),
        ),
    )
    async with start(models=models, gates=json.dumps(rules), http_allow=target.address) as product:
        run_id = await start_run(product)
        await waiting(product, run_id)
        for approval in await pending(product, run_id):
            await decided(product, approval, type="approve", remember="run")
        approval = await asked(product, run_id)
        assert urls([approval]) == ["pay"]
        await decided(product, approval, type="approve", remember="run")
        assert (await product.ended(run_id))["status"] == "completed"
        other = await start_run(product, approvals={"mode": "never"})
        for _ in range(2):
            approval = await asked(product, other)
            assert urls([approval]) == ["pay"]
            await decided(product, approval, type="reject")
        await product.ended(other)
    assert [target.count("/note"), target.count("/pay")] == [4, 2]


async def test_an_operator_has_programs_and_files_asked_about(
    start: Start, models: FakeModelServer
) -> None:
    """Programs even where the caller wants to be asked nothing."""
    rules = [
        {"tool": "run_python", "gate": "ask", "mandatory": True},
        {"tool": "write_file", "gate": "ask"},
    ]
    models.add(*one_turn(PRINT, WRITE, ("list_files", {})))
    async with start(models=models, gates=json.dumps(rules)) as product:
        run_id = await start_run(product)
        await waiting(product, run_id)
        found = await pending(product, run_id)
        assert sorted(each["tool"] for each in found) == ["run_python", "write_file"]
        for approval in found:
            await decided(product, approval, type="approve", remember="run")
        await product.ended(run_id)
        assert "42" in results(models.requests[-2])[0]
        other = await start_run(product, approvals={"mode": "never"})
        approval = await asked(product, other)
        assert approval["tool"] == "run_python"
        await decided(product, approval, type="reject", message="not here")
        run = await product.ended(other)
        assert run["status"] == "completed"
        told = results(models.requests[-2])
        assert told[0] == "A person refused this call: not here"
        tools = (await product.client.get("/v1/tools")).json()["data"]
    gates = {tool["name"]: tool["gate"] for tool in tools}
    assert (gates["run_python"], gates["write_file"]) == ("ask", "ask")


async def test_each_tool_brings_its_own_gates(start: Start) -> None:
    """The same ones wherever the server runs: what only touches the run's own folder asks nobody."""
    async with start() as product:
        listing = (await product.client.get("/v1/tools")).json()
    gates = {tool["name"]: tool["gate"] for tool in listing["data"]}
    asking = {name for name, gate in gates.items() if gate != "auto"}
    assert asking == {"http_request", "publish_file", "ask_user"}
    assert {tool["effect"] for tool in listing["data"] if tool["name"] in asking} == {
        *("external", "none"),
    }


async def test_a_host_that_is_visibly_not_public_asks_nobody(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """Nor does what could not be sent: a person is not asked about what cannot be."""
    port = target.address.rpartition(":")[2]
    calls = [
        ("http_request", {"method": "POST", "url": url, "body": "{}"})
        for url in (f"http://localhost:{port}/", "https://127.0.0.1/", target.url("/a/../b"))
    ]
    models.add(*one_turn(*calls, ("http_request", {"method": "BREW", "url": "x"})))
    async with start(models=models, http_allow=target.address) as product:
        run = await product.finished("Do it", approvals={"mode": "always"})
    assert (run["status"], run["attempt"], run["actions"]) == ("completed", 1, [])
    told = results(models.requests[-2])
    assert f"localhost:{port} is not a host that can be reached" in told[0]
    assert "SIGNALBOX_HTTP_ALLOW" in told[1]
    assert "path of the url" in told[2]
    assert "/method" in told[3]
    assert not target.requests


async def test_tools_are_listed_with_their_gates(start: Start, tmp_path: Path) -> None:
    """From a file as from the variable itself."""
    table = tmp_path / "gates.toml"
    table.write_text(
        '[[gates]]\ntool = "write_file"\ngate = "deny"\n'
        '[[gates]]\ntool = "http_request"\nwhen.path = "/pay"\ngate = "ask"\nmandatory = true\n'
        'by = "other"\nexpires_seconds = 60\non_expiry = "fail"\n',
        encoding="utf-8",
    )
    async with start(gates=str(table)) as product:
        listing = (await product.client.get("/v1/tools")).json()
    tools = {tool["name"]: tool for tool in listing["data"]}
    assert {name: tool["gate"] for name, tool in tools.items()} == {
        "search_documents": "auto",
        "web_search": "auto",
        "fetch_url": "auto",
        "run_python": "auto",
        "describe_table": "auto",
        "read_file": "auto",
        "write_file": "deny",
        "list_files": "auto",
        "publish_file": "ask",
        "http_request": "rules",
        "ask_user": "ask",
    }
    assert tools["write_file"]["rules"][0]["gate"] == "deny"
    first, *built_in = tools["http_request"]["rules"]
    assert first == {
        "tool": "http_request",
        "when": {"method": None, "host": None, "path": ["/pay"], "size_over": None},
        "gate": "ask",
        "mandatory": True,
        "by": "other",
        "expires_seconds": 60.0,
        "on_expiry": "fail",
    }
    assert [rule["gate"] for rule in built_in] == ["auto", "ask"]
    assert (tools["http_request"]["effect"], tools["ask_user"]["rules"]) == ("external", [])


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        ('[{"tool": "fly", "gate": "ask"}]', "names no tool; the tools are search_doc"),
        ('[{"tool": "ask_user", "gate": "auto"}]', "a tool that always asks"),
        ('[{"tool": "*", "gate": "maybe"}]', "SIGNALBOX_GATES[0].gate='maybe' cannot be used"),
        ('[{"tool": "*"}]', "SIGNALBOX_GATES[0].gate"),
        ('[{"tool": "*", "gate": "ask", "unless": 1}]', "SIGNALBOX_GATES[0].unless='1' cannot"),
        ('[{"tool": "*", "gate": "ask", "when": {"verb": "GET"}}]', "[0].when.verb='GET'"),
        ('[{"tool": "*", "gate": "ask", "when": {"path": []}}]', "[0].when.path='[]'"),
        ('[{"tool": "*", "gate": "ask", "expires_seconds": 0}]', "[0].expires_seconds='0'"),
        ('[{"tool": "*", "gate": "ask"}', "this is no JSON array of rules"),
        ('{"tool": "*"}', "name a TOML file"),
        ("no/such/file.toml", "name a TOML file with [[gates]] tables"),
        ("FOLDER", "name a TOML file with [[gates]] tables"),
        ("FOLDER/other.toml", "the file has ['rules']"),
        ("FOLDER/broken.toml", "name a TOML file with [[gates]] tables"),
        ("FOLDER/binary.toml", "name a TOML file with [[gates]] tables"),
    ],
)
async def test_a_bad_rule_stops_the_start_with_one_line(
    tmp_path: Path, gates: str, says: str
) -> None:
    (tmp_path / "other.toml").write_text("rules = []\n")
    (tmp_path / "broken.toml").write_text("[[gates\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(ConfigurationError) as stopped:
        await open_and_close(tmp_path, gates=gates.replace("FOLDER", str(tmp_path)))
    assert "SIGNALBOX_GATES" in str(stopped.value)
    assert says in str(stopped.value)
    assert "\n" not in str(stopped.value)


async def test_a_rule_says_who_decides_and_how_long_it_has(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> None:
    """The one who created the run may not decide where another one has to."""
    rule: dict[str, Any] = {"tool": "http_request", "when": {"path": "/pay"}, "gate": "ask"}
    rules = [{**rule, "by": "other", "expires_seconds": 60, "on_expiry": "fail"}]
    models.add(*one_turn(post(target, "/pay"), post(target, "/note")))
    settings: dict[str, Any] = {"approval_seconds": 0, "http_allow": target.address}
    async with start(models=models, gates=json.dumps(rules), **settings) as product:
        run_id = await start_run(product)
        await waiting(product, run_id)
        pay, note = sorted(
            await pending(product, run_id), key=lambda each: urls([each])[0] != "pay"
        )
        assert (pay["on_expiry"], note["on_expiry"]) == ("fail", "reject")
        left = datetime.fromisoformat(pay["expires_at"]) - datetime.fromisoformat(pay["created_at"])
        assert (left.total_seconds(), note["expires_at"]) == (60, None)
        for verb in ({"type": "approve"}, {"type": "reject"}):
            problem = assert_problem(await decide(product, pay, **verb), "forbidden")
            assert problem["approval"] == pay
        name, args = post(target, "/pay")
        edit = {"type": "edit", "edited_action": {"name": name, "args": args}}
        problem = assert_problem(await decide(product, note, **edit), "validation-error")
        assert "somebody else" in problem["detail"]
        assert [each["status"] for each in await pending(product, run_id)] == ["pending"] * 2
        await decided(product, note, type="approve")
        run = await waiting(product, run_id)
        assert run["required_action"]["approval_ids"] == [pay["id"]]
    assert not target.requests
