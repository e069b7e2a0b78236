"""The policy table: which tool calls run by themselves, which ask a person, which are denied."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from domain.tool import CallFacts

Gate = Literal["auto", "ask", "deny"]
"""What happens to a call: `auto` it runs · `ask` a person decides first · `deny` it never runs."""

WhoDecides = Literal["any", "other"]
"""Who may decide: `any` caller · `other` any caller but the one who created the run."""

OnExpiry = Literal["reject", "fail"]
"""What becomes of an approval nobody decided in time: `reject` refuses the call and goes on · `fail` ends
the run."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _in_capitals(value: object) -> object:
    value = _as_tuple(value)
    if isinstance(value, (list, tuple)):
        return tuple(each.upper() if isinstance(each, str) else each for each in value)
    return value


def _in_small_letters(value: object) -> object:
    value = _as_tuple(value)
    if isinstance(value, (list, tuple)):
        return tuple(each.lower() if isinstance(each, str) else each for each in value)
    return value


Hosts = Annotated[tuple[str, ...], BeforeValidator(_in_small_letters), Field(min_length=1)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Methods = Annotated[tuple[str, ...], BeforeValidator(_in_capitals), Field(min_length=1)]


class When(BaseModel):
    """Which calls a rule is for; what is not given does not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Methods | None = None
    """HTTP methods."""
    host: Hosts | None = None
    """Patterns of `host:port`, such as `*.example.com:443`."""
    path: Patterns | None = None
    """Patterns of a URL's or a file's path, such as `/v1/orders/*`."""
    size_over: int | None = Field(default=None, ge=0)
    """More bytes than this are sent or written."""

    @property
    def asks(self) -> dict[str, str]:
        """Return the fact that each part is about, by the part's name."""
        parts = {"method": "method", "host": "host", "path": "path", "size_over": "size"}
        return {name: fact for name, fact in parts.items() if getattr(self, name) is not None}

    def fits(self, facts: CallFacts) -> bool:
        """Return whether a call is one of those."""
        return (
            _one_of(self.method, facts.method)
            and _one_of(self.host, facts.host)
            and _one_of(self.path, facts.path)
            and (self.size_over is None or (facts.size or 0) > self.size_over)
        )


def _one_of(patterns: tuple[str, ...] | None, value: str | None) -> bool:
    if patterns is None:
        return True
    return value is not None and any(fnmatchcase(value, pattern) for pattern in patterns)


class GateRule(BaseModel):
    """One line of the policy table; the first one that fits a call counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool: str
    """A tool's name, or `*`."""
    when: When = When()
    gate: Gate
    mandatory: bool = False
    """No caller lifts the gate: neither `approvals.mode` nor `remember`."""
    by: WhoDecides = "any"
    expires_seconds: float | None = Field(default=None, gt=0, le=366 * 86_400)
    """How long a person has; the server's setting where not given."""
    on_expiry: OnExpiry | None = None
    """The server's setting where not given."""
