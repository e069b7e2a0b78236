"""Compares the events of two runs that should be the same, whenever and under whichever ids they were made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

MARK: Final = "signalbox_replay"
"""Under which name the metadata of a replayed run say what it is."""

MOST_LINES: Final = 60
SHOWN: Final = 200
"""Characters of a value in a difference."""

_IDS: Final = re.compile(r"\b(run|thr|apr|act|whd|req)_[0-9A-Za-z]{8,}")

_VOLATILE: Final = frozenset(
    {
        "seq",
        "last_seq",
        "ts",
        "at",
        "by",
        "attempt",
        "created_at",
        "started_at",
        "ended_at",
        "expires_at",
        "duration_ms",
        "delay_seconds",
        "args_digest",
        "sha256",
        "trace_id",
        "trace_url",
        "links",
        "approval_ids",
        "seconds",
        "max_seconds",
        "cause",
    }
)
"""What differs from run to run: times, ids, and the digests of what may have had secrets."""

_LEFT_OUT: Final = frozenset({"usage.updated", "run.requires_action", "run.started", "run.resumed"})
"""Sums on the way, and when a run waited: they depend on which of several at once came first. What was used
in the end stands in the last event."""


def differences(
    recorded: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return what is not the same, in lines for people; nothing where the events are."""
    before, after = _by_place(recorded), _by_place(now)
    lines: list[str] = []
    for place in [*before, *(place for place in after if place not in before)]:
        lines += _compare(place, before.get(place, []), after.get(place, []))
    if len(lines) > MOST_LINES:
        return [*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} more"]
    return lines


def _by_place(events: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return events by where in their run they belong: of several at once each is on its own there."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event["type"] not in _LEFT_OUT:
            found.setdefault(_place(event), []).append(dict(event))
    return found


def _place(event: Mapping[str, Any]) -> str:
    data = event["data"]
    who = event.get("path") or event.get("agent") or "run"
    artifact, approval = data.get("artifact"), data.get("approval")
    what = data.get("call_id", "")
    if isinstance(artifact, dict):
        what = f"file {artifact.get('name')}"
    elif isinstance(approval, dict):
        what = f"approval of {approval.get('tool') or approval.get('type')}"
    return f"round {event.get('round')}, {who}" + (f", {what}" if what else "")


def _compare(
    place: str, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> Iterator[str]:
    for number in range(max(len(before), len(after))):
        if number >= len(after):
            yield f"- {place}: {before[number]['type']} was recorded, and did not happen"
        elif number >= len(before):
            yield f"+ {place}: {after[number]['type']} was not recorded"
        elif before[number]["type"] != after[number]["type"]:
            yield f"! {place}: {before[number]['type']} was recorded, {after[number]['type']} happened"
            return
        else:
            was, now = normal(before[number]["data"]), normal(after[number]["data"])
            yield from _unequal(f"{place}: {before[number]['type']}", was, now)


def normal(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return {
            name: normal(each) for name, each in value.items() if name not in _VOLATILE | {MARK}
        }
    if isinstance(value, list):
        return [normal(each) for each in value]
    return _IDS.sub(r"\1_…", value) if isinstance(value, str) else value


def _unequal(where: str, was: Any, now: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if was == now:
        return
    if isinstance(was, dict) and isinstance(now, dict):
        for name in [*was, *(name for name in now if name not in was)]:
            missing = object()
            one, other = was.get(name, missing), now.get(name, missing)
            if one is missing or other is missing:
                yield f"! {where}.{name} is {'new' if one is missing else 'gone'}"
            else:
                yield from _unequal(f"{where}.{name}", one, other)
        return
    yield f"! {where}: {_short(was)} was recorded, now it is {_short(now)}"


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
