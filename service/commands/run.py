"""`signalbox run`: one task over HTTP, with the live stream on stderr."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.addresses import shown_url
from domain.errors import DatabaseInUseError
from domain.unseen import plain_json, plain_line
from monitoring.logs import keep_to_warnings
from service.bootstrap import open_services, uses_queue
from service.commands.client import connected
from service.commands.deciding import Approve, Person
from service.commands.exits import DONE, FAILED, INTERRUPTED, code_of
from service.commands.following import Place, follow
from service.commands.lanes import make_progress
from service.commands.progress import say
from service.commands.recording import RunRecord, recording
from service.commands.run_views import print_json
from service.commands.saving import prepare, save_artifacts
from service.http.application import open_app
from service.server import open_socket, serving
from service.services import Services
from service.settings import Settings, known_secrets
from service.store.engine import MEMORY_URL


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a command runs its task."""

    url: str | None = None
    """The server that is asked; one of its own where not given."""
    quiet: bool = False
    approve: Approve = "ask"
    record: Path | None = None
    """Where the recording of the run is written."""
    out: Path | None = None
    """Where the files of the run are saved."""
    stays: bool = False
    """Wait for a decision also where nobody is at the terminal."""
    json_: bool = False
    """Print events as they come, and then the run, a line each."""
    answer: bool = False
    """Print the answer alone."""


def elsewhere(url: str, key: str | None) -> Place:
    """Return the place of a run that another process executes."""
    return Place(
        url,
        key,
        left=f"{{id}} goes on at {shown_url(url)}: `signalbox runs watch {{id}} --server {url}` follows it.",
        waits=f"`signalbox approve {{id}} --server {url}` decides.",
        lasts=True,
        told=shown_url(url),
    )


def _here(url: str, key: str, database_url: str) -> Place:
    """Return the place of a run that this process executes."""
    if database_url == MEMORY_URL:
        return Place(url, key, left="{id} was kept in memory only: it is gone.")
    kept = f"{{id}} is kept in {shown_url(database_url)}"
    return Place(
        url,
        key,
        left=f"{kept}: it goes on when the next `signalbox serve` or `signalbox run` opens that.",
        waits=f"{kept}: start `signalbox serve`, then `signalbox approve {{id}}` decides.",
        lasts=True,
    )


async def run_task(settings: Settings, body: dict[str, Any], manner: Manner) -> int:
    """Create the run that a body asks for, show its progress, print it; return the exit code."""
    folder = await asyncio.to_thread(prepare, manner.out) if manner.out else None
    async with (
        recording(manner.record, settings) as kept,
        _server(settings, manner.url, kept) as place,
        connected(place.url, place.key) as client,
    ):
        body = {**body, "task": body["task"].encode("utf-8", "replace").decode()}
        if kept:
            # Of what another run has done nothing is seen, so nothing of it could be recorded.
            body["cache"] = False
        progress = make_progress(quiet=manner.quiet, json_=manner.json_)
        person = Person(
            client,
            progress,
            approve=manner.approve,
            # Asked all the same, though nobody was to be asked: such a question is for a person.
            insists=body.get("approvals", {}).get("mode") == "never",
        )
        ended = await follow(
            client,
            body,
            progress,
            person,
            kept=kept,
            heard=_print_line if manner.json_ else None,
            place=place._replace(lasts=place.lasts and not (manner.stays or kept)),
        )
        _print_run(ended.run, manner)
        saved = not folder or await save_artifacts(client, ended.run["id"], folder, progress)
    if ended.interrupted:
        return INTERRUPTED
    lost = not saved or (kept is not None and kept.failed)
    return code_of(ended.run) or (FAILED if lost else DONE)


def _print_run(run: dict[str, Any], manner: Manner) -> None:
    if manner.json_:
        _print_line(run)
    elif manner.answer:
        answer = (run["result"] or {}).get("output", "")
        print("\n".join(map(plain_line, answer.splitlines())))  # noqa: T201 - the command's result
    else:
        print_json(run)


def _print_line(document: dict[str, Any]) -> None:
    line = plain_json(json.dumps(document, ensure_ascii=False))
    print(line, flush=True)  # noqa: T201 - the command's result


@asynccontextmanager
async def _server(
    settings: Settings, url: str | None, kept: RunRecord | None
) -> AsyncIterator[Place]:
    """Yield the server that is named, or one of our own on a free loopback port."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if url is not None:
        yield elsewhere(url, key)
        return
    keep_to_warnings(known_secrets(settings))
    async with AsyncExitStack() as stack:
        if uses_queue(settings):
            # As a part of the cluster it would take others' runs, to drop them a moment later.
            say(
                "The database is shared: this run is kept in memory only. --server sends it to a server."
            )
            settings = settings.model_copy(update={"database_url": MEMORY_URL, "dispatch": "auto"})
        try:
            services = await stack.enter_async_context(_open(settings, kept))
        except DatabaseInUseError as error:
            if error.url and not kept:
                say(
                    f"Your server at {error.url} has the database: the run goes there, with that server's settings."
                )
                yield elsewhere(error.url, key)
                return
            # Two of these at once: the other one has no server that would outlive it.
            say("The database is in use: this run is kept in memory only.")
            settings = settings.model_copy(update={"database_url": MEMORY_URL})
            services = await stack.enter_async_context(_open(settings, kept))
        base_url, own_key = await stack.enter_async_context(serving_alone(services))
        yield _here(base_url, own_key, settings.database_url)


def _open(settings: Settings, kept: RunRecord | None) -> AbstractAsyncContextManager[Services]:
    return open_services(settings, opens=kept.open_parts) if kept else open_services(settings)


@asynccontextmanager
async def serving_alone(services: Services) -> AsyncIterator[tuple[str, str]]:
    """Serve on a free loopback port; yield the address, and a key for it."""
    sock = open_socket("127.0.0.1", 0)
    async with serving(open_app(services), services, sock):
        # Whoever can start this can read the database: a key of their own would be for show.
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", services.callers.own_secret()
