"""Writes down what runs do: decisions, agents, tools, model calls, approvals, ends. Never what they say.

A line's `action` is the type of its event (docs/logs.md). Names, numbers, codes and sentences of our own are in
it; prompts, answers, arguments and comments are in the events, for whoever may read the run.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from structlog.contextvars import get_contextvars

from domain.budget import Tried
from domain.events import TERMINAL_EVENTS, Event
from domain.usage import ModelCall, add_known, cost_of, plain

MAX_UNDER_WAY: Final = 10_000
"""Assignments of which is remembered what they took; the oldest is forgotten first."""

Fields = dict[str, Any]

_log = logging.getLogger("signalbox.journal")


@dataclass
class _Work:
    """What an assignment took, as far as this process has seen it."""

    begun: datetime | None = None
    calls: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = Decimal(0)

    def add(self, call: ModelCall) -> None:
        self.calls += 1
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        self.cost = add_known(self.cost, cost_of(call))

    def fields(self, until: datetime) -> Fields:
        seconds = (until - self.begun).total_seconds() if self.begun else None
        return {
            "seconds": None if seconds is None else round(max(seconds, 0.0), 3),
            "retries": self.retries,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            **_cost(self.cost),
        }


class Journal:
    """An observer of the hub that writes a line for what matters."""

    def __init__(self) -> None:
        self._under_way: OrderedDict[tuple[str, str, str], _Work] = OrderedDict()
        self._lines: Final[Mapping[str, Callable[[Event], None]]] = {
            "run.started": self._started,
            "run.resumed": self._resumed,
            "run.requires_action": _waits,
            "supervisor.decision": _decided,
            "agent.started": self._agent_started,
            "agent.completed": self._agent_completed,
            "agent.failed": self._agent_failed,
            "agent.retrying": self._retried,
            "tool.started": _tool_started,
            "tool.completed": _tool_completed,
            "tool.failed": _tool_failed,
            "approval.requested": _asked,
            "approval.resolved": _answered,
            "approval.expired": _expired,
            "action.in_doubt": _in_doubt,
            "artifact.created": _left,
            "validation.completed": _checked,
            "budget.warning": _warned,
            "budget.reached": _reached,
            "cache.hit": _reused,
            "note.added": _noted,
            **dict.fromkeys(TERMINAL_EVENTS, self._ended),
        }

    @property
    def actions(self) -> frozenset[str]:
        """Return the types of events of which there is a line."""
        return frozenset(self._lines)

    def stored(self, events: Iterable[Event]) -> None:
        """Write down what was just stored."""
        for event in events:
            line = self._lines.get(event.type)
            if line:
                try:
                    line(event)
                except Exception:  # noqa: BLE001 - a line less is no reason to end a run
                    fields = {"action": "line_not_made", "run_id": event.run_id}
                    _log.exception("There is no line for an event.", extra=fields)

    def called(self, calls: Iterable[ModelCall]) -> None:
        """Write down calls of models that are being booked, in the segment of their run."""
        run_id = str(get_contextvars().get("run_id", ""))
        for call in calls:
            path, number = _path_and_try(call.key)
            if call.status != "cached":
                self._work(run_id, call.key.partition("|")[0], path).add(call)
            fields: Fields = {
                "action": "model_called",
                "agent": call.agent,
                "path": path,
                "round": call.round,
                "model": call.model,
                "tier": call.tier,
                "status": call.status,
                "try": number,
                "input_tokens": call.input_tokens,
                "output_tokens": call.output_tokens,
                "cached_tokens": call.cached_tokens,
                "metered": call.metered,
                **_cost(cost_of(call)),
            }
            text = "A model call of %s: %s."
            _log.info(text, call.agent, call.status, extra=fields)

    def tried(self, tried: Tried) -> None:
        """Write down a try of a model call that has failed, billed or not; of the others `called` tells."""
        if tried.status == "completed":
            return
        planned = tried.planned
        path, number = _path_and_try(planned.key)
        fields: Fields = {
            "action": "model_failed",
            "run_id": planned.run_id,
            "attempt": planned.attempt,
            "agent": planned.agent,
            "path": path,
            "round": planned.round,
            "model": planned.model,
            "tier": planned.tier,
            "status": tried.status,
            "try": number,
            "cause": tried.cause,
            "seconds": round(max((tried.ended - tried.began).total_seconds(), 0.0), 3),
        }
        _log.info("A model call of %s has failed: %s.", planned.agent, tried.cause, extra=fields)

    def _work(self, run_id: str, round_: object, path: str | None) -> _Work:
        key = (run_id, str(round_), path or "")
        work = self._under_way.get(key)
        if work is None:
            work = self._under_way[key] = _Work()
            if len(self._under_way) > MAX_UNDER_WAY:
                self._under_way.popitem(last=False)
        return work

    def _take(self, event: Event) -> Fields:
        """Return what an assignment took that has ended."""
        key = (event.run_id, str(event.round), event.path or "")
        return self._under_way.pop(key, _Work()).fields(event.ts)

    def _started(self, event: Event) -> None:
        _say(event, "The run begins.")

    def _resumed(self, event: Event) -> None:
        _say(event, "The run goes on.", cause=event.data.get("cause"))

    def _agent_started(self, event: Event) -> None:
        self._work(event.run_id, event.round, event.path).begun = event.ts
        fields = {"model": event.data["model"], "tier": event.data["tier"]}
        _say(event, f"{event.agent} begins.", **fields)

    def _agent_completed(self, event: Event) -> None:
        model = event.data["usage"].get("model")
        _say(event, f"{event.agent} has ended.", model=model, **self._take(event))

    def _agent_failed(self, event: Event) -> None:
        fields = {"code": event.data["code"], "detail": event.data["detail"]}
        _say(event, f"{event.agent} has failed.", logging.WARNING, **fields, **self._take(event))

    def _retried(self, event: Event) -> None:
        self._work(event.run_id, event.round, event.path).retries += 1
        data = event.data
        _say(
            event,
            f"A model call of {event.agent} is made again.",
            logging.WARNING,
            reason=data["reason"],
            delay_seconds=data["delay_seconds"],
            **{"try": data["try"]},
        )

    def _ended(self, event: Event) -> None:
        for key in [key for key in self._under_way if key[0] == event.run_id]:
            del self._under_way[key]
        run, status = event.data.get("run") or {}, event.type.removeprefix("run.")
        usage, error = run.get("usage") or {}, run.get("error") or {}
        level = logging.WARNING if status == "failed" else logging.INFO
        _say(
            event,
            f"The run has ended: {status}.",
            level,
            thread_id=run.get("thread_id"),
            status=status,
            stop_reason=run.get("stop_reason"),
            code=error.get("code"),
            detail=error.get("detail"),
            degraded=[part["agent"] for part in run.get("degraded", ())] or None,
            seconds=_between(run.get("created_at"), event.ts),
            rounds=run.get("rounds"),
            calls=usage.get("calls"),
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            cost_usd=usage.get("cost_usd"),
            cost_known=usage.get("cost_known"),
        )


def _say(event: Event, text: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write a line about an event."""
    about = {
        "action": event.type,
        "run_id": event.run_id,
        "attempt": event.attempt,
        "agent": event.agent,
        "path": event.path,
        "round": event.round or None,
        "seq": event.seq,
    }
    _log.log(level, "%s", text, extra={**about, **fields})


