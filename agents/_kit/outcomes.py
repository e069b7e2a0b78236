"""What an assignment leaves behind: its outcome, and the events that can be made from it again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from pydantic import TypeAdapter, ValidationError

from agents._kit.faults import finish_reason
from agents._kit.holding import is_unsaid
from domain.agent import (
    AgentOutcome,
    AgentSpec,
    Assignment,
    Citation,
    TokenCount,
    ToolCallRecord,
    TurnRecord,
)
from domain.artifact import Artifact
from domain.caching import REUSED
from domain.events import EventDraft, EventType
from domain.run import RunContext
from tools.limits import cut_result

SUMMARY_CHARS: Final = 500
"""How much of a tool's result the event carries; the model reads all of it."""

ARGS_CHARS: Final = 4_000
"""How much of one argument the event carries."""

_ARTIFACTS: Final = TypeAdapter(list[Artifact])

IN_DOUBT: Final = "in_doubt"
"""Where a message keeps what is told of the action that its call left in doubt."""


@dataclass(frozen=True, kw_only=True)
class AssignmentContext(RunContext):
    """A run's values plus the assignment being worked on: what middleware and tools read."""

    assignment: Assignment
    write: Callable[[object], None] = field(default=lambda _: None, repr=False)
    """The stream of the agent's node: from below it LangGraph would pass parts on level by level."""
    decisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a person decided, by turn and position of the call."""
    held: AIMessage | None = None
    """The message whose calls have waited for those decisions: it is said now, without a model."""

    def message_id(self, turn: int | str | None) -> str:
        """Return the stable id of the message that turn produces."""
        return f"msg_{self.assignment['round']}.{self.assignment['path']}.{turn}"

    def call_id(self, turn: int, position: int) -> str:
        """Return the stable id of a tool call; providers repeat theirs."""
        return f"call_{self.assignment['round']}.{self.assignment['path']}.{turn}.{position}"

    def draft(self, type_: EventType, data: dict[str, Any], call: str = "") -> EventDraft:
        """Return an event of this assignment."""
        work = self.assignment
        return EventDraft(
            type=type_,
            agent=work["agent"],
            path=work["path"],
            round=work["round"],
            call=call,
            data=data,
        )


class TurnEvent(NamedTuple):
    """An event of a turn, before it is known whose it is."""

    type: EventType
    data: dict[str, Any]
    call: str


def work_context(
    context: RunContext, assignment: Assignment, write: Callable[[object], None], **more: Any
) -> AssignmentContext:
    """Return the context of one assignment of a run."""
    values = {each.name: getattr(context, each.name) for each in fields(RunContext)}
    return AssignmentContext(**values, assignment=assignment, write=write, **more)


def failed_outcome(
    assignment: Assignment, spec: AgentSpec, *, model: str, code: str, detail: str
) -> AgentOutcome:
    """Return the outcome of an assignment that came to nothing."""
    nothing = TokenCount(input_tokens=0, output_tokens=0, cached_tokens=0, calls=0, model="")
    return AgentOutcome(
        agent=assignment["agent"],
        task=assignment["task"],
        path=assignment["path"],
        round=assignment["round"],
        tier=assignment.get("tier", spec.tier),
        status="failed",
        output="",
        error={"code": code, "detail": detail},
        citations=[],
        turns=[],
        usage=nothing,
        evidence=[],
        opaque=False,
        model=model,
    )


def outcome_drafts(outcome: AgentOutcome) -> list[EventDraft]:
    """Return every event an assignment leaves behind, in order: what was missed live is made again."""

    def draft(type_: EventType, data: dict[str, Any], call: str = "") -> EventDraft:
        return EventDraft(
            type=type_,
            agent=outcome["agent"],
            path=outcome["path"],
            round=outcome["round"],
            call=call,
            data=data,
        )

    started = {"task": outcome["task"], "model": outcome["model"], "tier": outcome["tier"]}
    drafts = [draft("agent.started", started)]
    for turn, record in enumerate(outcome["turns"]):
        drafts += [draft(*event) for event in turn_events(turn, record)]
    error = outcome["error"]
    if error is None:
        done: dict[str, Any] = {"output": outcome["output"], "usage": dict(outcome["usage"])}
        return [*drafts, draft("agent.completed", done)]
    return [*drafts, draft("agent.failed", dict(error))]


def turn_events(turn: int, record: TurnRecord) -> list[TurnEvent]:
    """Return what one turn leaves in the log: its message, then its calls."""
    message = {k: v for k, v in record.items() if k != "calls"}
    events = [TurnEvent("message.completed", message, str(turn))]
    for position, call in enumerate(record["calls"]):
        key = f"{turn}.{position}"
        started = {"call_id": call["call_id"], "tool": call["tool"], "args": call["args"]}
        events.append(TurnEvent("tool.started", started, key))
        if "doubt" in call:
            events.append(TurnEvent("action.in_doubt", call["doubt"], key))
        events += ended_events(call, key)
    return events


def message_drafts(agent: str, messages: Sequence[AnyMessage]) -> list[EventDraft]:
    """Return the events of an assignment that is not finished, from its messages so far.

    The first message's id says which assignment it is; an outside graph may have none.
    """
    first = messages[0].id if messages else None
    found = re.fullmatch(rf"(\d+)\.({re.escape(agent)}(?:#\d+)?)", first or "")
    if not found:
        return []
    round_, path = found.groups()
    work = AssignmentContext(
        assignment=Assignment(agent=agent, task="", path=path, round=int(round_))
    )
    return [
        work.draft(*event)
        for turn, record in enumerate(read_turns(work, messages, foreign=False))
        for event in turn_events(turn, record)
    ]


def bounded_args(args: dict[str, Any]) -> dict[str, Any]:
    """Return a tool call's arguments with long strings cut, for events."""
    return {name: _bounded(value) for name, value in args.items()}


