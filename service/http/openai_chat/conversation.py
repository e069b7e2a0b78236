"""Reads a conversation: the task in it, or the answer to what a run has asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from domain.approval import Approval, Decision
from domain.errors import CallerError
from service.http.fields import TASK_CHARS
from service.http.openai_chat.schemas import MessageIn

MARK: Final = "[signalbox:"
_WAITS: Final = re.compile(r"\[signalbox: (run_[0-9a-f]{32}) asks ((?:apr_[0-9a-f]{32} ?)+)\]\s*\Z")
"""How the end of a turn names what it asks; nothing that a model wrote may look like it."""

_YES: Final = re.compile(r"\s*(approve|approved|yes|y|ok|okay)\s*[.!]?\s*", re.IGNORECASE)
_NO: Final = re.compile(
    r"\s*(?:(?:reject|rejected|deny)\b|(?:no|n|finish)\s*(?:\Z|[:,.!-]))[\s:,.!-]*(.*)",
    re.IGNORECASE | re.DOTALL,
)
"""`no problem, go on` is no refusal."""

_REFUSAL: Final = re.compile(r"\s*(?:reject|rejected|deny)\b", re.IGNORECASE)
"""What is said to a question and hardly to a team: `no, the other one` may be a task."""

LEFT_OUT: Final = "(earlier turns are left out)"


class Question(NamedTuple):
    """What the turn before has asked, by which run."""

    run_id: str
    approval_ids: tuple[str, ...]


def disarm(text: str) -> str:
    """Return a text of a model in which nothing passes for a question of ours."""
    return text.replace(MARK, "[signalbox\u200b:")


def question_in(messages: Sequence[MessageIn]) -> Question | None:
    """Return what the last answer in the conversation asks, where it asks something."""
    if len(messages) < 2 or messages[-1].role != "user":  # noqa: PLR2004 - a question and its answer
        return None
    before = next((m for m in reversed(messages[:-1]) if m.role in {"assistant", "user"}), None)
    if before is None or before.role != "assistant":
        return None
    found = _WAITS.search(before.text)
    return Question(found[1], tuple(dict.fromkeys(found[2].split()))) if found else None


def task_in(messages: Sequence[MessageIn], *, alone: bool) -> str:
    """Return the task: what was said last, with what was said before as its context.

    `alone`: the thread has what was said before. Raises `validation-error` where nobody asks anything.
    """
    last = messages[-1] if messages else None
    if last is None or last.role != "user" or not last.text.strip():
        detail = "The last message has to be the user's, with a text."
        raise CallerError("validation-error", detail)
    if len(last.text) > TASK_CHARS:
        detail = f"The last message has more than {TASK_CHARS} characters. Send less, or files to /v1/runs."
        raise CallerError("validation-error", detail)
    rules = "\n".join(
        m.text for m in messages if m.role in {"system", "developer"} and m.text.strip()
    )
    told = [] if alone else [m for m in messages[:-1] if m.role in {"user", "assistant"}]
    parts = []
    if rules:
        parts.append(f"<instructions>\n{rules}\n</instructions>")
    room = TASK_CHARS - len(last.text) - sum(map(len, parts)) - 200
    if room < 0:
        detail = f"The system message leaves no room for the task: both have to fit into {TASK_CHARS} characters."
        raise CallerError("validation-error", detail)
    turns = _latest(told, room)
    if turns:
        parts.append(f"<conversation>\n{turns}\n</conversation>")
    return "\n\n".join([*parts, last.text])


def _latest(told: Sequence[MessageIn], room: int) -> str:
    """Return as many turns as there is room for, the latest ones."""
    turns: list[str] = []
    for message in reversed(told):
        turn = f"{message.role}: {_WAITS.sub('', message.text).strip()}"
        room -= len(turn) + 2
        if room < 0:
            turns.append(LEFT_OUT)
            break
        turns.append(turn)
    return "\n\n".join(reversed(turns))


def refuses(text: str) -> bool:
    """Return whether words refuse what was asked, and can be nothing else."""
    return _REFUSAL.match(text) is not None


def decision_in(text: str, approval: Approval) -> Decision | None:
    """Return what a person's words decide; `None` where they do not say.

    Raises `validation-error` for an answer that is empty, or longer than one may be.
    """
    try:
        return _decision(text, approval)
    except ValidationError as error:
        msg = f"The last message cannot decide: {error.errors()[0]['msg']}."
        raise CallerError("validation-error", msg) from error


def _decision(text: str, approval: Approval) -> Decision | None:
    if approval.type == "input":
        return Decision(type="respond", message=text)
    no = _NO.fullmatch(text)
    if no:
        return Decision(type="reject", message=no[1].strip() or None)
    if approval.type == "action" and _YES.fullmatch(text):
        return Decision(type="approve")
    return None


def tell_question(run_id: str, approvals: Sequence[Approval], base_url: str) -> str:
    """Return what ends a turn: what is asked, how it is answered here, and where else."""
    lines = [line for approval in approvals for line in _question(approval)]
    lines.append(_ways({approval.type for approval in approvals}))
    lines += [f"Or decide at {base_url}/v1/approvals/{approval.id}" for approval in approvals]
    ids = " ".join(approval.id for approval in approvals)
    return "\n\n".join([*lines, f"{MARK} {run_id} asks {ids}]"])


def _question(approval: Approval) -> list[str]:
    said = disarm(approval.description)
    if approval.type == "action":
        call = disarm(_json(approval.action.args if approval.action else {}))
        name = approval.action.name if approval.action else ""
        return [f"**{approval.agent} asks to call `{name}`**", said, f"```json\n{call}\n```"]
    return [f"**{approval.agent} asks**", said]


def _ways(kinds: set[str]) -> str:
    if kinds == {"input"}:
        return "Your next message is the answer."
    if kinds == {"budget"}:
        return "Answer `finish` for the best there is by now, or raise the run's budget with PATCH /v1/runs/{id}."
    if "input" in kinds:
        return "Several things are asked: decide about each at its address."
    return "Answer `approve`, or `reject: why`."


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
