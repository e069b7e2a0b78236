"""What tests of the validator share: agents that read a file, a supervisor that goes on, a judge."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from tests.fakes.model_script import ModelRequest, Reply, Rule, When, make_route

LEDGER = "invoices: 212\ntotal: 48170 EUR\n"
READ = ("read_file", {"path": "ledger.txt"})
UPLOAD = {"name": "ledger.txt", "content_base64": base64.b64encode(LEDGER.encode()).decode()}


def routes(*rounds: Sequence[tuple[str, str]]) -> Rule:
    """Return the rule of a supervisor that gives these assignments, round by round, then none."""
    left = list(rounds)

    def reply(request: ModelRequest) -> Reply:
        del request
        return Reply.json(make_route(left.pop(0) if left else [], "as scripted"))

    return Rule(when=When(schema=True, system="^You supervise"), reply=reply)


def judge(*verdicts: dict[str, Any] | Reply) -> Rule:
    """Return the rule of the validator's model: one verdict a call, the last one for ever."""
    left = list(verdicts)

    def reply(request: ModelRequest) -> Reply:
        del request
        said = left.pop(0) if left[1:] else left[0]
        return said if isinstance(said, Reply) else Reply.json(verdict(**said))

    return Rule(when=When(schema=True, system="^You check"), reply=reply)


def verdict(verdict: str = "accept", **more: Any) -> dict[str, Any]:
    """Return a judgement."""
    empty: dict[str, Any] = {"criteria": [], "disagreements": [], "reasons": [], "fixes": []}
    return {**empty, "verdict": verdict, **more}


def works(task: str, *answers: str, reads: bool = True) -> Rule:
    """Return the rule of an agent that reads the ledger and answers; one answer for each time it is asked.

    `task` is how the assignment begins: a correction repeats it.
    """
    left = list(answers)

    def reply(request: ModelRequest) -> Reply:
        if reads and not any(m.get("role") == "tool" for m in request.body["messages"]):
            return Reply.calls(READ)
        return Reply(text=left.pop(0) if left[1:] else left[0])

    return Rule(when=When(schema=False, user=f"<assignment>\n{task}"), reply=reply)


def composes(*texts: str) -> Rule:
    """Return the rule of the final answer, one text for each time it is asked for."""
    left = list(texts)

    def reply(request: ModelRequest) -> Reply:
        del request
        return Reply(text=left.pop(0) if left[1:] else left[0])

    return Rule(when=When(schema=False, system="^Write the final answer"), reply=reply)