def _bounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return cut_result(value, ARGS_CHARS)
    if isinstance(value, (dict, list)):
        text = json.dumps(value, ensure_ascii=False)
        return value if len(text) <= ARGS_CHARS else cut_result(text, ARGS_CHARS)
    return value


def message_data(message_id: str, message: AIMessage) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "text": message.text,
        "finish_reason": finish_reason(message) or "stop",
    }


def make_record(
    call_id: str, tool: str, args: dict[str, Any], message: ToolMessage
) -> ToolCallRecord:
    record = ToolCallRecord(
        call_id=call_id,
        tool=tool,
        args=args,
        status="failed" if message.status == "error" else "completed",
        summary=cut_result(message.text, SUMMARY_CHARS),
        duration_ms=message.additional_kwargs.get("duration_ms"),
    )
    doubt = message.additional_kwargs.get(IN_DOUBT)
    if doubt:
        record["doubt"] = doubt
    artifacts = artifacts_of(message)
    if artifacts:
        record["artifacts"] = artifacts
    reused = message.artifact.get(REUSED) if isinstance(message.artifact, dict) else None
    if reused:
        record["reused"] = reused
    return record


def artifacts_of(message: ToolMessage) -> list[Artifact]:
    """Return the files that a call has left for the user."""
    left = message.artifact if isinstance(message.artifact, dict) else {}
    try:
        return _ARTIFACTS.validate_python(left.get("artifacts", []))
    except ValidationError:  # a tool of somebody else means another thing by the word
        return []


def ended_events(record: ToolCallRecord, call: str) -> list[TurnEvent]:
    """Return what is told when a tool call has ended: the files that it left, then how it ended."""
    # Records of checkpoints that were made before there were artifacts have none.
    created = [
        TurnEvent("artifact.created", {"artifact": artifact}, f"{call}.{_mark(artifact)}")
        for artifact in record.get("artifacts", [])
    ]
    # What a search costs nobody tells, so what it saves is not known either.
    hits = [
        TurnEvent(
            "cache.hit",
            {"kind": "tool", "call_id": record["call_id"], **reused, "saved_cost_usd": None},
            call,
        )
        for reused in filter(None, [record.get("reused")])
    ]
    return [*hits, *created, _tool_ended(record, call)]


def _mark(artifact: Artifact) -> str:
    """Return what tells a call's artifacts apart, by what they are: a call that a crash has repeated may
    leave other files than those of which the log tells, and these are to be told of too."""
    return hashlib.sha256(f"{artifact['name']}\n{artifact['sha256']}".encode()).hexdigest()[:12]


def _tool_ended(record: ToolCallRecord, call: str) -> TurnEvent:
    data: dict[str, Any] = {"call_id": record["call_id"], "tool": record["tool"]}
    if record["status"] == "failed":
        return TurnEvent("tool.failed", {**data, "detail": record["summary"]}, call)
    ended: dict[str, Any] = {
        "summary": record["summary"],
        "duration_ms": record["duration_ms"],
        "artifacts": record.get("artifacts", []),
    }
    return TurnEvent("tool.completed", {**data, **ended}, call)


def read_turns(
    work: AssignmentContext, messages: Sequence[AnyMessage], *, foreign: bool
) -> list[TurnRecord]:
    """Return an agent's turns with their calls; ids repeat between turns, so each turn looks ahead only."""
    turns: list[TurnRecord] = []
    for index, message in enumerate(messages):
        if not isinstance(message, AIMessage) or is_unsaid(message):
            continue
        turn = len(turns)
        results = {m.tool_call_id: m for m in _results_after(messages, index)}
        calls = [
            make_record(
                work.call_id(turn, position),
                call["name"],
                bounded_args(results[call["id"]].additional_kwargs.get("args", call["args"])),
                results[call["id"]],
            )
            for position, call in enumerate(message.tool_calls)
            if call["id"] in results
        ]
        if foreign:
            for call in calls:
                call.pop(
                    "artifacts", None
                )  # whatever its tools name, nobody has put it on the shelf
        # An outside graph's messages keep their own ids: nobody announced its turns.
        data = message_data(work.message_id(message.id if foreign else turn), message)
        turns.append(
            TurnRecord(
                message_id=data["message_id"],
                text=data["text"],
                finish_reason=data["finish_reason"],
                calls=calls,
            )
        )
    return turns


def _results_after(messages: Sequence[AnyMessage], index: int) -> list[ToolMessage]:
    found: list[ToolMessage] = []
    for message in messages[index + 1 :]:
        if isinstance(message, AIMessage):
            break
        if isinstance(message, ToolMessage):
            found.append(message)
    return found


def read_citations(messages: Sequence[AnyMessage], output: str) -> list[Citation]:
    """Return the sources the output names as [n]; all sources read where it names none."""
    found: dict[int, Citation] = {}
    for message in messages:
        artifact = message.artifact if isinstance(message, ToolMessage) else None
        if isinstance(artifact, dict):
            for citation in artifact.get("citations", []):
                found.setdefault(citation["number"], citation)
    named = [c for number, c in found.items() if f"[{number}]" in output]
    return named or list(found.values())
