"""Keys by the command, beside servers that run."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.processes import BOUND, Process, Service


def printed(process: Process) -> Any:
    """Return what a command printed as JSON."""
    assert process.ended() == 0, process.stderr
    return json.loads(process.stdout)


def ask(service: Service, secret: str | None = None) -> httpx.Response:
    """Ask a server for its runs."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return service.client.get("/v1/runs", headers=headers)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a server sees within seconds."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline


def test_a_running_server_takes_keys_and_lets_them_go(
    signalbox: StartProcess, serve: StartService, folder: Path
) -> None:
    """Made while it runs, a key closes it; it is listed with its use after a restart, and revoked."""
    service = serve()
    assert ask(service).status_code == 200
    made = signalbox("keys", "create", "--name", "ci", "--tenant", "acme", "--scope", "runs:read")
    assert made.ended() == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("sbx_")
    assert secret not in made.stderr
    until(lambda: ask(service).status_code == 401)
    assert ask(service, secret).status_code == 200
    body = {"task": "hello"}
    refused = service.client.post(
        "/v1/runs", json=body, headers={"authorization": f"Bearer {secret}"}
    )
    assert refused.json()["code"] == "forbidden"
    service.process.send(signal.SIGTERM)
    assert service.process.ended() == 0
    database = b"".join(path.read_bytes() for path in (folder / "data").glob("signalbox.db*"))
    assert secret.encode() not in database
    again = serve()
    assert ask(again).status_code == 401
    assert ask(again, secret).status_code == 200
    (row,) = printed(signalbox("keys", "list", "--json"))
    assert (row["name"], row["tenant"], row["scopes"]) == ("ci", "acme", ["runs:read"])
    assert secret.startswith(row["prefix"])
    assert row["last_used_at"] is not None
    assert "secret" not in row
    assert printed(signalbox("keys", "revoke", row["id"], "--json"))["revoked_at"]
    until(lambda: ask(again, secret).status_code == 401)
    assert "revoked" in ask(again, secret).json()["detail"]
    assert "revoked" in printed_lines(signalbox("keys", "list"))
    for known in (service, again):
        assert secret not in known.process.stderr


def printed_lines(process: Process) -> str:
    """Return what a command printed."""
    assert process.ended() == 0, process.stderr
    return process.stdout


def test_run_sends_its_key_to_a_server(signalbox: StartProcess, serve: StartService) -> None:
    """By environment; without one it says what is missing. Alone, it needs none."""
    made = printed(signalbox("keys", "create", "--name", "me", "--json"))
    alone = signalbox("run", "--quiet", "What is 6 * 7?")
    assert alone.ended() == 0, alone.stderr
    service = serve()
    url = ("run", "--quiet", "What is 6 * 7?", "--url", service.base_url)
    without = signalbox(*url)
    assert without.ended() == 1
    assert "SIGNALBOX_API_KEY" in without.stderr
    found = signalbox("run", "--quiet", "What is 6 * 7?", SIGNALBOX_API_KEY=made["secret"])
    assert printed(found)["status"] == "completed"
    given = signalbox(*url, "--api-key", made["secret"])
    assert printed(given)["status"] == "completed"
    assert made["secret"] not in service.process.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_no_other_address_is_served(signalbox: StartProcess, host: str) -> None:
    """The one line says which command makes a key; with one it serves."""
    line = signalbox("serve", "--port", "0", "--host", host).refused()
    assert "signalbox keys create" in line
    assert host in line


def test_with_a_key_other_addresses_are_served(
    signalbox: StartProcess, serve: StartService
) -> None:
    """Whoever comes there needs it too."""
    secret = printed(signalbox("keys", "create", "--name", "x", "--json"))["secret"]
    service = serve(SIGNALBOX_HOST="0.0.0.0")
    port = service.base_url.rpartition(":")[2]
    service.client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
    assert ask(service).status_code == 401
    assert ask(service, secret).status_code == 200


def test_production_is_not_served_without_keys(signalbox: StartProcess) -> None:
    """On no address at all."""
    line = signalbox("serve", "--port", "0", SIGNALBOX_ENV="production").refused()
    assert "signalbox keys create" in line


def test_keys_of_a_database_in_memory_are_refused(signalbox: StartProcess) -> None:
    """They would be gone when the command ends."""
    line = signalbox("keys", "create", "--name", "x", SIGNALBOX_DATABASE_URL="memory://").refused()
    assert "memory://" in line


def test_what_cannot_be_is_one_line(signalbox: StartProcess) -> None:
    """A key that is not there, and options that make no sense."""
    assert "key_1" in signalbox("keys", "revoke", "key_1").refused()
    for args in (("--tenant", "../x"), ("--scope", "root"), ("--expires-days", "-1")):
        process = signalbox("keys", "create", "--name", "x", *args)
        assert process.ended() == 2
        assert args[0] in process.stderr
        assert process.stdout == ""


def test_a_file_of_an_older_version_in_use_is_refused(
    signalbox: StartProcess, serve: StartService, folder: Path
) -> None:
    """Its tables are not changed under the process that has them."""
    serve()
    with sqlite3.connect(folder / "data" / "signalbox.db") as connection:
        connection.execute("UPDATE signalbox_schema SET version_num = '0009'")
    assert "older" in signalbox("keys", "create", "--name", "x").refused()