def _waits(event: Event) -> None:
    asked = event.data["required_action"]
    _say(
        event,
        "The run waits for a person.",
        asks=asked["type"],
        approval_ids=asked["approval_ids"],
    )


def _decided(event: Event) -> None:
    """Whom, not what for: the reason is a model's text, and the tasks are too."""
    names = [each["agent"] for each in event.data["assignments"]]
    text = f"The supervisor sets {', '.join(names) or 'nobody'} to work."
    raised = sorted(
        {f"{e['agent']}:{e['tier']}" for e in event.data["assignments"] if e.get("tier")}
    )
    _say(
        event,
        text,
        agents=names,
        assignments=len(names),
        tiers=raised or None,
        reason_chars=len(event.data.get("reason") or ""),
    )


def _tool_started(event: Event) -> None:
    _say(event, f"{event.agent} calls {event.data['tool']}.", **_call(event))


def _tool_completed(event: Event) -> None:
    took = event.data.get("duration_ms")
    text = f"{event.data['tool']} has answered {event.agent}."
    _say(event, text, **_call(event), ok=True, duration_ms=took)


def _tool_failed(event: Event) -> None:
    text = f"{event.data['tool']} has failed {event.agent}."
    _say(event, text, **_call(event), ok=False, duration_ms=event.data.get("duration_ms"))


