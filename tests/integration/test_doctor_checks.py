"""What the doctor finds where something is wrong, each with the line that mends it, and no secret."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from domain.errors import ConfigurationError
from service.commands.doctor import NOT_TRIED, examine
from service.commands.doctor_database import database
from service.commands.doctor_local import folder, port, secrets, variables
from service.commands.doctor_network import langsmith, oidc, public_url, webhooks
from service.commands.findings import Finding, bounded
from service.settings import Settings, read_settings
from tests.fakes.http_target import CountingTarget
from tests.fakes.running import Product

SECRET = "sk-canary-0123456789abcd"


def set_to(**values: Any) -> Settings:
    return read_settings(**{"database_url": "memory://", "_env_file": None, **values})


def one_fault(findings: list[Finding]) -> Finding:
    """Return the one finding that something is to be mended, whose remedy is a sentence."""
    [fault] = [each for each in findings if each.level != "ok"]
    assert fault.fix
    assert fault.fix.endswith(".")
    assert fault.line() == f"[{fault.level}] {fault.subject}: {fault.text}\n       fix: {fault.fix}"
    assert all(each.fix is None for each in findings if each.level == "ok")
    return fault


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port at which nothing answers."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
async def target() -> AsyncIterator[CountingTarget]:
    async with CountingTarget() as server:
        yield server


@pytest.mark.may_block
def test_a_variable_that_is_nearly_one_is_to_be_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_PROT", "80")
    fault = one_fault(variables(set_to()))
    assert (fault.level, fault.subject) == ("warn", "settings")
    assert "SIGNALBOX_PROT" in fault.text
    assert fault.fix == "Rename it to SIGNALBOX_PORT."


@pytest.mark.may_block
def test_a_variable_like_no_other_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """That all settings begin alike makes none of them the one that was meant."""
    monkeypatch.setenv("SIGNALBOX_FOO", "1")
    assert one_fault(variables(set_to())).fix == "Remove it; .env.example has every setting."
    monkeypatch.delenv("SIGNALBOX_FOO")
    monkeypatch.setenv("SIGNALBOX_OPENAI_API_KEY", "sk-x")
    assert one_fault(variables(set_to())).fix == "Rename it to OPENAI_API_KEY."


class Contradiction(NamedTuple):
    values: dict[str, Any]
    text: str
    fix: str


CONTRADICTIONS = [
    Contradiction({"sandbox_socket": "/run/x"}, "does not use it", "SIGNALBOX_SANDBOX=remote"),
    Contradiction(
        {"keep_runs_days": 5},
        "SIGNALBOX_KEEP_EVENTS_DAYS=30",
        "Lower SIGNALBOX_KEEP_EVENTS_DAYS",
    ),
    Contradiction({"prices": "prices.yaml"}, "no model is", "SIGNALBOX_MODEL_STANDARD"),
    Contradiction({"LANGSMITH_API_KEY": SECRET}, "nothing is traced", "Set LANGSMITH_TRACING=true"),
]


@pytest.mark.may_block
@pytest.mark.parametrize("case", CONTRADICTIONS, ids=lambda case: case.fix)
def test_settings_that_contradict_each_other_are_named(case: Contradiction) -> None:
    given = {"keep_checkpoints_days": 1, **case.values}
    fault = one_fault(variables(set_to(**given)))
    assert case.text in fault.text
    assert case.fix in str(fault.fix)
    assert SECRET not in fault.line()


async def test_a_setting_that_cannot_be_is_a_fault_and_not_the_end() -> None:
    async def look() -> list[Finding]:
        raise ConfigurationError("SIGNALBOX_DISPATCH='queue' needs Postgres.")

    fault = one_fault(await bounded("settings", look()))
    assert (fault.level, "SIGNALBOX_DISPATCH" in fault.text) == ("fail", True)


async def test_what_hangs_is_given_up() -> None:
    async def look() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    fault = one_fault(await bounded("oidc", look(), seconds=0.01))
    assert (fault.subject, fault.level) == ("oidc", "warn")


def test_of_a_key_only_beginning_and_end_are_told() -> None:
    [finding] = secrets(set_to(OPENAI_API_KEY=SECRET, TAVILY_API_KEY="short"))
    assert "OPENAI_API_KEY sk-…abcd; TAVILY_API_KEY set;" in finding.text
    assert "canary" not in finding.text
    assert "short" not in finding.text


@pytest.mark.may_block
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    fault = one_fault(folder(set_to(data_dir=tmp_path / "file" / "data")))
    assert (fault.level, fault.subject) == ("fail", "data")
    assert "SIGNALBOX_DATA_DIR" in str(fault.fix)


@pytest.mark.may_block
def test_a_disk_that_is_nearly_full_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk cannot be filled in a portable way.
    monkeypatch.setattr("service.commands.doctor_local.disk_trouble", lambda _: "nearly full")
    fault = one_fault(folder(set_to(data_dir=tmp_path)))
    assert (fault.level, fault.subject) == ("warn", "disk")
    assert "Free some space" in str(fault.fix)


async def test_a_port_that_somebody_else_has_is_named(target: CountingTarget) -> None:
    number = int(target.address.rpartition(":")[2])
    fault = one_fault(await asyncio.to_thread(port, set_to(port=number)))
    assert (fault.level, fault.subject) == ("warn", "port")
    assert f"127.0.0.1:{number}" in fault.text
    assert "SIGNALBOX_PORT" in str(fault.fix)


async def test_a_port_at_which_our_own_server_answers_is_fine(product: Product) -> None:
    number = int(product.base_url.rpartition(":")[2])
    [finding] = await asyncio.to_thread(port, set_to(port=number))
    assert (finding.level, "a signalbox server answers" in finding.text) == ("ok", True)


async def test_the_database_is_described(tmp_path: Path) -> None:
    stored = await database(set_to(database_url=f"sqlite:///{tmp_path}/runs.db"))
    facts, keys = stored.findings
    assert (facts.level, keys.level) == ("ok", "ok")
    assert "takes writes; SQLite 3" in facts.text
    assert "MiB, tables 00" in facts.text


async def test_a_database_that_cannot_be_opened_is_a_fault() -> None:
    stored = await database(set_to(database_url="mysql://me:hunter2@db/x"))
    fault = one_fault(stored.findings)
    assert (fault.level, fault.subject) == ("fail", "database")
    assert "SIGNALBOX_DATABASE_URL" in str(fault.fix)
    assert "hunter2" not in fault.line()


@pytest.mark.parametrize("values", [{"env": "production"}, {"host": "0.0.0.0"}])
async def test_a_server_that_would_serve_nobody_wants_a_key(values: dict[str, Any]) -> None:
    fault = one_fault((await database(set_to(**values))).findings)
    assert (fault.level, fault.subject) == ("warn", "keys")
    assert "signalbox keys create" in str(fault.fix)


async def test_an_address_that_leads_nowhere_is_named(closed_port: int) -> None:
    fault = one_fault(await public_url(set_to(public_url=f"http://127.0.0.1:{closed_port}")))
    assert (fault.level, "ConnectError" in fault.text) == ("warn", True)
    assert "SIGNALBOX_PUBLIC_URL" in str(fault.fix)


async def test_an_address_that_leads_to_the_server_is_fine(product: Product) -> None:
    [finding] = await public_url(set_to(public_url=product.base_url))
    assert finding.level == "ok"


async def test_an_address_in_the_clear_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(url: str) -> int:
        return 200 if url == "http://signalbox.example/health/live" else 404

    # Of addresses in the clear tests reach only this machine's, which are fine.
    monkeypatch.setattr("service.commands.doctor_network._status_of", answers)
    fault = one_fault(await public_url(set_to(public_url="http://signalbox.example")))
    assert (fault.level, "is not https" in fault.text) == ("warn", True)
    assert "https://" in str(fault.fix)


async def test_an_issuer_without_keys_is_a_fault(target: CountingTarget) -> None:
    """Its address is told, and what is wrong with what it says."""
    rules = {"issuer": target.url("/").rstrip("/"), "audience": "signalbox"}
    fault = one_fault(await oidc(set_to(oidc=json.dumps(rules))))
    assert (fault.level, fault.subject) == ("fail", "oidc")
    assert ".well-known/openid-configuration" in fault.text
    assert "SIGNALBOX_OIDC" in str(fault.fix)


async def test_traces_that_cannot_be_sent_are_named(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setattr(
        "service.commands.doctor_network.get_api_url", lambda _: f"http://127.0.0.1:{closed_port}"
    )
    given = {"LANGSMITH_API_KEY": SECRET, "LANGSMITH_TRACING": True}
    fault = one_fault(await langsmith(set_to(**given)))
    assert (fault.level, fault.subject) == ("warn", "langsmith")
    assert "LANGSMITH_TRACING=false" in str(fault.fix)
    assert SECRET not in fault.line()


async def test_receivers_are_connected_to_and_only_their_hosts_are_told(
    target: CountingTarget, closed_port: int
) -> None:
    settings = set_to()
    good, gone = target.url("/secret"), f"http://127.0.0.1:{closed_port}/secret"
    [fine] = await webhooks(settings, [good])
    assert (fine.level, target.address in fine.text) == ("ok", True)
    fault = one_fault(await webhooks(settings, [good, gone]))
    assert "cannot be reached" in fault.text
    assert "signalbox webhooks forget" in str(fault.fix)
    assert target.count("/secret") == 0
    assert "secret" not in fault.text + fine.text


@pytest.mark.may_block
async def test_offline_nothing_beyond_this_machine_is_asked(tmp_path: Path) -> None:
    given = {"sandbox": "off", "data_dir": tmp_path, "search_keyless": False, "port": 0}
    rules = {"issuer": "https://issuer.invalid", "audience": "signalbox"}
    findings = await examine(set_to(oidc=json.dumps(rules), **given), offline=True)
    skipped = {each.subject for each in findings if each.text == NOT_TRIED}
    assert skipped == {"model", "public_url", "oidc", "langsmith", "webhooks"}
    assert {each.subject for each in findings} > {"version", "settings", "database", "agents"}
    assert not [each for each in findings if each.level == "fail"]
