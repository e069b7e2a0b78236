"""The policy table, judged call by call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.errors import ConfigurationError
from domain.gates import GateRule
from tools.gates import Exposure, Gates, make_gates, misunderstanding
from tools.knowledge import Knowledge
from tools.registry import Toolbox, build_toolbox
from tools.sandbox.unsafe_local import UnsafeLocal

HOST = "billing.example.com:443"


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    knowledge = Knowledge(tmp_path / "i.db", None)
    return build_toolbox(knowledge=knowledge, sandbox=UnsafeLocal(), http_allow=[HOST])


def gates(toolbox: Toolbox, *rules: dict[str, Any]) -> Gates:
    parsed = [GateRule.model_validate(rule) for rule in rules]
    return make_gates(parsed, toolbox)


@pytest.mark.parametrize("path", ["reports/a", "./reports/a", "reports//a", ".//reports/./a"])
def test_no_spelling_of_a_file_passes_its_rule(toolbox: Toolbox, path: str) -> None:
    table = gates(toolbox, {"tool": "write_file", "when": {"path": "reports/*"}, "gate": "deny"})
    args = {"path": path, "content": ""}
    assert table.judge(toolbox.get("write_file"), args, mode="policy").gate == "deny"


@pytest.mark.parametrize("host", [HOST, "Billing.Example.com:443", "*.example.com:443"])
def test_hosts_are_compared_in_small_letters(toolbox: Toolbox, host: str) -> None:
    table = gates(toolbox, {"tool": "http_request", "when": {"host": host}, "gate": "deny"})
    args = {"method": "get", "url": "https://BILLING.example.com/v1"}
    assert table.judge(toolbox.get("http_request"), args, mode="never").gate == "deny"


@pytest.mark.parametrize(
    ("tool", "when"),
    [
        ("http_request", {"host": "billing.example.com"}),
        ("http_request", {"host": "https://billing.example.com:443"}),
        ("http_request", {"path": "/v1/ä b"}),
        ("http_request", {"path": "/v1/%c3%a4"}),
        ("http_request", {"path": "v1/*"}),
        ("write_file", {"path": "/reports/*"}),
        ("write_file", {"path": "./reports/*"}),
        ("run_python", {"path": "*"}),
        ("read_file", {"size_over": 1}),
        ("list_files", {"host": HOST}),
        ("*", {"host": "billing.example.com"}),
    ],
)
def test_a_rule_that_can_never_fit_stops_the_start(
    toolbox: Toolbox, tool: str, when: dict[str, Any]
) -> None:
    """Otherwise one that denies would let everything pass unseen."""
    with pytest.raises(ConfigurationError, match="SIGNALBOX_GATES cannot be used: rule 1"):
        gates(toolbox, {"tool": tool, "when": when, "gate": "deny"})


@pytest.mark.parametrize("mode", ["policy", "never"])
def test_who_must_not_decide_cannot_have_nobody_decide(toolbox: Toolbox, mode: Any) -> None:
    table = gates(toolbox, {"tool": "http_request", "gate": "ask", "by": "other"})
    args = {"method": "POST", "url": f"https://{HOST}/"}
    ruling = table.judge(toolbox.get("http_request"), args, mode=mode, remembered={"http_request"})
    assert (ruling.gate, ruling.by, ruling.mandatory) == ("ask", "other", True)


def test_a_question_has_no_terms_of_a_rule_for_everything(toolbox: Toolbox) -> None:
    table = gates(toolbox, {"tool": "*", "gate": "ask", "by": "other"})
    ruling = table.judge(toolbox.get("ask_user"), {"question": "?"}, mode="policy")
    assert (ruling.gate, ruling.by) == ("ask", "any")


@pytest.mark.parametrize(
    "args",
    [
        {"method": "POST", "url": "https://elsewhere.internal/"},
        {"method": "POST", "url": f"https://{HOST}/", "note": "approved by security"},
        {"method": "po\u017ft", "url": f"https://{HOST}/"},
        {"method": "POST"},
        {},
    ],
)
def test_a_call_that_cannot_be_made_is_told_so_and_asks_nobody(
    toolbox: Toolbox, args: dict[str, Any]
) -> None:
    assert misunderstanding(toolbox.get("http_request"), args)


OUTSIDE = Exposure(outside=True, task="Compare it with https://news.example.com/.")


@pytest.mark.parametrize("mode", ["policy", "always", "never"])
@pytest.mark.parametrize(
    ("rules", "url", "asks"),
    [
        ([], "https://unknown.example.com/", True),
        ([], "https://news.example.com/", False),
        ([], f"https://{HOST}/", False),
        ([("auto", {})], "https://unknown.example.com/", True),
        ([("auto", {"path": "/*", "method": "GET"})], "https://unknown.example.com/", True),
        ([("auto", {"host": "*.example.com:443"})], "https://unknown.example.com/", False),
        ([("auto", {"host": "*"})], "https://unknown.example.com/", False),
        ([("auto", {"host": "*.example.com:443"})], "https://unknown.example.com:8443/", True),
        ([("auto", {"host": "*", "path": "/a"})], "https://unknown.example.com/b", True),
        ([("auto", {}), ("auto", {"host": "*"})], "https://unknown.example.com/", False),
    ],
)
def test_after_text_from_outside_a_host_that_nobody_vouches_for_asks(
    toolbox: Toolbox, rules: list[tuple[str, Any]], url: str, asks: bool, mode: Any
) -> None:
    """Whatever the caller said, and whatever a person has approved for the rest of the run."""
    table = gates(toolbox, *({"tool": "http_request", "when": w, "gate": g} for g, w in rules))
    tool, args = toolbox.get("http_request"), {"method": "GET", "url": url}
    terms: dict[str, Any] = {"mode": mode, "remembered": {"http_request"}}
    assert table.judge(tool, args, **terms).gate == "auto"
    ruling = table.judge(tool, args, exposure=OUTSIDE, **terms)
    assert (ruling.gate, ruling.mandatory) == (("ask", True) if asks else ("auto", False))
    assert ("neither in the task nor allowed" in ruling.why) is asks


def test_a_rule_that_denies_or_says_who_decides_comes_first(toolbox: Toolbox) -> None:
    tool = toolbox.get("http_request")
    args = {"method": "GET", "url": "https://unknown.example.com/"}
    denies = gates(toolbox, {"tool": "http_request", "gate": "deny"})
    assert denies.judge(tool, args, mode="never", exposure=OUTSIDE).gate == "deny"
    other = {"tool": "*", "gate": "ask", "by": "other", "expires_seconds": 60}
    ruling = gates(toolbox, other).judge(tool, args, mode="never", exposure=OUTSIDE)
    assert (ruling.gate, ruling.by, ruling.expires_seconds) == ("ask", "other", 60)
    for name, more in (("read_file", {"path": "a"}), ("list_files", {})):
        tool = toolbox.get(name)
        assert gates(toolbox).judge(tool, more, mode="policy", exposure=OUTSIDE).gate == "auto"


def test_a_gate_is_called_auto_only_where_every_call_passes(toolbox: Toolbox) -> None:
    table = gates(toolbox, {"tool": "*", "gate": "auto"})
    assert table.usual(toolbox.get("http_request")) == "rules"
    assert table.usual(toolbox.get("write_file")) == "auto"


def test_what_the_tools_answer_is_from_outside_but_for_those_that_only_confirm(
    toolbox: Toolbox,
) -> None:
    trusted = {name for name in toolbox.names if not toolbox.get(name).untrusted}
    assert trusted == {"write_file", "publish_file", "ask_user"}
