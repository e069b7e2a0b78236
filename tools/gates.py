"""Decides of one tool call whether it runs, asks a person or is denied."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from domain.errors import ConfigurationError, ToolFailedError
from domain.gates import Gate, GateRule, OnExpiry, When, WhoDecides
from domain.run import ApprovalMode
from domain.tool import CallFacts
from tools.net.named import is_named
from tools.registry import Tool, Toolbox

_HOST_PATTERN: Final = re.compile(r"\*|[^\s/@]+:[0-9*?\[\]!-]+")
_URL_PATTERN: Final = re.compile(r"[/*](?:[A-Za-z0-9._~:@!$&'()*+,=?/\[\]-]|%[0-9A-F]{2})*")


class Ruling(NamedTuple):
    """What becomes of a call, and on whose terms."""

    gate: Gate
    mandatory: bool = False
    by: WhoDecides = "any"
    expires_seconds: float | None = None
    on_expiry: OnExpiry | None = None
    why: str = ""
    """Why a person is asked, where it is not the policy table that says so."""


class Exposure(NamedTuple):
    """What an agent has read by the time it makes a call."""

    outside: bool = False
    """Text that neither its user nor the operator wrote, and that may have told it to make the call."""
    task: str = ""
    """What the user asked for: the hosts that it names are meant."""


NOTHING_READ: Final = Exposure()


class Gates:
    """The policy table of one server; a call that no rule fits runs by itself."""

    def __init__(self, rules: Sequence[GateRule]) -> None:
        self.rules: Final = tuple(rules)

    def judge(
        self,
        tool: Tool,
        args: Mapping[str, Any],
        *,
        mode: ApprovalMode,
        remembered: Collection[str] = (),
        exposure: Exposure = NOTHING_READ,
    ) -> Ruling:
        """Return what becomes of a call. Raises `ToolFailedError` where the call cannot be understood."""
        if tool.control:
            # A question to a person is no matter of policy, but of whether anybody is to be asked.
            return Ruling("auto" if mode == "never" else "ask")
        facts = tool.facts(args)
        ruling = self._rule(tool, facts)
        if ruling.gate != "deny" and self._may_leak(tool, facts, exposure):
            why = (
                "the agent has read text from outside, which may have told it to; the host "
                f"{facts.host} is neither in the task nor allowed by the operator"
            )
            return ruling._replace(gate="ask", mandatory=True, why=why)
        changes = tool.effect != "none" and not tool.reads(args)
        if mode == "always" and ruling.gate == "auto" and changes:
            ruling = ruling._replace(gate="ask")
        lifted = mode == "never" or tool.name in remembered
        if ruling.gate == "ask" and lifted and not ruling.mandatory:
            return ruling._replace(gate="auto")
        return ruling

    def _may_leak(self, tool: Tool, facts: CallFacts, exposure: Exposure) -> bool:
        """Return whether a call could carry what was read to a host that nobody vouches for."""
        if tool.vouched is None or not exposure.outside or facts.host in tool.vouched:
            return False
        if any(_vouches(rule, tool, facts) for rule in self.rules):
            return False
        return not is_named(facts.host or "", exposure.task)

    def _rule(self, tool: Tool, facts: CallFacts) -> Ruling:
        for rule in self.rules:
            if rule.tool in {"*", tool.name} and rule.when.fits(facts):
                # Who must not decide must not be able to have nobody decide, either.
                mandatory = rule.mandatory or rule.by == "other"
                return Ruling(rule.gate, mandatory, rule.by, rule.expires_seconds, rule.on_expiry)
        return Ruling("auto")

    def usual(self, tool: Tool) -> Gate | Literal["rules"]:
        """Return the gate that every call of a tool has; `rules` where it depends on the call."""
        if tool.control:
            return "ask"
        for rule in self.rules:
            if rule.tool in {"*", tool.name}:
                asks_now_and_then = rule.gate == "auto" and tool.vouched is not None
                return rule.gate if rule.when == When() and not asks_now_and_then else "rules"
        return "auto"


def _vouches(rule: GateRule, tool: Tool, facts: CallFacts) -> bool:
    """Return whether a rule says of a call's host that it may be gone to."""
    return (
        rule.gate == "auto"
        and rule.when.host is not None
        and rule.tool in {"*", tool.name}
        and rule.when.fits(facts)
    )


def make_gates(rules: Sequence[GateRule], toolbox: Toolbox) -> Gates:
    """Return the operator's rules with the tools' own behind them; raises `ConfigurationError`."""
    for number, rule in enumerate(rules, 1):
        fault = _fault(rule, toolbox)
        if fault:
            msg = f"SIGNALBOX_GATES cannot be used: rule {number}, for {rule.tool!r}, {fault}."
            raise ConfigurationError(msg)
    return Gates((*rules, *toolbox.gates))


def _fault(rule: GateRule, toolbox: Toolbox) -> str:
    """Return why a rule could never fit a call: one that denies would let everything pass unseen."""
    if rule.tool == "*":
        return _pattern_fault(rule, of_url=None)
    if rule.tool not in toolbox.names:
        return f"names no tool; the tools are {', '.join(toolbox.names)}"
    tool = toolbox.get(rule.tool)
    if tool.control:
        return "is about a tool that always asks; take it out"
    foreign = [name for name, fact in rule.when.asks.items() if fact not in tool.has_facts]
    if foreign:
        known = ", ".join(sorted(tool.has_facts)) or "nothing"
        return f"asks about {', '.join(foreign)}, which its calls do not have; they have {known}"
    return _pattern_fault(rule, of_url="host" in tool.has_facts)


def _pattern_fault(rule: GateRule, *, of_url: bool | None) -> str:
    """Return what is wrong with a pattern; `of_url` says what paths are of, `None` that it may be either."""
    for host in rule.when.host or ():
        if "://" in host or not _HOST_PATTERN.fullmatch(host):
            return f"has the host {host!r}: write it as host:port, such as *.example.com:443"
    for path in rule.when.path or ():
        if of_url and not _URL_PATTERN.fullmatch(path):
            return (
                f"has the path {path!r}: write it as it is sent, from its first slash on, with what is "
                "not ASCII as %C3%A4 in capitals"
            )
        if of_url is False and (path.startswith(("/", "./")) or "//" in path):
            return f"has the path {path!r}: write it as the workspace has it, such as reports/*"
    return ""


def misunderstanding(tool: Tool, args: Mapping[str, Any]) -> str:
    """Return why a call cannot be carried out as it stands, for the model; empty where it can.

    Such a call asks nobody and does nothing.
    """
    # What a tool has no use for would still stand before the person who decides, and could mislead.
    found = tool.faults(args) or (tool.surplus(args) if tool.effect != "none" else [])
    faults = "; ".join(f"{each['pointer']}: {each['detail']}" for each in found)
    if faults:
        return f"The call was not made: {faults}. Mend the arguments and call again."
    try:
        tool.facts(args)
    except ToolFailedError as error:
        return error.detail
    return ""
