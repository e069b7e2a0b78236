"""Commands that several people give at once, and which server they ask."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import tempfile
from pathlib import Path

import pytest

from domain.errors import ConfigurationError, RunFailedError
from service.commands.approving import approve_at
from service.commands.exits import DONE
from service.commands.own_folder import LOCK, own_folder
from service.commands.run_views import Server, watch_run
from service.settings import read_settings
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.people import start_run
from tests.integration.test_client_bounds import ENDLESS, beginning
from tests.integration.test_commands import at, called, one_call


async def test_of_two_who_decide_at_once_one_is_told_who_has(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    approval = await one_call(acting_once, models, target)
    server = Server(read_settings(_env_file=None), acting_once.base_url)
    both = [
        approve_at(server, approval["id"], {"type": type_}, json_=False)
        for type_ in ("approve", "reject")
    ]
    won, lost = sorted(await asyncio.gather(*both, return_exceptions=True), key=lambda o: o != DONE)
    assert won == DONE
    assert isinstance(lost, RunFailedError)
    run = await acting_once.ended(approval["run_id"])
    stands = (await acting_once.client.get(f"/v1/approvals/{approval['id']}")).json()["decision"]
    assert f"decided already: {stands['type']!r} by {stands['by']!r}" in lost.detail
    assert target.count("/orders") == (stands["type"] == "approve")
    assert run["status"] == "completed"
    same = await asyncio.to_thread(
        called,
        {},
        "approve",
        approval["id"],
        "--yes" if stands["type"] == "approve" else "--no",
        *at(acting_once),
    )
    assert same.stderr == f"{approval['id']}: {stands['type']} by {stands['by']}\n"


@pytest.mark.may_block  # it reads settings, in a process that does nothing else
async def test_the_server_is_the_one_that_the_environment_names(product: Product) -> None:
    """As with the Python client; what is said on the line comes before it."""
    named = {"SIGNALBOX_URL": product.base_url}
    outcome = await asyncio.to_thread(called, named, "run", "What is 6 * 7?", "--json")
    assert outcome.exit_code == 0, outcome
    assert f"accepted by {product.base_url}" in outcome.stderr
    run_id = json.loads(outcome.stdout.splitlines()[-1])["id"]
    listed = await asyncio.to_thread(called, named, "runs", "list", "--json")
    assert [each["id"] for each in json.loads(listed.stdout)] == [run_id]
    nowhere = {"SIGNALBOX_URL": "http://127.0.0.1:1"}
    there = await asyncio.to_thread(called, nowhere, "runs", "show", run_id, *at(product))
    assert there.exit_code == 0
    away = await asyncio.to_thread(called, nowhere, "runs", "list")
    assert "127.0.0.1:1 cannot be reached" in str(away.exception)
    recorded = await asyncio.to_thread(called, named, "run", "hi", "--record", "x.jsonl")
    assert isinstance(recorded.exception, ConfigurationError)
    assert "SIGNALBOX_URL unset" in str(recorded.exception)


async def test_ten_watch_one_run(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = await start_run(product, "What is 6 * 7?")
    server = Server(read_settings(_env_file=None), product.base_url)
    codes = await asyncio.gather(
        *(watch_run(server, run_id, json_=False, quiet=True) for _ in range(10))
    )
    assert codes == [DONE] * 10
    assert capsys.readouterr().out.count("6 * 7 = 42") == 10


@pytest.mark.may_block  # in a process that does nothing else
async def test_an_export_takes_the_place_of_no_device(product: Product, tmp_path: Path) -> None:
    run = await product.finished("What is 2 + 2?")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, Path("/dev/full")):
        args = ("runs", "export", run["id"], "-o", str(place), *at(product))
        outcome = await asyncio.to_thread(called, {}, *args)
        assert isinstance(outcome.exception, ConfigurationError)
        assert "is no file" in str(outcome.exception)
        assert not place.is_file()


async def test_an_answer_that_never_ends_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.commands.client.CALL_SECONDS", 0.1)
    async with beginning(ENDLESS % 200, trickles=True) as url:
        outcome = await asyncio.to_thread(called, {}, "runs", "list", "--server", url)
    assert "not whole in 0.1 s" in str(outcome.exception)


@pytest.mark.may_block  # in a process that does nothing else
def test_a_demo_that_nobody_could_decide_does_not_begin() -> None:
    outcome = called({}, "demo", "--once")
    assert isinstance(outcome.exception, ConfigurationError)
    assert "--approve auto or deny" in str(outcome.exception)


def test_what_a_killed_command_has_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what is used, was to be kept, or is somebody else's affair."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("box-killed", "box-used", "box-kept", "other"):
        (tmp_path / name).mkdir()
        if name != "box-kept":
            (tmp_path / name / LOCK).touch()
    (tmp_path / "box-link").symlink_to(tmp_path / "other")
    with (tmp_path / "box-used" / LOCK).open() as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        with own_folder("box-") as mine, own_folder("box-") as next_to_it:
            assert mine.is_dir()
            assert next_to_it.is_dir()
            left = {each.name for each in tmp_path.iterdir()} - {mine.name, next_to_it.name}
    assert left == {"box-used", "box-kept", "box-link", "other"}
    assert not mine.exists()


async def test_commands_go_through_a_proxy_to_other_machines_alone(product: Product) -> None:
    """And say where a key could be read on the way."""
    async with CountingTarget() as proxy:
        env = {"HTTP_PROXY": proxy.url(""), "SIGNALBOX_API_KEY": "sk-hidden", "NO_PROXY": ""}
        far = await asyncio.to_thread(called, env, "runs", "list", "--server", "http://box.example")
        assert proxy.count("/v1/runs") == 1, far
        assert far.stderr.startswith("The API key goes to http://box.example as it is")
        assert "sk-hidden" not in far.stderr
        near = await asyncio.to_thread(called, env, "runs", "list", *at(product))
        assert (near.exit_code, "API key" in near.stderr) == (0, False), near
        assert len(proxy.requests) == 1
    for wrong in ("sk://me:hidden@x", "socks5://me:hidden@127.0.0.1:1", "http://me:hidden@x:y"):
        env = {"HTTPS_PROXY": wrong, "NO_PROXY": ""}
        far = await asyncio.to_thread(called, env, "runs", "list", "--server", "https://b.example")
        assert isinstance(far.exception, ConfigurationError), far.exception
        assert "is no proxy" in str(far.exception)
        assert "hidden" not in str(far.exception)