def _call(event: Event) -> Fields:
    return {"tool": event.data["tool"], "call_id": event.data["call_id"]}


def _approval(event: Event) -> Fields:
    approval = event.data["approval"]
    return {
        "approval_id": approval["id"],
        "asks": approval["type"],
        "tool": approval.get("tool"),
        "thread_id": approval.get("thread_id"),
    }


def _asked(event: Event) -> None:
    _say(event, "A person is asked.", **_approval(event))


def _answered(event: Event) -> None:
    approval = event.data["approval"]
    decision = approval["decision"]
    seconds = _between(approval.get("created_at"), event.ts)
    fields = {"decision": decision["type"], "by": decision.get("by"), "seconds": seconds}
    _say(event, "A person has decided.", **_approval(event), **fields)


def _expired(event: Event) -> None:
    on_expiry = event.data["approval"].get("on_expiry")
    text = "Nobody has decided in time."
    _say(event, text, logging.WARNING, **_approval(event), on_expiry=on_expiry)


def _in_doubt(event: Event) -> None:
    action = event.data["action"]
    text = f"It is not known whether a call of {action['tool']} took effect."
    _say(event, text, logging.WARNING, tool=action["tool"], action_id=action["id"])


def _left(event: Event) -> None:
    artifact = event.data["artifact"]
    fields = {"media_type": artifact["media_type"], "bytes": artifact["size"]}
    _say(event, f"{event.agent} has left a file.", **fields)


def _checked(event: Event) -> None:
    data = event.data
    reasons, found = len(data.get("reasons", ())), len(data.get("disagreements", ()))
    fields = {"verdict": data["verdict"], "by": data.get("by")}
    text = f"The results were checked: {data['verdict']}."
    _say(event, text, **fields, reasons=reasons, disagreements=found)


def _warned(event: Event) -> None:
    fields = {"scope": event.data["scope"], "limit": event.data["limit"]}
    _say(event, "Four fifths of a limit are used.", logging.WARNING, **fields)


def _reached(event: Event) -> None:
    data = event.data
    fields = {"scope": data["scope"], "limit": data["limit"], "detail": data.get("detail")}
    _say(event, "A limit is reached.", logging.WARNING, **fields)


def _reused(event: Event) -> None:
    data = event.data
    fields = {"kind": data["kind"], "source_run_id": data["run_id"], "age_seconds": data["age"]}
    _say(event, "Work of another run is used.", **fields, saved_cost_usd=data["saved_cost_usd"])


def _noted(event: Event) -> None:
    """That there is one, and whose; not what it says."""
    note = event.data["note"]
    _say(event, "Somebody has told the run something.", note_id=note["id"], by=note.get("by"))


def _path_and_try(key: str) -> tuple[str, int]:
    """Return which part of its run a call is of, and which try it is."""
    _, path, *rest = key.split("|")
    number = rest[-1].rpartition("~")[2] if rest and "~" in rest[-1] else "1"
    return path, int(number) if number.isdecimal() else 1


def _cost(cost: Decimal | None) -> Fields:
    """Return what something cost, as the API writes it; `cost_known` is false where nobody knows."""
    return {"cost_usd": None if cost is None else plain(cost), "cost_known": cost is not None}


def _between(since: str | None, until: datetime) -> float | None:
    if since is None:
        return None
    return round(max((until - datetime.fromisoformat(since)).total_seconds(), 0.0), 3)
