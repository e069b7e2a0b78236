"""`signalbox approve`: what waits for a decision, and the decision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx

from domain.approval import PREFIX
from domain.errors import ConfigurationError, RunFailedError
from domain.unseen import plain_line
from service.commands.asking import at_terminal
from service.commands.client import api_of, client_of, fetched
from service.commands.deciding import Person, readable
from service.commands.exits import CANCELLED, DONE, FAILED, WAITS
from service.commands.progress import Progress, say
from service.commands.run_views import Server, print_json, print_table
from signalbox import Approval, Decision

RUN_PREFIX: Final = "run_"

_OPTIONS: Final = {
    "approve": "--yes",
    "edit": "--edit JSON",
    "reject": "--no",
    "respond": "--respond TEXT",
}

_KINDS: Final = {
    "budget": "a limit is reached",
    "input": "it is a question",
    "action": "it is a call",
}


async def approve_at(
    server: Server, id_: str | None, decision: dict[str, Any], *, json_: bool
) -> int:
    """List what waits, show it, or decide it; return the exit code."""
    if id_ is not None and not id_.startswith((PREFIX, RUN_PREFIX)):
        msg = (
            f"{id_!r} is no id of an approval ({PREFIX}…) or a run ({RUN_PREFIX}…); `signalbox approve` lists what "
            "waits."
        )
        raise ConfigurationError(msg)
    async with client_of(*server) as client:
        if decision and id_:
            return await _decide(client, id_, decision, json_=json_)
        found = await _asked(client, id_)
        if json_:
            print_json(found[0] if id_ and id_.startswith(PREFIX) else found)
        elif id_ and at_terminal() and any(each["status"] == "pending" for each in found):
            return await _ask(client, found)
        elif id_:
            _show(found)
        else:
            _list(found)
    if not found:
        say("Nothing waits for a decision.")
    return DONE


async def _asked(client: httpx.AsyncClient, id_: str | None) -> list[dict[str, Any]]:
    """Return the approval of an id, or all that waits: of a run, or of all."""
    if id_ and id_.startswith(PREFIX):
        return [await fetched(client.get(_path(id_)), Approval)]
    if id_:
        await fetched(client.get(f"/v1/runs/{quote(id_, safe='')}"))  # says that it is not there
    listed = api_of(client).approvals.list(status="pending", run_id=id_, page_size=100)
    return [each.model_dump(mode="json") async for each in listed]


async def _decide(
    client: httpx.AsyncClient, id_: str, decision: dict[str, Any], *, json_: bool
) -> int:
    found = await _asked(client, id_)
    if not found:
        raise RunFailedError(f"{id_} waits for no decision.")
    said = {each["id"]: _said(each, decision) for each in found}
    api = api_of(client)
    if id_.startswith(PREFIX):
        decided = [await api.approvals.decide(id_, said[id_])]
    else:
        decided = list(await api.runs.decide(id_, said))
    for each in decided:
        # Of two who decide the same, the second is told whose decision it was.
        made = each.decision
        say(f"{each.id}: {f'{made.type} by {made.by}' if made else each.status}")
    if json_:
        documents = [each.model_dump(mode="json") for each in decided]
        print_json(documents[0] if id_.startswith(PREFIX) else documents)
    return DONE


def _said(approval: dict[str, Any], decision: dict[str, Any]) -> Decision:
    """Return a decision about one question; raises `ConfigurationError` for one that this question does not take."""
    allowed = approval["allowed_decisions"]
    if decision["type"] not in allowed:
        options = " or ".join(_OPTIONS[each] for each in allowed)
        told = _OPTIONS[decision["type"]]
        msg = f"{approval['id']} cannot be decided by {told}: {_KINDS[approval['type']]}, which takes {options}."
        raise ConfigurationError(msg)
    given = {name: value for name, value in decision.items() if name != "args"}
    if decision["type"] == "edit":
        given["edited_action"] = {"name": approval["action"]["name"], "args": decision["args"]}
    return Decision(**given, args_digest=approval["args_digest"])


async def _ask(client: httpx.AsyncClient, found: list[dict[str, Any]]) -> int:
    """Ask the person at the terminal about one after the other."""
    person = Person(client, Progress(), approve="ask")
    decided = [await person.decide(each) for each in found if each["status"] == "pending"]
    if all(decided):
        return DONE
    now = {(await fetched(client.get(_path(each["id"])), Approval))["status"] for each in found}
    if "pending" in now:
        return WAITS
    return CANCELLED if now & {"expired", "cancelled"} else FAILED


def _list(found: list[dict[str, Any]]) -> None:
    rows = [
        (each["id"], each["run_id"], each["agent"], each["tool"] or each["type"], _line(each))
        for each in found
    ]
    print_table(("ID", "RUN", "AGENT", "WHAT", "DESCRIPTION"), rows)
    if found:
        say("`signalbox approve ID` shows one and decides it.")


def _line(approval: dict[str, Any]) -> str:
    return " ".join(approval["description"].split())


def _show(found: list[dict[str, Any]]) -> None:
    for number, each in enumerate(found):
        for line in ["", *_lines(each)] if number else _lines(each):
            print(plain_line(line))  # noqa: T201 - the command's result


def _lines(approval: dict[str, Any]) -> Iterator[str]:
    yield f"{approval['id']}  {approval['status']}"
    yield f"run        {approval['run_id']}"
    yield f"asked by   {approval['agent']}"
    yield f"asks       {_line(approval)}"
    action = approval["action"]
    if action:
        yield f"call       {action['name']}"
        yield from (f"  {line}" for line in readable(action["args"]))
    if approval["expires_at"]:
        yield f"expires    {approval['expires_at']}, then: {approval['on_expiry']}"
    if approval["decision"]:
        yield f"decided    {json.dumps(approval['decision'], ensure_ascii=False)}"
    elif approval["status"] == "pending":
        takes = " · ".join(_OPTIONS[each] for each in approval["allowed_decisions"])
        yield f"decide by  signalbox approve {approval['id']} {takes}"


def _path(approval_id: str) -> str:
    return f"/v1/approvals/{quote(approval_id, safe='')}"
