"""What the fake model server answers: rules, replies, and the answers it gives without any rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import orjson

Fault = Literal[
    "truncate",
    "malformed",
    "disconnect",
    "empty",
    "length",
    "content_filter",
    "hang",
    "not_json",
]
"""What goes wrong with an answer.

`truncate` ends without a finish reason · `malformed` breaks off inside a JSON document ·
`disconnect` closes the connection after the first part · `empty` says nothing · `length` and
`content_filter` are the finish reason · `hang` says nothing until `FakeModelServer.release` is
set · `not_json` is a page of HTML with status 200."""

GARBAGE_ROUTE: Final = {"assignments": "the coder, I think", "confidence": 0.7}
"""JSON that is not a Route."""

_ERRORS: Final[dict[int, tuple[str, str | None]]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}

_TASK: Final = re.compile(r"<task>\n(.*?)\n</task>", re.DOTALL)
_ASSIGNMENT: Final = re.compile(r"<assignment>\n(.*?)\n</assignment>", re.DOTALL)

_WORDS_REPEATED: Final = 12
"""How much of the assignment a default answer repeats."""


class ToolCall(NamedTuple):
    """A tool call the model asks for."""

    name: str
    args: Mapping[str, Any]


class TokenUsage(NamedTuple):
    """The usage numbers an answer reports."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of a chat message, whether it is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


@dataclass(slots=True, eq=False)
class ModelRequest:
    """One request as it arrived. What rules look at is computed once."""

    body: dict[str, Any]
    headers: dict[str, str]
    rule: str = ""
    """The name of the rule that answered; `default-…` where none did."""
    cancelled: bool = False
    """Whether the client went away before the answer was complete."""
    system: str = field(init=False)
    user: str = field(init=False)
    """The last user message."""
    after_tool: bool = field(init=False)

    def __post_init__(self) -> None:
        messages = self.body.get("messages") or []
        system: list[str] = []
        self.user = ""
        for message in messages:
            role = message.get("role")
            if role in ("system", "developer"):
                system.append(message_text(message))
            elif role == "user":
                self.user = message_text(message)
        self.system = "\n".join(system)
        self.after_tool = bool(messages) and messages[-1].get("role") == "tool"

    @property
    def model(self) -> str:
        """Return the model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def streamed(self) -> bool:
        """Return whether the answer is to be streamed."""
        return bool(self.body.get("stream"))

    @property
    def tools(self) -> tuple[str, ...]:
        """Return the names of the tools that were offered."""
        return tuple(tool["function"]["name"] for tool in self.body.get("tools") or ())

    @property
    def schema(self) -> dict[str, Any] | None:
        """Return the JSON schema the answer has to follow."""
        response_format = self.body.get("response_format") or {}
        schema = (response_format.get("json_schema") or {}).get("schema")
        return schema if isinstance(schema, dict) else None

    @property
    def transcript(self) -> str:
        """Return the text of all messages."""
        return "\n".join(message_text(m) for m in self.body.get("messages") or ())


@dataclass(frozen=True, kw_only=True)
class When:
    """Which requests a rule is for; what is not given does not matter. Texts are regexes."""

    system: str | None = None
    user: str | None = None
    """Searched in the last user message."""
    model: str | None = None
    """Matches the whole name of the model."""
    tools: bool | None = None
    """Whether tools are offered."""
    schema: bool | None = None
    """Whether a JSON schema is given as the response format."""
    after_tool: bool | None = None
    """Whether the last message is a tool's result."""

    def matches(self, request: ModelRequest) -> bool:
        """Return whether the request is one of those."""
        return (
            _agrees(self.tools, actual=bool(request.body.get("tools")))
            and _agrees(self.schema, actual=request.schema is not None)
            and _agrees(self.after_tool, actual=request.after_tool)
            and (self.model is None or re.fullmatch(self.model, request.model) is not None)
            and (self.system is None or re.search(self.system, request.system) is not None)
            and (self.user is None or re.search(self.user, request.user) is not None)
        )


