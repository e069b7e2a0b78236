"""Runs that change the world: a server counts what reaches it, and a person decides what may.

The server is the witness: whatever the run says of an action, it says how often that has happened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from tests.chaos.scenario import OpenScenario, Scenario
from tests.chaos.script import teach, turn_of
from tests.chaos.site import Client, Outcome, Site
from tests.e2e.models import Models, agent
from tests.e2e.processes import Event, Run, Service
from tests.fakes.http_target import CountingTarget, target_in_thread
from tests.fakes.model_server import ModelRequest, Reply, Rule, When

AUTO: Final = "/auto"
APPROVED: Final = "/approved"
EDITED: Final = "/edited"
LOST: Final = "/lost"
"""The server takes it in and closes the connection: in doubt, even where nothing is killed."""

ASKED_FOR: Final = "as the agent wrote it"
CHANGED: Final = "as the person changed it"

GATES: Final = [
    {"tool": "http_request", "when": {"path": path}, "gate": "auto"} for path in (AUTO, LOST)
]

_TASKS: Final = {"coder": "Send what is to be asked for", "coder#2": "Send the other things"}
_MISSING: Final = "\n\nMissing from this answer:"
_LABEL: Final = re.compile(r"\[([^\]]+)\]\s*</task>")

Turns = Mapping[str, tuple[tuple[str, ...], ...]]
"""What each of two coders sends: turn by turn, the paths of one message's calls."""

IN_TURNS: Final[Turns] = {"coder": ((APPROVED,), (EDITED,)), "coder#2": ((AUTO,),)}
"""One after the other: the run waits twice."""

AT_ONCE: Final[Turns] = {"coder": ((AUTO, APPROVED, EDITED),), "coder#2": ((LOST,),)}
"""Three in one message, which waits once, for two decisions; beside it one whose answer is lost."""


class Action(NamedTuple):
    """An action of a run: what the run says of it, and what has reached the server."""

    id: str
    path: str
    status: str
    bodies: list[str]
    """Of the requests that arrived for it, by whatever key."""


@dataclass
class Person(Client):
    """A client who decides what the run asks, and says it again to a server that may not have heard."""

    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was decided, by the approval's id; not all of it may have been heard."""

    def follow(self, service: Service) -> None:
        """Say again what was decided, decide what waits, and read the stream to its end."""
        for approval_id in self.verdicts:
            self._post(service, approval_id)
        self._decide(service)
        super().follow(service)

    def hear(self, service: Service, event: Event) -> None:
        """Decide as soon as the run waits."""
        if event["type"] == "run.requires_action":
            self._decide(service)

    def _decide(self, service: Service) -> None:
        query = {"status": "pending", "run_id": str(self.run_id)}
        page = service.client.get("/v1/approvals", params=query).json()
        for approval in reversed(page["data"]):
            self.verdicts.setdefault(approval["id"], _verdict(approval))
            self._post(service, approval["id"])

    def _post(self, service: Service, approval_id: str) -> None:
        verdict = self.verdicts[approval_id]
        # One of the two also has a key, as from a client that repeats whatever it posts.
        headers = {"idempotency-key": approval_id} if verdict["type"] == "edit" else {}
        path = f"/v1/approvals/{approval_id}/decision"
        response = service.client.post(path, json=verdict, headers=headers)
        assert response.status_code == 200, response.text
        assert response.json()["decision"]["type"] == verdict["type"], response.text


def _verdict(approval: dict[str, Any]) -> dict[str, Any]:
    action = approval["action"]
    if not action["args"]["url"].endswith(EDITED):
        return {"type": "approve", "args_digest": approval["args_digest"]}
    said = {**orjson.loads(action["args"]["body"]), "said": CHANGED}
    args = {**action["args"], "body": orjson.dumps(said).decode()}
    return {"type": "edit", "edited_action": {"name": action["name"], "args": args}}


class Actions:
    """A run of two coders that send what a person lets them send."""

    def __init__(self, turns: Turns, name: str, models: Models, target: CountingTarget) -> None:
        self.name = name
        self.models = models
        self._turns = turns
        self._target = target
        self.env: Mapping[str, str] = {
            "SIGNALBOX_HTTP_ALLOW": target.address,
            "SIGNALBOX_GATES": orjson.dumps(GATES).decode(),
        }

    def client(self, label: str) -> Client:
        """Return the person."""
        return Person(label)

    def outcome(self, site: Site, run: Run) -> Outcome:
        """Return what the run left, told as if nothing were in doubt: whether it may be is for `faults`."""
        outcome = site.outcome(run)
        keys = Counter(outcome.keys)
        for key in outcome.keys:
            call, _, type_ = key.rpartition("|")
            if type_ == "action.in_doubt":
                keys -= Counter([key, f"{call}|tool.failed"])
                keys += Counter([f"{call}|tool.completed"])
        result = outcome.result
        if result is not None:
            result = {**result, "output": result["output"].partition(_MISSING)[0]}
        return replace(outcome, keys=keys, result=result)

    def faults(self, client: Client, site: Site, service: Service) -> list[str]:
        """Return where the run, its log and the server do not tell the same story."""
        assert isinstance(client, Person)
        run = service.run(client.post(service))
        actions = self._actions(site, run)
        found = client.complaints(site)
        wanted = sorted(path for turns in self._turns.values() for turn in turns for path in turn)
        if run["status"] != "completed" or sorted(action.path for action in actions) != wanted:
            found.append(f"{run['status']} with the actions {actions}: {run['error']}")
        for action in actions:
            found += _untrue(action, client, run)
        keys = Counter(self._target.keys())
        ids = {action.id for action in actions}
        sent = [key for key, times in keys.items() if times > 1 and key in ids]
        if sent or keys[""]:
            found.append(f"sent again under their keys: {sent}, without a key: {keys['']}")
        found += _asked_again(client, service)
        for action in actions:
            if action.status == "in_doubt":
                found += self._said_again(action, client) + _not_settled(action, service)
        return found

    def _said_again(self, action: Action, client: Client) -> list[str]:
        """Return whether a model was asked again for a message that had led to an action already."""
        if action.path == LOST:
            return []  # in doubt whenever it is sent, so that it may be after the restart
        [(name, turn)] = [
            (name, turn)
            for name, turns in self._turns.items()
            for turn, paths in enumerate(turns)
            if action.path in paths
        ]
        times = sum(
            request.rule == name and turn_of(request) == turn
            for request in self.models.requests
            if f"[{client.label}]" in request.user
        )
        return [] if times == 1 else [f"{action}: a model said {times} times that it be made"]

    def _actions(self, site: Site, run: Run) -> list[Action]:
        """Return the run's actions; what reached the server counts whatever key it came with."""
        (label,) = re.findall(r"\[([^\]]+)\]\Z", run["task"])
        said: dict[str, list[str]] = {}
        for request in self._target.requests:
            body = orjson.loads(request.body)
            if body["run"] == label:
                said.setdefault(request.path, []).append(body["said"])
        rows = site.rows("SELECT id, path, call FROM actions WHERE run_id = :run", run=run["id"])
        places = {row[0].removeprefix("apr_"): row[1:] for row in rows}
        found = []
        for shown in run["actions"]:
            path, call = places[shown["id"].removeprefix("act_")]
            turn, position = map(int, call.split("."))
            url = self._turns[path][turn][position]
            found.append(Action(shown["id"], url, shown["status"], said.get(url, [])))
        return found


