"""`signalbox run`: one task over HTTP, with the live stream on stderr."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from domain.artifact import MAX_INPUT_BYTES
from domain.errors import ConfigurationError, DatabaseInUseError
from monitoring.logs import keep_to_warnings
from service.bootstrap import open_services, uses_queue
from service.commands.client import TIMEOUT, authorised, events_of, refused
from service.commands.deciding import Approve, Person
from service.commands.progress import Progress, say
from service.commands.recording import RunRecord, recording
from service.http.application import open_app
from service.server import open_socket, serving
from service.services import Services
from service.settings import Settings, known_secrets


def read_files(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Return files as the body of a run has them; raises `ConfigurationError` where one cannot be sent."""
    return [
        {
            "name": path.name,
            "content_base64": base64.b64encode(_read_file("--file", path)).decode(),
        }
        for path in paths
    ]


def read_schema(path: Path) -> dict[str, Any]:
    """Return the schema that a file has; raises `ConfigurationError` where there is none in it."""
    try:
        schema = json.loads(_read_file("--schema", path))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--schema {path}: this is no JSON ({error}).") from error
    if not isinstance(schema, dict):
        raise ConfigurationError(f"--schema {path}: a schema is a JSON object.")
    return schema


def _read_file(option: str, path: Path) -> bytes:
    """Return what a file has. One that is too large is not read: it may be of any size."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{option} {path}: it cannot be read ({error.strerror})."
        ) from error
    if len(data) > MAX_INPUT_BYTES:
        raise ConfigurationError(f"{option} {path}: it has more than {MAX_INPUT_BYTES} bytes.")
    return data


async def run_task(
    settings: Settings,
    body: dict[str, Any],
    *,
    url: str | None,
    quiet: bool,
    approve: Approve,
    record: Path | None = None,
) -> int:
    """Create the run that a body asks for, show its progress, print it; return the exit code.

    `record`: where the recording of it is written.
    """
    async with (
        recording(record, settings) as kept,
        _server(settings, url, kept) as (base_url, key),
        # No proxies from the environment: the server is on this machine or named by the user.
        httpx.AsyncClient(
            base_url=base_url, headers=authorised(key), timeout=TIMEOUT, trust_env=False
        ) as client,
    ):
        try:
            body = {**body, "task": body["task"].encode("utf-8", "replace").decode()}
            progress = Progress(quiet=quiet)
            person = Person(client, progress, approve=approve)
            return await _print_run(client, body, progress, person, kept)
        except httpx.HTTPError as error:
            say(f"The server at {base_url} cannot be reached: {error!r}.")
            return 1


async def _print_run(
    client: httpx.AsyncClient,
    body: dict[str, Any],
    progress: Progress,
    person: Person,
    kept: RunRecord | None,
) -> int:
    if kept:
        # Of what another run has done nothing is seen, so nothing of it could be recorded.
        body = {**body, "cache": False}
    run = await follow(client, body, progress, person, kept)
    if run is None:
        return 1
    print(json.dumps(run, indent=2, ensure_ascii=False))  # noqa: T201 - the command's result
    return 0 if run["status"] == "completed" and not (kept and kept.failed) else 1


@asynccontextmanager
async def _server(
    settings: Settings, url: str | None, kept: RunRecord | None
) -> AsyncIterator[tuple[str, str | None]]:
    """Yield the address of a server, and the key it wants: the one named, or one of our own on a free
    loopback port."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if url is not None:
        yield url, key
        return
    keep_to_warnings(known_secrets(settings))
    async with AsyncExitStack() as stack:
        if uses_queue(settings):
            # As a part of the cluster it would take others' runs, to drop them a moment later.
            say(
                "The database is shared: this run is kept in memory only. --url sends it to a server."
            )
            settings = settings.model_copy(update={"database_url": "memory://", "dispatch": "auto"})
        try:
            services = await stack.enter_async_context(_open(settings, kept))
        except DatabaseInUseError as error:
            if error.url and not kept:
                say(
                    f"Your server at {error.url} has the database: the run goes there, with that server's settings."
                )
                yield error.url, key
                return
            # Two of these at once: the other one has no server that would outlive it.
            say("The database is in use: this run is kept in memory only.")
            alone = settings.model_copy(update={"database_url": "memory://"})
            services = await stack.enter_async_context(_open(alone, kept))
        yield await stack.enter_async_context(serving_alone(services))


def _open(settings: Settings, kept: RunRecord | None) -> AbstractAsyncContextManager[Services]:
    return open_services(settings, opens=kept.open_parts) if kept else open_services(settings)


@asynccontextmanager
async def serving_alone(services: Services) -> AsyncIterator[tuple[str, str]]:
    """Serve on a free loopback port; yield the address, and a key for it."""
    sock = open_socket("127.0.0.1", 0)
    async with serving(open_app(services), services, sock):
        # Whoever can start this can read the database: a key of their own would be for show.
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", services.callers.own_secret()


class Decides(Protocol):
    """Who is told of a run's events, and decides what it asks."""

    def note(self, event: dict[str, Any]) -> None:
        """Take up what an event asks."""
        ...

    async def decide_forever(self) -> None:
        """Decide one question after the other, until cancelled."""
        ...


async def follow(
    client: httpx.AsyncClient,
    body: dict[str, Any],
    progress: Progress,
    person: Decides,
    kept: RunRecord | None = None,
) -> dict[str, Any] | None:
    """Create a run and show its progress to its end; return it, or `None` where it was not accepted."""
    response = await client.post("/v1/runs", json=body)
    if response.status_code != 202:  # noqa: PLR2004 - accepted
        say(str(refused(response)))
        return None
    run: dict[str, Any] = response.json()
    progress.begin(run)
    if kept:
        kept.begin(run["id"])
    deciding = asyncio.create_task(person.decide_forever(), name="person")
    try:
        async for event in events_of(client, run["id"]):
            progress.show(event)
            person.note(event)
    except asyncio.CancelledError:
        await client.post(f"/v1/runs/{run['id']}/cancel", json={"reason": "interrupted"})
        say("Cancelled.")
        raise
    finally:
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)
        if kept:
            await kept.write(client, run, body, progress)
    run = (await client.get(f"/v1/runs/{run['id']}")).json()
    progress.end(run)
    return run
