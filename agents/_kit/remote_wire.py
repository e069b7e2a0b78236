"""What is said between a node and the service of its agent: one order for each model call or tool, and its answer.

An answer is a stream of lines, each a JSON object with its `type`; the last is an `Answered`, `Result`, `Paused`,
`Refused` or `Failed`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from langchain_core.messages import AIMessage, AnyMessage, messages_to_dict
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from agents._kit.cleaning import clean_value, is_clean
from agents._kit.metering import MODEL_CHARS, MOST_TOKENS, OutsideCall
from agents._kit.tape import team_digest
from domain.agent import AgentSpec, Citation, Tier
from domain.recording import Fault
from tools.sources import kept_links, list_texts, read_text

WIRE: Final = 2
"""Which lines and orders there are; older ones know none of a graph's calls."""
AGENT: Final = "/agent"
RUN: Final = "/run"
DEADLINE: Final = "signalbox-deadline"
"""The header that says how many seconds the caller waits."""

ORDER_BYTES: Final = 16 * 1024**2
"""The most that an order may have: a conversation, and what the model is told of its tools."""
LINE_BYTES: Final = 8 * 1024**2
"""The most that a line may have: a conversation of an outside graph, or all that a page says."""
STREAM_BYTES: Final = 32 * 1024**2
"""The most that an answer may have, all its lines together."""
ALIVE_SECONDS: Final = 2.0
"""After how many seconds in which there is nothing to say it is said that the service is still there."""
SILENT_SECONDS: Final = 10.0
"""After how many seconds without a word it is not."""
NAME_CHARS: Final = 500
"""Of what is written into the log, and of what somebody else names a call."""
MAX_TEXTS: Final = 64
"""Texts that one tool call may have kept."""
MAX_MESSAGES: Final = 10_000
"""Of a conversation: to read more would hold up all else for seconds."""
MAX_CALLS: Final = 128
"""Of tools that one answer asks for: each is answered, and told of."""
MAX_OUTSIDE_CALLS: Final = 10_000
"""Of models, that a graph may make for one order: each is a row of the ledger."""
MAX_QUESTIONS: Final = 32
"""That a graph may ask at once."""
MAX_MODELS: Final = 64
"""Of one tier: the first, and those that take its place."""


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Call(_Said):
    """A tool call."""

    name: str
    args: dict[str, Any]


class Order(_Said):
    """What a service is asked to do; it keeps nothing of it."""

    do: Literal["answer", "tool", "graph"]
    """`answer` call a model · `tool` run a tool · `graph` have an outside graph work."""
    agent: str
    version: str
    """Of the agent, as `agent_version` makes it."""
    run_id: str = Field(max_length=NAME_CHARS)
    at: str = Field(default="", max_length=NAME_CHARS)
    """Where in its run the order stands; for the log."""
    task: str = ""
    """What the run was asked to do: a page is opened only where that, or what was read, leads to it."""
    messages: list[dict[str, Any]] = Field(default=[], max_length=MAX_MESSAGES)
    """The conversation so far, without the agent's prompt: the service has it."""
    tier: Tier = "standard"
    model: str = ""
    """Which model of the tier is to answer; the call is already paid for."""
    max_tokens: int = Field(default=1, ge=1)
    streamed: bool = True
    words: bool = False
    """Whether the model is told of its tools in words."""
    tools: list[dict[str, Any]] = []
    """What it is told of them, in OpenAI's words."""
    call: Call | None = None
    links: list[str] = []
    """Those of the call's arguments that the run may open."""
    continuation: str | None = None
    """Where an outside graph had come to, as its service has said it."""
    decisions: dict[str, Any] = {}
    """What a person has answered, by the ids of the graph's questions."""


def _printable(name: str) -> str:
    if not name.isprintable():
        wrong = "characters that nobody can see"
        raise ValueError(wrong)
    return name


ModelName = Annotated[str, AfterValidator(_printable), Field(min_length=1, max_length=MODEL_CHARS)]
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class Model(_Said):
    """A model that a service has."""

    model: ModelName
    """Its name: it stands in events, in the ledger and among what is counted."""
    max_tokens: int = Field(ge=1, le=10_000_000)
    context: int | None = Field(default=None, ge=1, le=100_000_000)
    json_schema: bool = True
    tools: bool = True


class About(_Said):
    """What a service says of itself."""

    agent: str
    version: str
    chains: dict[Tier, Annotated[list[Model], Field(max_length=MAX_MODELS)]]


class Alive(_Said):
    """The service is there, and has nothing to say yet."""

    type: Literal["alive"] = "alive"


class Token(_Said):
    """A piece of the text that a model writes."""

    type: Literal["token"] = "token"
    text: str
    message_id: str = ""


class Calling(_Said):
    """An outside graph calls a model."""

    type: Literal["calling"] = "calling"
    place: str = Field(max_length=NAME_CHARS)
    """Tells the call from others that are under way."""
    model: ModelName


class Used(_Said):
    """What a call used, as `OutsideCall` has it."""

    own_id: str = Field(max_length=NAME_CHARS)
    model: ModelName
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_tokens: Count = 0
    reasoning_tokens: Count = 0
    most_tokens: Count = 0
    metered: bool = False
    status: Literal["completed", "failed", "cancelled"] = "completed"
    cause: str | None = Field(default=None, pattern=r"^\w{1,100}$")