def _untrue(action: Action, client: Person, run: Run) -> list[str]:
    """Return what the run says of one of its actions that is not so."""
    told = sum(
        event["type"] == "action.in_doubt" and event["data"]["action"]["id"] == action.id
        for event in client.told
    )
    named = [
        action.id in run["result"]["output"],
        any(action.id in part["reason"] for part in run["degraded"]),
    ]
    doubtful = action.status == "in_doubt"
    times = len(action.bodies)
    found = []
    if told != doubtful or named != [doubtful, doubtful]:
        found.append(f"{action}: told {told} times, named in answer and degraded: {named}")
    if action.status not in {"done", "in_doubt"}:
        # The server never refuses a connection, so that nothing fails before it is sent.
        found.append(f"{action}: is neither done nor in doubt")
    if times > 1 or (action.status == "done" and not times):
        found.append(f"{action}: arrived {times} times")
    if action.bodies not in ([], [CHANGED if action.path == EDITED else ASKED_FOR]):
        found.append(f"{action}: is not what was decided")
    return found


def _asked_again(client: Person, service: Service) -> list[str]:
    """Return what was asked or told of the approvals but once."""
    found = []
    for type_ in ("approval.requested", "approval.resolved"):
        ids = [e["data"]["approval"]["id"] for e in client.told if e["type"] == type_]
        if sorted(ids) != sorted(client.verdicts):
            found.append(f"{type_} of {ids}, decided {sorted(client.verdicts)}")
    page = service.client.get("/v1/approvals", params={"run_id": str(client.run_id)}).json()
    shown = {each["id"]: (each["status"], each["decision"]["type"]) for each in page["data"]}
    wanted = {key: ("resolved", verdict["type"]) for key, verdict in client.verdicts.items()}
    if shown != wanted:
        found.append(f"approvals {shown}, decided {wanted}")
    return found


def _not_settled(action: Action, service: Service) -> list[str]:
    """Settle an action as the server saw it; return what is wrong with how that is taken."""
    outcome, status = ("done", "done") if action.bodies else ("not_done", "failed")
    body = {"outcome": outcome}
    response = service.client.post(f"/v1/actions/{action.id}/resolution", json=body)
    if response.status_code != 200:
        return [f"{action} cannot be settled: {response.text}"]
    shown = {each["id"]: each["status"] for each in response.json()["actions"]}
    return [] if shown[action.id] == status else [f"{action} is settled as {shown[action.id]}"]


def _coder(path: str, target: CountingTarget, turns: tuple[tuple[str, ...], ...]) -> Rule:
    """Return what one of the coders does, at a pace of its own."""

    def answer(request: ModelRequest) -> Reply:
        turn = turn_of(request)
        if turn >= len(turns):
            return Reply(text=f"Sent: {', '.join(path for each in turns for path in each)}.")
        (label,) = _LABEL.findall(request.user)
        body = orjson.dumps({"run": label, "said": ASKED_FOR}).decode()
        return Reply.calls(
            *(
                ("http_request", {"method": "POST", "url": target.url(path), "body": body})
                for path in turns[turn]
            )
        )

    when = When(system=agent("coder"), user=re.escape(f"<assignment>\n{_TASKS[path]}\n"))
    gate = "coder" if path == "coder" else "analyst"
    return Rule(when=when, reply=answer, gate=gate, name=path)


def _route(request: ModelRequest) -> Reply:
    if 'round="1"' in request.user:
        return Reply.route(reason="all is sent")
    return Reply.route(*(("coder", task) for task in _TASKS.values()))


@contextmanager
def _play(turns: Turns, name: str) -> Iterator[Scenario]:
    with closing(Models()) as models, target_in_thread() as target:
        teach(
            models,
            route=_route,
            agents=[_coder(path, target, turns[path]) for path in turns],
            answer="All that was to be sent is sent.",
        )
        target.drop(LOST)
        yield Actions(turns, name, models, target)


in_turns: Final[OpenScenario] = partial(_play, IN_TURNS, "actions in turns")
at_once: Final[OpenScenario] = partial(_play, AT_ONCE, "actions at once")
