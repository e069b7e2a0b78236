"""The recording of a run: JSON Lines, of which the first says what was asked of what, and the last ends it.

Between them stands, in the order in which it ended, what came from outside the process: answers of models,
results of tools; then the run's events. Whoever gives them back in their places has the same run again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from domain.artifact import MAX_INPUT_BYTES, MAX_INPUT_FILES
from domain.run import Engine
from domain.sandbox import Backend

SCHEMA: Final = 1
"""The version of the form; another one is refused."""

MAX_BYTES: Final = 50 * 1024**2
"""Of a recording; a run whose recording would be larger is not recorded."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FileLine(_Line):
    """A file that came along: what tools have read of it stands in their results."""

    name: str
    size: int = Field(ge=0, le=MAX_INPUT_BYTES)


class Body(_Line):
    """What was asked. Nothing else of a recording is asked again: it may be somebody else's."""

    task: str
    approvals: dict[str, str] = {}
    files: tuple[FileLine, ...] = Field(default=(), max_length=MAX_INPUT_FILES)


class RatesLine(_Line):
    """What a million tokens cost, in US dollars."""

    input: Decimal
    output: Decimal
    cached: Decimal


class SandboxLine(_Line):
    """What ran programs."""

    backend: Backend
    detail: str
    libraries: tuple[str, ...] = ()


class RecordedEvent(TypedDict):
    """A stored event, as the API gives it."""

    seq: int
    type: str
    run_id: str
    ts: str
    agent: str | None
    path: str | None
    round: int
    attempt: int
    data: dict[str, Any]


class Header(_Line):
    """What was asked, and of what."""

    kind: Literal["recording"] = "recording"
    schema_version: int = SCHEMA
    product: str
    """Its version."""
    graph_version: str
    engine: Engine
    recorded_at: str
    body: Body
    settings: dict[str, Any]
    """Those that decide what a run does beside its models and tools."""
    tiers: dict[str, str] | None
    """The chain of each tier; `None` with the offline planner."""
    windows: dict[str, int | None]
    """By `provider:model` the tokens that prompt and answer may have together; `None` where nobody knows."""
    rates: dict[str, RatesLine | None]
    """By `provider:model`; `None` where nobody knows."""
    team: dict[str, str]
    """By agent the digest of its prompt, tier and tools."""
    tools: dict[str, str | None]
    """By name why the tool refuses every call; `None` where it works."""
    sandbox: SandboxLine
    outside: tuple[str, ...] = ()
    """The agents that are graphs of their own: what their models answered nobody has seen."""


class Fault(_Line):
    """How a model call has failed, as far as it matters to whoever made it."""

    name: str
    """The class of the error."""
    said: str
    """What people are told."""
    text: str
    """What the error says, cut."""
    status: int | None = None
    retry_after: float | None = None
    provider: bool = True
    """It came from the provider; anything else ends the call for good."""
    transient: bool = False
    billed: bool = True
    overflow: bool = False


class CallLine(_Line):
    """One try of a model call."""

    kind: Literal["call"] = "call"
    at: str
    """Round, path or agent, and turn or name of the call: `1|coder|0`."""
    number: int
    """Which try of this call, over all models, from 1 on."""
    agent: str
    model: str
    """`provider:model`."""
    digests: dict[str, str]
    """SHA-256 of the parts of what was asked: `system`, `messages`, `tools`, `schema`."""
    pieces: tuple[str, ...] = ()
    """The text as it came, where it was streamed."""
    message: dict[str, Any] | None = None
    """The whole answer; `None` where there was none."""
    fault: Fault | None = None
    """Why there was none; `None` too where the call was stopped from outside."""


class ToolLine(_Line):
    """One run of a tool."""

    kind: Literal["tool"] = "tool"
    at: str
    """The call's id: `call_1.coder.0.0`."""
    number: int
    """Which run of this call, from 1 on."""
    tool: str
    digest: str
    """SHA-256 of its arguments."""
    message: dict[str, Any]
    took: Literal["done", "failed", "in_doubt"]
    texts: dict[str, str] = {}
    """What it kept of its sources, by hash."""


class PinLine(_Line):
    """What a call was nailed down to before a person was asked about it."""

    kind: Literal["pin"] = "pin"
    at: str
    """Round, path and tool: `1|coder|publish_file`."""
    number: int
    """Which look of this kind, from 1 on."""
    digest: str
    """SHA-256 of the call's arguments."""
    value: str | None = None
    about: str | None = None
    refusal: str | None = None
    """Why it could not be found out."""


class EventLine(_Line):
    """One stored event of the run."""

    kind: Literal["event"] = "event"
    event: RecordedEvent


class EndLine(_Line):
    """The last line: how it ended, and what all lines before it come to."""

    kind: Literal["end"] = "end"
    run: dict[str, Any] | None
    """The run as it stood at the end; `None` where none was accepted."""
    lines: int
    sha256: str
    """Of every line before, each with its line feed."""


Line = Annotated[
    Header | CallLine | ToolLine | PinLine | EventLine | EndLine, Field(discriminator="kind")
]


class Recording(BaseModel):
    """A whole recording."""

    model_config = ConfigDict(frozen=True)

    header: Header
    calls: tuple[CallLine, ...]
    tools: tuple[ToolLine, ...]
    pins: tuple[PinLine, ...]
    events: tuple[RecordedEvent, ...]
    run: dict[str, Any] | None

    @property
    def broken_off(self) -> bool:
        """Return whether the run was stopped before it had come to an end of its own."""
        return self.run is None or self.run.get("status") not in {
            "completed",
            "failed",
            "incomplete",
        }