class Called(_Said):
    """What came of that; `used` is not there where nobody bills it."""

    type: Literal["called"] = "called"
    place: str = Field(max_length=NAME_CHARS)
    used: Used | None = None

    @property
    def call(self) -> OutsideCall | None:
        """Return it as it is counted."""
        return OutsideCall(**self.used.model_dump()) if self.used else None


class Answered(_Said):
    """A model's answer."""

    type: Literal["answered"] = "answered"
    message: dict[str, Any]


class Result(_Said):
    """A tool's answer, with the texts that it rests on by their hashes, and where they lead."""

    type: Literal["result"] = "result"
    text: str
    citations: list[Citation] = Field(default=[], max_length=MAX_TEXTS)
    texts: dict[str, str] = Field(default={}, max_length=MAX_TEXTS)
    links: list[str] = []


class Paused(_Said):
    """What an outside graph has come to: all its messages, and what it asks a person before it goes on."""

    type: Literal["paused"] = "paused"
    messages: list[dict[str, Any]] = Field(max_length=MAX_MESSAGES)
    questions: dict[str, Any] = Field(default={}, max_length=MAX_QUESTIONS)
    continuation: str | None = None


class Refused(_Said):
    """A tool's refusal, in words for the model."""

    type: Literal["refused"] = "refused"
    detail: str = Field(max_length=20_000)


class Failed(_Said):
    """How a call has failed."""

    type: Literal["failed"] = "failed"
    fault: Fault


Said = Token | Calling | Called
"""What may come before the last line."""
Line = Annotated[
    Alive | Token | Calling | Called | Answered | Result | Paused | Refused | Failed,
    Field(discriminator="type"),
]
BETWEEN: Final = (Alive, Token, Calling, Called)
"""The lines that are not the last."""
Last = Answered | Result | Paused | Refused | Failed

LINE: Final[TypeAdapter[Line]] = TypeAdapter(Line)


def write_line(said: Line) -> bytes:
    """Return a line as it is sent."""
    return said.model_dump_json().encode("utf-8", "replace") + b"\n"


def agent_version(spec: AgentSpec) -> str:
    """Return what tells an agent from another of its name: of its prompt, its tools, or its graph's nodes. Of one that
    speaks otherwise than we do, too."""
    nodes = sorted(getattr(spec.graph, "nodes", {})) if spec.graph is not None else []
    return team_digest([WIRE, spec.prompt, list(spec.tools), nodes])[:16]


def dump_messages(messages: Sequence[AnyMessage]) -> list[dict[str, Any]]:
    """Return messages as JSON has them, whatever their providers put into them."""
    return [_dumped(d) for d in messages_to_dict(messages)]


def _dumped(message: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = dict(clean_value(json.loads(json.dumps(message, default=str))))
    usage = told["data"].get("usage_metadata")
    if usage and not {"input_tokens", "output_tokens", "total_tokens"} <= set(usage):
        # As LangChain leaves it with an answer out of a cache: nobody could read it again.
        told["data"]["usage_metadata"] = None
    return told


def forms_of(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what a model is told of tools."""
    return [convert_to_openai_tool(tool) for tool in tools]


_KEPT: Final = ("finish_reason", "stop_reason", "done_reason", "model_name", "model_provider")
OUR_OWN: Final = frozenset({"held", "in_doubt", "kept", "args", "duration_ms"})
"""What our own messages keep beside their text: from elsewhere it would be taken for ours."""


def read_answer(message: Mapping[str, Any]) -> AIMessage:
    """Return the answer of a model as a service tells of it, without what only we may say; raises `ValueError`."""
    told: dict[str, Any] = dict(message.get("data", {}))
    if message.get("type") != "ai" or not is_clean(dict(message)):
        wrong = "no answer of a model"
        raise ValueError(wrong)
    if len(told.get("tool_calls") or ()) > MAX_CALLS:
        wrong = "more tool calls than any model makes"
        raise ValueError(wrong)
    about = told.get("response_metadata") or {}
    extra = told.get("additional_kwargs") or {}
    # No id: with that of an earlier message it would take its place in the conversation.
    names = ("content", "tool_calls", "invalid_tool_calls", "usage_metadata")
    return AIMessage.model_validate(
        {
            **{name: told[name] for name in names if told.get(name) is not None},
            "additional_kwargs": {k: v for k, v in extra.items() if k not in OUR_OWN},
            "response_metadata": {name: about[name] for name in _KEPT if name in about},
        }
    )


async def kept_in(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the texts and the links that a tool has kept in a folder of its own."""
    return await asyncio.to_thread(_kept_in, folder)


def _kept_in(folder: Path) -> tuple[dict[str, str], list[str]]:
    hashes = [sha256 for sha256, _ in list_texts(folder)][:MAX_TEXTS]
    texts = {sha256: read_text(folder, sha256) for sha256 in hashes}
    return {k: v for k, v in texts.items() if v is not None}, sorted(kept_links(folder))
