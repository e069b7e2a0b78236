"""A response as typed events, numbered so that a stream can be taken up where it was cut.

The number of an event follows from what it tells, not from how the stream was cut into pieces: of a
piece of the answer it grows with each character. The same run told again has the same numbers, so
nothing has to be kept for a client that comes back.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from domain.problems import Problem
from domain.run import Run
from service.http.openai_chat.turn import Asks, Ended, Progress, Said
from service.http.openai_responses.answer import Answer, text_part

ANSWER_FROM: Final = 1_000_000
"""The number at which an answer begins, and each further one that takes its place: there are fewer lines
of progress and, in an answer, characters than that."""

MAX_SEEN: Final = 2**53 - 2
"""The largest number after which there is another that every JSON reader keeps."""

DONE: Final = b"data: [DONE]\n\n"


class ResponseEvents:
    """Turns the steps of a turn into frames; what a client has seen already is left out."""

    def __init__(self, answer: Answer, *, seen: int | None = None) -> None:
        self._answer = answer
        self._seen = -1 if seen is None else seen
        self._number = -1
        self._progress: list[str] = []
        self._said: list[str] = []
        self._chars = 0
        self._messages = 0
        self._open = False
        self._output: list[dict[str, Any]] = []
        """The items that are complete."""

    def begin(self, run: Run) -> bytes:
        """Return the events that every response begins with."""
        body = self._answer.going(run)
        return self._event("response.created", response=body) + self._event(
            "response.in_progress", response=body
        )

    def progress(self, step: Progress) -> bytes:
        """Return how far the run is, as a summary of reasoning; nothing more once the answer has begun."""
        if self._messages:
            return b""
        frames = b""
        where = self._summary()
        if not self._progress:
            frames = self._event(
                "response.output_item.added",
                output_index=0,
                item=self._reasoning("in_progress", []),
            ) + self._event(
                "response.reasoning_summary_part.added",
                **where,
                part={"type": "summary_text", "text": ""},
            )
        self._progress.append(step.text)
        return frames + self._event(
            "response.reasoning_summary_text.delta", **where, delta=step.text
        )

    def said(self, step: Said) -> bytes:
        """Return a piece of the answer. One that takes the place of what was said is an item of its own,
        and what was said stays behind as incomplete."""
        frames = b""
        if step.anew and self._open:
            frames = self._close("incomplete")
            self._output.pop()
        if not self._open:
            frames += self._open_message()
        self._chars += len(step.text)
        self._said.append(step.text)
        # Of a piece that was seen in part the rest is sent.
        known = min(max(self._seen - self._number, 0), len(step.text))
        self._number += known
        fresh = step.text[known:]
        if not fresh:
            return frames
        return frames + self._event(
            "response.output_text.delta",
            number=self._number + len(fresh),
            **self._part(),
            delta=fresh,
            logprobs=[],
        )

    def end(self, step: Ended | Asks) -> bytes:
        """Return what is left to say of a turn that has ended."""
        problem, text = self._answer.outcome(step)
        frames = b""
        rest = text if isinstance(step, Asks) or self._answer.turn.structured else ""
        if problem is None and rest:
            follows = self._chars and not self._answer.turn.unanswered
            frames = self.said(Said(f"\n\n{rest}" if follows else rest))
        whole = not problem and step.run.status != "incomplete"
        if not problem and not self._open:
            frames += self._open_message()
        frames += self._close("completed" if whole else "incomplete")
        if not self._messages:
            frames += self._close_progress()
        body = self._answer.ended(step, self._output)
        kind = "failed" if body["status"] == "cancelled" else body["status"]
        return frames + self._last(f"response.{kind}", response=body)

    def cut(self, problem: Problem) -> bytes:
        """Return the end of a stream whose run goes on without it."""
        return self._last("error", code=problem["code"], message=problem["detail"], param=None)

    def _open_message(self) -> bytes:
        frames = b"" if self._messages else self._close_progress()
        self._messages += 1
        self._open = True
        self._said, self._chars = [], 0
        number = max(self._messages * ANSWER_FROM, self._number + 1)
        item = {**self._item("in_progress"), "content": []}
        return (
            frames
            + self._event(
                "response.output_item.added", number=number, output_index=self._index(), item=item
            )
            + self._event("response.content_part.added", **self._part(), part=text_part(""))
        )

    def _close(self, status: str) -> bytes:
        if not self._open:
            return b""
        self._open = False
        text = "".join(self._said)
        item = self._item(status, text)
        self._output.append(item)
        return (
            self._event("response.output_text.done", **self._part(), text=text, logprobs=[])
            + self._event("response.content_part.done", **self._part(), part=text_part(text))
            + self._event("response.output_item.done", output_index=self._index(), item=item)
        )

    def _close_progress(self) -> bytes:
        if not self._progress:
            return b""
        text = "".join(self._progress)
        part = {"type": "summary_text", "text": text}
        where = self._summary()
        item = self._reasoning("completed", [part])
        self._output.append(item)
        self._number = ANSWER_FROM - 4
        return (
            self._event("response.reasoning_summary_text.done", **where, text=text)
            + self._event("response.reasoning_summary_part.done", **where, part=part)
            + self._event("response.output_item.done", output_index=0, item=item)
        )

    def _summary(self) -> dict[str, Any]:
        return {"item_id": self._answer.item_id("rs"), "output_index": 0, "summary_index": 0}

    def _reasoning(self, status: str, summary: list[dict[str, Any]]) -> dict[str, Any]:
        item_id = self._answer.item_id("rs")
        return {"id": item_id, "type": "reasoning", "status": status, "summary": summary}

    def _item(self, status: str, text: str = "") -> dict[str, Any]:
        run = self._answer.turn.run
        return self._answer.message(text, run, status=status, number=self._messages)

    def _index(self) -> int:
        return self._messages - 1 + (1 if self._progress else 0)

    def _part(self) -> dict[str, Any]:
        item_id = self._answer.item_id("msg", self._messages)
        return {"item_id": item_id, "output_index": self._index(), "content_index": 0}

    def _last(self, kind: str, **fields: Any) -> bytes:
        # It is news to everybody, even where an answer that was begun anew has become shorter.
        self._number = max(self._number, self._seen)
        return self._event(kind, **fields) + DONE

    def _event(self, kind: str, *, number: int | None = None, **fields: Any) -> bytes:
        self._number = self._number + 1 if number is None else number
        if self._number <= self._seen:
            return b""
        body = {"type": kind, "sequence_number": self._number, **fields}
        return f"event: {kind}\ndata: ".encode() + orjson.dumps(body) + b"\n\n"
