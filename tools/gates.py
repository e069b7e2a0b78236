"""Decides of one tool call whether it runs, asks a person or is denied."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from domain.errors import ConfigurationError, ToolFailedError
from domain.gates import Decider, Gate, GateRule, OnExpiry, When
from domain.run import ApprovalMode
from tools.registry import Tool, Toolbox

COMMON_RULES: Final = (
    GateRule(tool="http_request", when=When(method=("GET", "HEAD")), gate="auto"),
    GateRule(tool="http_request", gate="ask"),
)
"""What holds everywhere, behind the operator's own rules."""

PRODUCTION_RULES: Final = (
    # Programs run as the server's user: a person reads each one, whatever a caller asks for.
    GateRule(tool="run_python", gate="ask", mandatory=True),
    GateRule(tool="write_file", gate="ask"),
    *COMMON_RULES,
)


class Ruling(NamedTuple):
    """What becomes of a call, and on whose terms."""

    gate: Gate
    mandatory: bool = False
    by: Decider = "any"
    expires_seconds: float | None = None
    on_expiry: OnExpiry | None = None


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
    ) -> Ruling:
        """Return what becomes of a call. Raises `ToolFailedError` where the call cannot be understood."""
        ruling = self._rule(tool, args)
        if tool.control:
            # A question to a person is no matter of policy, but of whether anybody is to be asked.
            return ruling._replace(gate="auto" if mode == "never" else "ask")
        changes = tool.effect != "none" and not tool.reads(args)
        if mode == "always" and ruling.gate == "auto" and changes:
            ruling = ruling._replace(gate="ask")
        lifted = mode == "never" or tool.name in remembered
        if ruling.gate == "ask" and lifted and not ruling.mandatory:
            return ruling._replace(gate="auto")
        return ruling

    def _rule(self, tool: Tool, args: Mapping[str, Any]) -> Ruling:
        facts = tool.facts(args)
        for rule in self.rules:
            if rule.tool in {"*", tool.name} and rule.when.fits(facts):
                # Who must not decide must not be able to have nobody decide, either.
                mandatory = rule.mandatory or rule.by == "other"
                return Ruling(rule.gate, mandatory, rule.by, rule.expires_seconds, rule.on_expiry)
        return Ruling("auto")

    def may_run_unasked(self, name: str) -> bool:
        """Return whether some call of a tool may run without a person, whatever a caller asks for."""
        for rule in self.rules:
            if rule.tool in {"*", name}:
                may_lift = not rule.mandatory and rule.by == "any"
                if rule.gate == "auto" or (rule.gate == "ask" and may_lift):
                    return True
                if rule.when == When():
                    return False
        return True

    def usual(self, tool: Tool) -> Gate | Literal["rules"]:
        """Return the gate that every call of a tool has; `rules` where it depends on the call."""
        if tool.control:
            return "ask"
        for rule in self.rules:
            if rule.tool in {"*", tool.name}:
                return rule.gate if rule.when == When() else "rules"
        return "auto"


def make_gates(
    rules: Sequence[GateRule], toolbox: Toolbox, *, env: Literal["development", "production"]
) -> Gates:
    """Return the operator's rules with the built-in ones behind them; raises `ConfigurationError`."""
    for rule in rules:
        if rule.tool != "*" and rule.tool not in toolbox.names:
            known = ", ".join(toolbox.names)
            msg = f"SIGNALBOX_GATES has a rule for {rule.tool!r}, which is no tool; the tools are {known}."
            raise ConfigurationError(msg)
        if rule.tool != "*" and toolbox.get(rule.tool).control:
            msg = f"SIGNALBOX_GATES has a rule for {rule.tool!r}, which always asks. Take the rule out."
            raise ConfigurationError(msg)
    built_in = PRODUCTION_RULES if env == "production" else COMMON_RULES
    return Gates((*rules, *built_in))


def misunderstanding(tool: Tool, args: Mapping[str, Any]) -> str:
    """Return why a call cannot be carried out as it stands, for the model; empty where it can.

    Such a call asks nobody and does nothing.
    """
    faults = "; ".join(f"{each['pointer']}: {each['detail']}" for each in tool.faults(args))
    if faults:
        return f"The call was not made: {faults}. Mend the arguments and call again."
    try:
        tool.facts(args)
    except ToolFailedError as error:
        return error.detail
    return ""
