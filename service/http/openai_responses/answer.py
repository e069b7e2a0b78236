"""A response as JSON: what of a run it tells, in the words of OpenAI's API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fastapi import Request

from domain.errors import CallerError
from domain.problems import Problem
from domain.run import Run
from service.http.openai_chat.answering import DECIDES_NOTHING, TEAM, Turn, outcome
from service.http.openai_chat.turn import Asks, Ended, describe, whole
from service.http.openai_responses.schemas import ResponseIn
from service.http.runs import is_run_id

_ID: Final = re.compile(r"resp_([0-9a-f]{32})(?:_([0-9]{1,10}))?")

_STATUS: Final = {"queued": "queued", "running": "in_progress", "requires_action": "in_progress"}
"""What a response is called that has not ended; a run that asks somebody and is answered goes on."""


class ResponseId(NamedTuple):
    """Which run a response tells of, and from which event on."""

    run_id: str
    after: int

    def __str__(self) -> str:
        """Return the id as clients have it; that of a whole run has no number."""
        bare = self.run_id.replace("run_", "resp_", 1)
        return f"{bare}_{self.after}" if self.after else bare


def read_id(text: str) -> ResponseId:
    """Return what an id says; raises `not-found` for what is none."""
    found = _ID.fullmatch(text)
    if found is None or not is_run_id(f"run_{found[1]}"):
        raise not_there(text)
    return ResponseId(f"run_{found[1]}", int(found[2] or 0))


def not_there(text: str) -> CallerError:
    """Return the error for a response that is not there."""
    return CallerError("not-found", f"There is no response {text[:80]!r}: deleted, or never made.")


@dataclass(frozen=True)
class Shape:
    """What a response repeats of its request; of one that is looked up later, what its run still knows."""

    model: str
    background: bool | None = None
    instructions: str | None = None
    previous_response_id: str | None = None

    @classmethod
    def of(cls, body: ResponseIn) -> Shape:
        """Return what a request has said."""
        return cls(
            model=body.model,
            background=bool(body.background),
            instructions=body.instructions,
            previous_response_id=body.previous_response_id,
        )

    @classmethod
    def kept(cls, run: Run) -> Shape:
        """Return what a run knows of its request."""
        alone = run.agents[0] if run.agents and len(run.agents) == 1 else None
        return cls(model=f"{TEAM}/{alone}" if alone else TEAM)


class Answer:
    """A turn as a response."""

    def __init__(self, turn: Turn, shape: Shape, request: Request) -> None:
        self.turn = turn
        self.shape = shape
        self.request = request
        self.id = ResponseId(turn.run.id, turn.after)

    def going(self, run: Run) -> dict[str, Any]:
        """Return the response while the turn goes on."""
        return self._body(run, _STATUS.get(run.status, "in_progress"), [])

    def ended(
        self, step: Ended | Asks, output: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Return the response when the turn has ended; `output` is what a stream has told."""
        problem, text = self.outcome(step)
        run = step.run
        if output is None:
            text = f"{DECIDES_NOTHING}{text}" if self.turn.unanswered else text
            output = [] if problem else [self.message(text, run)]
        approvals = step.approvals if isinstance(step, Asks) else None
        # A question is the whole answer of its turn.
        status = "completed" if isinstance(step, Asks) else str(run.status)
        if problem and status != "cancelled":
            status = "failed"
        body = self._body(run, status, output)
        body["signalbox"] = describe(run, approvals)
        if problem:
            body["error"] = {"code": problem["code"], "message": problem["detail"]}
        elif status == "incomplete":
            body["incomplete_details"] = {"reason": run.stop_reason}
        if isinstance(step, Ended) and run.ended_at:
            body["completed_at"] = int(run.ended_at.timestamp())
        return body

    def outcome(self, step: Ended | Asks) -> tuple[Problem | None, str]:
        """Return what went wrong, or the whole text."""
        problem, text = outcome(self.turn, step, self.request)
        if problem is None and isinstance(step, Ended) and not self.turn.structured:
            text = whole(step.run)
        return problem, text

    def message(self, text: str, run: Run, *, status: str = "", number: int = 1) -> dict[str, Any]:
        """Return the item that has the answer."""
        return {
            "id": self.item_id("msg", number),
            "type": "message",
            "role": "assistant",
            "status": status or ("incomplete" if run.status == "incomplete" else "completed"),
            "content": [text_part(text)],
        }

    def item_id(self, kind: str, number: int = 1) -> str:
        """Return the id of an item: it follows from that of the response."""
        own = str(self.id).replace("resp", kind, 1)
        return f"{own}_v{number}" if number > 1 else own

    def _body(self, run: Run, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        shape = self.shape
        wanted = run.output_schema
        form: dict[str, Any] = {"type": "text"}
        if wanted is not None:
            form = {"type": "json_schema", "name": "answer", "schema": wanted, "strict": True}
        return {
            "id": str(self.id),
            "object": "response",
            "created_at": int(run.created_at.timestamp()),
            "completed_at": None,
            "status": status,
            "background": shape.background,
            "error": None,
            "incomplete_details": None,
            "instructions": shape.instructions,
            "max_output_tokens": None,
            "metadata": {name: _word(value) for name, value in run.metadata.items()},
            "model": shape.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": shape.previous_response_id,
            "conversation": {"id": run.thread_id},
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": None,
            "text": {"format": form},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": usage_of(run),
            "user": None,
            "signalbox": describe(run),
        }


def text_part(text: str) -> dict[str, Any]:
    """Return a text as a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage_of(run: Run) -> dict[str, Any]:
    """Return what the run has used so far, as the responses count it."""
    usage = run.usage
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _word(value: object) -> str:
    """Return a value of a run's metadata as the text that OpenAI's metadata are."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
