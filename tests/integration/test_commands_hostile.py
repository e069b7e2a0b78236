"""Commands before a server that means it no good, and with arguments that nobody should give."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click
import pytest

from domain.errors import ConfigurationError, RunFailedError
from service.commands.client import connected
from service.commands.deciding import readable
from service.commands.exits import FAILED, USAGE, carry_out
from service.commands.progress import Progress
from service.commands.run import _print_line  # its one way to stdout
from service.commands.run_views import print_json
from service.commands.saving import save_artifacts
from tests.fakes.http_target import CountingTarget
from tests.fakes.running import Product
from tests.integration.test_client_hostile import DEEP, answer
from tests.integration.test_client_streams import saying
from tests.integration.test_commands import at, called

JSON = "content-type: application/json"


@pytest.mark.parametrize(
    "body", [DEEP, b'{"id": 1, "data": [1]}', b'{"id": "x", "data": {}}', b"[]", b"<html>", b"\xff"]
)
@pytest.mark.parametrize(
    "command", ["runs list", "runs show run_1", "runs history run_1", "approve apr_1", "run hi"]
)
async def test_what_is_no_signalbox_is_a_sentence(command: str, body: bytes) -> None:
    async with saying(*[answer(200, body, JSON)] * 4) as url:
        outcome = await asyncio.to_thread(called, {}, *command.split(), "--server", url)
    assert isinstance(outcome.exception, RunFailedError), outcome.exception


@pytest.mark.parametrize("body", [DEEP, b"[]", b'{"title": 1}'])
async def test_a_refusal_that_is_no_problem_is_a_sentence(body: bytes) -> None:
    async with saying(*[answer(400, body, JSON)] * 4) as url:
        for command in ("runs list", "run hi"):
            outcome = await asyncio.to_thread(called, {}, *command.split(), "--server", url)
            assert isinstance(outcome.exception, RunFailedError), outcome.exception
            assert "HTTP 400" in outcome.exception.detail


@pytest.mark.may_block  # in a process that does nothing else
async def test_a_page_of_a_proxy_is_no_export(tmp_path: Path) -> None:
    page = answer(200, b"<html>Log in", "content-type: text/html")
    file = tmp_path / "run.json"
    async with saying(page) as url:
        args = ("runs", "export", "run_1", "-o", str(file), "--server", url)
        outcome = await asyncio.to_thread(called, {}, *args)
    assert "no Signalbox" in str(outcome.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.may_block  # in a process that does nothing else
async def test_an_export_follows_no_link_that_somebody_has_put_there(
    product: Product, tmp_path: Path
) -> None:
    run = await product.finished("What is 2 + 2?")
    victim, file = tmp_path / "victim", tmp_path / "run.json"
    victim.write_text("mine")
    (tmp_path / ".run.json.part").symlink_to(victim)
    args = ("runs", "export", run["id"], "-o", str(file), *at(product))
    outcome = await asyncio.to_thread(called, {}, *args)
    assert outcome.exit_code == 0, outcome
    assert victim.read_text() == "mine"
    assert json.loads(file.read_text())["run"]["id"] == run["id"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hunter2@127.0.0.1:1",
        "http://me:hun/ter2@127.0.0.1:1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:1?key=1",
        "http://",
        "http://\udcff",
    ],
)
@pytest.mark.parametrize("command", ["runs list", "runs show run_1", "approve", "run hi"])
def test_an_address_that_is_none_is_refused_at_once(command: str, address: str) -> None:
    """Also where it would lead somewhere: a password in it would take the key's place."""
    outcome = called({}, *command.split(), "--server", address)
    assert isinstance(outcome.exception, ConfigurationError), outcome.exception
    assert "is no address" in str(outcome.exception)
    assert "ter2" not in str(outcome.exception)


async def test_a_key_goes_to_no_other_place() -> None:
    async with CountingTarget() as other:
        away = answer(307, b"", f"location: {other.url('/v1/runs')}")
        for command in ("runs list", "run hi", "runs export run_1", "approve"):
            async with saying(away) as url:
                env = {"SIGNALBOX_API_KEY": "sk-secret"}
                outcome = await asyncio.to_thread(called, env, *command.split(), "--server", url)
            assert "HTTP 307" in str(outcome.exception)
            assert "sk-secret" not in str(outcome.exception)
        assert other.requests == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            RunFailedError("T\x1b]0;x\x07\u202e\x9b2J\nsignalbox: all is well"),
            FAILED,
            r"\x1b]0;x\x07",
        ),
        (ConfigurationError("first\nsecond \x1b[2J"), USAGE, "first\nsecond \\x1b[2J"),
        (UnicodeEncodeError("utf-8", "apr_\udcff", 4, 5, "no"), USAGE, r"apr_\udcff"),
    ],
)
def test_a_fault_hides_nothing_and_forges_no_line(
    error: Exception,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["signalbox"])
    assert carry_out(failing) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "\nsignalbox:" not in shown


def test_json_hides_nothing_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"output": "ä 🚦 a\x9b2Jb\u202ec\u200bd\U000e0041e\x7f\ud800", "n": [1, "\n\t"]}
    print_json(document)
    shown = capsys.readouterr().out
    assert json.loads(shown) == document
    assert "ä 🚦" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)
    _print_line(document)
    assert json.loads(capsys.readouterr().out) == document


def test_a_comment_ends_where_the_program_says() -> None:
    """What is no end of a line to a program is none to who approves it."""
    for end in ("\u2028", "\x0c", "\x85", "\x1c", "\r"):
        code = f"# harmless{end}check_first()\nrun()\n"
        assert len(list(readable({"code": code}))) == 3
    assert list(readable({"code": "a\r\nb"})) == ["code:", "  a", "  b"]
    assert list(readable({"code": ""})) == ["code: "]


async def test_names_of_files_that_are_none(product: Product, tmp_path: Path) -> None:
    """Each is said, and the next one is saved all the same."""
    names = [
        "../../out",
        "/etc/x",
        "a\0b",
        "\ud800",
        ".ssh/authorized_keys",
        "x\x1b[2J",
        "n" * 300,
        "",
    ]
    one = {"media_type": "a", "size": 1, "sha256": "0" * 64, "agent": "coder", "url": "/"}
    page = json.dumps({"data": [{**one, "name": name} for name in names]}).encode()
    out = tmp_path / "out"
    out.mkdir()
    files = [answer(200, b"%d" % number) for number in range(len(names))]
    async with saying(answer(200, page, JSON), *files) as url, connected(url, None) as client:
        assert not await save_artifacts(client, "run_1", out, Progress(quiet=True))
    assert not (tmp_path.parent / "out").exists()
    found = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    assert len(found) == len(names) - 1
    assert not any(
        part.startswith(".") or not part.isprintable() for p in found for part in p.parts
    )


@pytest.mark.may_block  # it reads settings, in a process that does nothing else
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hun/ter2@db/x",
        "postgresql://me:hun@ter2@db/x",
        "postgresql://db/x?sslpassword=ter2&a=b",
        "mysql://me:hun/ter2@db/x",
    ],
)
def test_settings_show_no_password_wherever_it_stands(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for args in (("config", "--set"), ("config", "--set", "--json"), ("config", "check")):
        outcome = called({"SIGNALBOX_DATABASE_URL": url}, *args)
        assert "ter2" not in outcome.output, args