def _agrees(wanted: bool | None, *, actual: bool) -> bool:
    return wanted is None or wanted == actual


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer."""

    text: str = ""
    chunks: tuple[str, ...] | None = None
    """How the text is cut when it is streamed; by words where not given."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage | None = None
    """Counted from the texts, the same way every time, where not given."""
    metered: bool = True
    """Whether the answer says what it used; some servers never do."""
    recounted: bool = False
    """Whether each part of a stream says what was used until then, as some servers do."""
    fault: Fault | None = None
    status: int = 200
    retry_after: str | None = None
    message: str = ""
    """What an error status says."""

    @classmethod
    def json(cls, value: object) -> Reply:
        """Answer with a JSON document as the text."""
        return cls(text=orjson.dumps(value).decode())

    @classmethod
    def route(cls, *assignments: tuple[str, str], reason: str = "as scripted") -> Reply:
        """Answer with a Route: pairs of agent and instruction; none of them finishes the run."""
        return cls.json(make_route(assignments, reason))

    @classmethod
    def garbage_route(cls) -> Reply:
        """Answer with JSON that is not a Route."""
        return cls.json(GARBAGE_ROUTE)

    @classmethod
    def calls(cls, *calls: tuple[str, Mapping[str, Any]]) -> Reply:
        """Answer with tool calls: pairs of name and arguments."""
        return cls(tool_calls=tuple(ToolCall(name, args) for name, args in calls))

    @classmethod
    def error(cls, status: int, *, retry_after: str | None = None, message: str = "") -> Reply:
        """Answer with an HTTP error in the shape OpenAI gives it."""
        return cls(status=status, retry_after=retry_after, message=message)

    @property
    def finish_reason(self) -> str | None:
        """Return why the answer ends; a truncated one does not say."""
        match self.fault:
            case "truncate":
                return None
            case "length" | "content_filter":
                return self.fault
            case _:
                return "tool_calls" if self.tool_calls else "stop"

    def spoken(self) -> str:
        """Return the text that is really sent."""
        if self.fault in ("empty", "content_filter"):
            return ""
        if self.fault in ("truncate", "length"):
            return self.text[: max(1, len(self.text) // 2)]
        return self.text

    def parts(self) -> tuple[str, ...]:
        """Return the text as it is cut for a stream."""
        text = self.spoken()
        if self.chunks is not None and text == self.text:
            return self.chunks
        return tuple(re.findall(r"\s*\S+\s*$|\s*\S+", text)) or ((text,) if text else ())

    def error_body(self) -> bytes:
        """Return the body of an error status."""
        kind, code = _ERRORS.get(self.status, ("server_error", None))
        message = self.message or f"scripted error {self.status}"
        error = {"message": message, "type": kind, "param": None, "code": code}
        return orjson.dumps({"error": error})

    def count(self, request: ModelRequest) -> TokenUsage:
        """Return the usage to report: four characters a token, a word a token in answers."""
        if self.usage is not None:
            return self.usage
        answer = len(self.parts()) + sum(len(call.args) + 1 for call in self.tool_calls)
        return TokenUsage(max(1, len(request.transcript) // 4), answer)


@dataclass(kw_only=True, eq=False)
class Rule:
    """Answers the requests that match, `times` times or for ever."""

    when: When = field(default_factory=When)
    reply: Reply | Callable[[ModelRequest], Reply]
    name: str = ""
    """Under which requests are counted; `rule-N` where not given."""
    times: int | None = None
    gate: str | None = None
    """Name of an event or barrier of the server that the answer waits for."""
    gate_after: int = 0
    """How many parts of a stream are sent before the wait; 0 waits before the answer begins."""
    optional: bool = False
    """Whether `assert_all_used` leaves it out."""
    used: int = 0

    def takes(self, request: ModelRequest) -> bool:
        """Return whether this rule answers the request."""
        return (self.times is None or self.used < self.times) and self.when.matches(request)

    def answer(self, request: ModelRequest) -> Reply:
        """Return the answer."""
        return self.reply if isinstance(self.reply, Reply) else self.reply(request)

    def complaint(self) -> str | None:
        """Return what is missing, or nothing."""
        if self.optional or self.used >= (1 if self.times is None else self.times):
            return None
        wanted = "at least once" if self.times is None else f"{self.times} times"
        return f"{self.name} was to be used {wanted} and was used {self.used} times"


def make_route(assignments: Iterable[tuple[str, str]], reason: str) -> dict[str, Any]:
    """Return a Route as JSON."""
    return {
        "reason": reason,
        "assignments": [{"agent": agent, "task": task} for agent, task in assignments],
    }


class DefaultAnswer(NamedTuple):
    """An answer no rule gave, and the name it is counted under."""

    name: str
    reply: Reply


def answer_by_default(request: ModelRequest, *, words: int = 0) -> DefaultAnswer:
    """Answer without a script: every agent once, in parallel, then finish; texts repeat the task.

    `words` fills texts up to that many words, for measurements.
    """
    schema = request.schema
    if schema is not None:
        agents = _agents_of(schema)
        name, route = _route_by_default(request, agents)
        return DefaultAnswer(name, Reply.json(route if agents else _instance_of(schema, schema)))
    for tool in request.body.get("tools") or ():
        function = tool["function"]
        agents = _agents_of(function.get("parameters") or {})
        if agents:
            name, route = _route_by_default(request, agents)
            return DefaultAnswer(name, Reply.calls((function["name"], route)))
    asked = _first_group(_ASSIGNMENT, request.user) or _task_of(request)
    answer = ["Fake", "answer", "to:", *asked.split()[:_WORDS_REPEATED]]
    answer += ["word"] * (words - len(answer))
    return DefaultAnswer("default-text", Reply(text=" ".join(answer)))


def _route_by_default(request: ModelRequest, agents: list[str]) -> tuple[str, dict[str, Any]]:
    if "<results>" in request.user:
        return "default-finish", make_route((), "every agent has answered")
    task = _task_of(request)
    return "default-route", make_route([(agent, task) for agent in agents], "all of them can help")


def _task_of(request: ModelRequest) -> str:
    return _first_group(_TASK, request.user) or request.user


def _first_group(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""


def _resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found = schema
    while "$ref" in found:
        target: Any = root
        for step in found["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        found = target
    return found


def _agents_of(schema: dict[str, Any]) -> list[str]:
    """Return the agents a Route schema names; an empty list where it is not one."""
    assignments = (schema.get("properties") or {}).get("assignments")
    if not isinstance(assignments, dict):
        return []
    item = _resolve(_resolve(assignments, schema).get("items") or {}, schema)
    agent = _resolve((item.get("properties") or {}).get("agent") or {}, schema)
    return list(agent.get("enum") or ([agent["const"]] if "const" in agent else []))


def _instance_of(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return the smallest value a schema allows, as far as tests need schemas."""
    schema = _resolve(schema, root)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _instance_of(schema["anyOf"][0], root)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties") or {}
            required = schema.get("required", list(properties))
            return {name: _instance_of(properties.get(name, {}), root) for name in required}
        case "array":
            return []
        case "boolean":
            return True
        case "integer" | "number":
            return schema.get("minimum", 1)
        case _:
            return "fake"
