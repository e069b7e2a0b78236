"""What a client is made with, and what it refuses to be made with."""

from __future__ import annotations

import ast
import sys
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

import signalbox
from signalbox import AsyncSignalbox, ConfigurationError, Decision, Retries, Signalbox
from signalbox.flows import Answer
from signalbox.options import budget_body, run_body
from signalbox.sending import retry_after, written


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Signalbox() as client:
        assert client.base_url == "http://127.0.0.1:8000"
    monkeypatch.setenv("SIGNALBOX_URL", "https://box.example/below/")
    monkeypatch.setenv("SIGNALBOX_API_KEY", "sbx_secret")
    with Signalbox() as client:
        assert repr(client) == "Signalbox('https://box.example/below/')"
    with Signalbox("http://127.0.0.1:1") as client:
        assert repr(client) == "Signalbox('http://127.0.0.1:1')"


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("localhost:8000", None, "is no address"),
        ("ftp://host", None, "is no address"),
        ("http://host?x=1", None, "is no address"),
        ("http://host:port", None, "cannot be read"),
        ("http://host:99999", None, "is no address"),
        ("http://\udcff", None, "cannot be read"),
        ("http://me:hidden-one@host", None, "has a name or password"),
        ("http://host", "hidden one", "has characters"),
        ("http://host", "hiddené", "has characters"),
        ("http://host", "hidden\n", "has characters"),
    ],
)
@pytest.mark.parametrize("kind", [Signalbox, AsyncSignalbox])
def test_what_cannot_be_is_refused_without_showing_it(
    kind: type, url: str, key: str | None, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        kind(url, key)
    assert "hidden" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_proxy_that_cannot_be_one_is_said(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "sk://me:hidden@x")

    async def ask() -> None:
        if kind == "sync":
            Signalbox("http://box.example")
        await AsyncSignalbox("http://box.example").info()

    with pytest.raises(ConfigurationError, match="no proxy") as refused:
        await ask()
    assert "hidden" not in str(refused.value)
    with Signalbox("http://127.0.0.1:9"):
        pass  # it is not for servers on this machine


def test_it_needs_httpx_and_pydantic_only() -> None:
    allowed = {"httpx", "pydantic", "signalbox", *sys.stdlib_module_names}
    folder = Path(signalbox.__file__).parent
    imported = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level
                imported.add(str(node.module).partition(".")[0])
    assert imported <= allowed
    assert (folder / "py.typed").is_file()


def test_options_are_written_as_the_api_reads_them() -> None:
    options = {"approvals": "always", "webhook": "https://h", "tags": ("a",), "agents": None}
    assert run_body("Do it", {**options, "cache": False}) == {
        "task": "Do it",
        "approvals": {"mode": "always"},
        "webhook": {"url": "https://h"},
        "tags": ["a"],
        "cache": False,
    }
    budget = {"max_cost_usd": 1e-7, "max_tokens": None, "per_agent": {"a": {"max_cost_usd": "1"}}}
    assert budget_body(budget) == {**budget, "max_cost_usd": "0.0000001"}
    assert budget_body({"max_cost_usd": Decimal("2.50")}) == {"max_cost_usd": "2.50"}
    assert written({"a": True, "b": None, "c": 1}) == {"a": "true", "c": "1"}


def test_decisions_are_written_as_the_api_reads_them() -> None:
    assert Decision.approve(remember=True).body() == {"type": "approve", "remember": "run"}
    assert Decision.reject().body() == {"type": "reject"}
    assert Decision.respond("Yes").body() == {"type": "respond", "message": "Yes"}
    raised = Decision.raise_budget({"max_cost_usd": 2}).body()["edited_action"]
    assert raised == {"name": "raise_budget", "args": {"max_cost_usd": "2"}}


def test_pauses_grow_up_to_a_bound() -> None:
    retries = Retries(first_pause=1.0, longest_pause=4.0)
    for failures, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (50, 4.0), (5000, 4.0)):
        assert longest / 2 <= retries.pause(failures) <= longest


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_when_to_come_back_is_read(value: str, seconds: float | None) -> None:
    answer = Answer(status=503, headers=httpx.Headers({"retry-after": value}))
    assert retry_after(answer) == seconds
