"""Replays a recording: the run is made again, with what was recorded in the place of all that is outside."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from agents._kit.replayer import Replayer
from domain.errors import ConfigurationError
from domain.recording import Recording
from domain.secrets import Scrubber
from monitoring.logs import keep_to_warnings
from service.bootstrap import open_services
from service.commands.client import connected
from service.commands.following import follow
from service.commands.lanes import make_progress
from service.commands.progress import Progress, say
from service.commands.recording import read_events
from service.commands.run import serving_alone
from service.comparing import MARK, differences
from service.settings import Settings
from service.taping import open_replayed_parts, team_digests

_DECIDED: Final = frozenset({"approval.resolved", "approval.expired"})
_SAID: Final = ("type", "edited_action", "message", "comment", "remember")


async def replay_run(
    settings: Settings, recording: Recording, file: Path, *, check: bool, loose: bool, quiet: bool
) -> int:
    """Make the recorded run again, show its progress, print it; return the exit code."""
    _refuse_what_cannot(recording, file, check=check)
    # Of a recording that was changed by hand anything may come: that is no fault of the code.
    keep_to_warnings(traces=False)
    progress = make_progress(quiet=quiet, replayed=True)
    replayer = Replayer(recording, Scrubber(), loose=loose)
    opens = partial(open_replayed_parts, recording, replayer)
    async with (
        open_services(settings, opens=opens) as services,
        serving_alone(services) as (base_url, key),
        connected(base_url, key) as client,
    ):
        progress.insist(f"replayed from {file}: no model is called, no tool is run")
        _tell_versions(recording, services.graph_version, team_digests(services.team), progress)
        person = RecordedPerson(client, recording)
        run = (await follow(client, _body(recording, file), progress, person)).run
        events = await read_events(client, run["id"])
    print(json.dumps(run, indent=2, ensure_ascii=False))  # noqa: T201 - the command's result
    return _judge(
        recording, run, events, replayer, check=check, undecided=person.undecided, quiet=quiet
    )


def _judge(
    recording: Recording,
    run: dict[str, Any],
    events: list[dict[str, Any]],
    replayer: Replayer,
    *,
    check: bool,
    quiet: bool,
    undecided: list[str],
) -> int:
    """Say what went otherwise; return the exit code."""
    for what in replayer.differences:
        say(f"differs: {what}")
    for what in [*replayer.faults, *undecided]:
        say(f"missing: {what}")
    was = recording.run["status"] if recording.run else "unknown"
    fine = not replayer.faults and not undecided and was == run["status"]
    if was != run["status"]:
        say(f"The recorded run is {was}, this one {run['status']}.")
    if not replayer.loose:
        fine = fine and not replayer.differences
    if check:
        found = [f"? {what} was recorded, and nobody asked for it" for what in replayer.unused()]
        found += differences(recording.events, events)
        for line in found:
            say(line)
        fine = fine and not found
        if fine and not quiet:
            say(f"The same {len(events)} events as recorded.")
    return 0 if fine else 1


def _refuse_what_cannot(recording: Recording, file: Path, *, check: bool) -> None:
    """Raise `ConfigurationError` where a recording cannot be replayed as it is wanted."""
    outside = set(recording.header.outside)
    worked = {e.get("agent") for e in recording.events if e.get("type") == "agent.started"}
    if outside & worked:
        names = ", ".join(sorted(outside & worked))
        raise ConfigurationError(
            f"{file} cannot be replayed: {names} is a graph from outside, whose model calls nobody sees."
        )
    if check and recording.broken_off:
        raise ConfigurationError(
            f"{file} cannot be checked: its run was broken off. Replay it without --check."
        )


def _tell_versions(
    recording: Recording, graph_version: str, team: dict[str, str], progress: Progress
) -> None:
    header = recording.header
    if header.graph_version != graph_version:
        progress.insist(f"recorded by Signalbox {header.product} with another graph")
    changed = [name for name, made in header.team.items() if team.get(name) != made]
    if changed:
        progress.insist(f"changed since it was recorded: {', '.join(changed)}")


def _body(recording: Recording, file: Path) -> dict[str, Any]:
    """Return what is asked again. Of files only the sizes matter: no tool is run that would read them."""
    asked = recording.header.body
    files = [
        {"name": each.name, "content_base64": base64.b64encode(b" " * each.size).decode()}
        for each in asked.files
    ]
    return {
        "task": asked.task,
        "cache": False,
        "metadata": {MARK: file.name[:200]},
        **({"approvals": asked.approvals} if asked.approvals else {}),
        **({"files": files} if files else {}),
    }


class RecordedPerson:
    """Decides as was decided when the run was recorded."""

    def __init__(self, client: httpx.AsyncClient, recording: Recording) -> None:
        self._client = client
        self._questions: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1_000)
        self._decisions: dict[tuple[Any, ...], deque[dict[str, Any]]] = defaultdict(deque)
        self.stuck = asyncio.Event()  # never set: what nobody has decided cancels the run
        self.undecided: list[str] = []
        """The questions that nobody had decided."""
        decided = {
            _approval(event).get("id"): _approval(event).get("decision")
            for event in recording.events
            if event["type"] in _DECIDED
        }
        for event in recording.events:
            if event["type"] == "approval.requested":
                decision = decided.get(_approval(event).get("id"))
                self._decisions[_place(event)].append(decision or {})

    def note(self, event: dict[str, Any]) -> None:
        """Take up what an event asks."""
        if event["type"] == "approval.requested":
            self._questions.put_nowait(event)

    async def decide_forever(self) -> None:
        """Decide one question after the other, until cancelled."""
        while True:
            event = await self._questions.get()
            approval, decisions = event["data"]["approval"], self._decisions[_place(event)]
            decision = decisions.popleft() if decisions else {}
            said = {name: decision[name] for name in _SAID if decision.get(name) is not None}
            if said:
                path = f"/v1/approvals/{approval['id']}/decision"
                response = await self._client.post(path, json=said)
                if response.is_success:
                    continue
            self.undecided.append(f"a decision on: {approval['description']}")
            reason = {"reason": "nobody has decided in the recording"}
            await self._client.post(f"/v1/runs/{approval['run_id']}/cancel", json=reason)


def _approval(event: Mapping[str, Any]) -> dict[str, Any]:
    approval = event["data"].get("approval")
    return approval if isinstance(approval, dict) else {}


def _place(event: Mapping[str, Any]) -> tuple[Any, ...]:
    approval = _approval(event)
    return (event["round"], event["path"], str(approval.get("type")), str(approval.get("tool")))
