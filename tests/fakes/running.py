"""Starts the product in the test's own loop, behind a real socket, and speaks to it over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sse_starlette.sse import AppStatus

from service.bootstrap import open_services
from service.http.application import open_app
from service.server import open_socket, serving
from service.services import Services
from service.settings import read_settings

Event = dict[str, Any]


@dataclass
class Product:
    """A running service and a client of it."""

    client: httpx.AsyncClient
    services: Services
    base_url: str

    async def run(self, task: str, *, wait: float = 20, **body: Any) -> httpx.Response:
        """Create a run and wait for it."""
        return await self.client.post(f"/v1/runs?wait={wait}", json={"task": task, **body})

    async def finished(self, task: str, **body: Any) -> dict[str, Any]:
        """Create a run and return it when it has ended, whatever its status."""
        created = await self.client.post("/v1/runs", json={"task": task, **body})
        assert created.status_code == 202, created.text
        return await self.ended(created.json()["id"])

    async def ended(self, run_id: str) -> dict[str, Any]:
        """Return a run when it has ended."""
        run: dict[str, Any] = (await self.client.get(f"/v1/runs/{run_id}?wait=30")).json()
        assert run["ended_at"], run
        return run

    async def events(self, run_id: str) -> list[Event]:
        """Return all stored events of a run."""
        page = (await self.client.get(f"/v1/runs/{run_id}/events?limit=1000")).json()
        assert not page["has_more"]
        return list(page["data"])

    async def stream(
        self, run_id: str, *, query: str = "", headers: dict[str, str] | None = None
    ) -> list[Event]:
        """Return everything the event stream sends until the run ends."""
        return [e async for e in self.frames(f"/v1/runs/{run_id}/events{query}", headers=headers)]

    async def frames(
        self, path: str, *, headers: dict[str, str] | None = None
    ) -> AsyncIterator[Event]:
        """Yield the frames of an event stream: `{"id", "event", **data}`."""
        accept = {"accept": "text/event-stream", **(headers or {})}
        async with self.client.stream("GET", path, headers=accept) as response:
            assert response.status_code == 200, await response.aread()
            async for frame in read_frames(response):
                yield frame


async def read_frames(response: httpx.Response) -> AsyncIterator[Event]:
    """Parse server-sent events."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield {
                **json.loads(fields["data"]),
                "_id": fields.get("id"),
                "_event": fields.get("event"),
            }
            fields = {}
        else:
            fields = {}


def _client(base_url: str) -> httpx.AsyncClient:
    # Nothing is encrypted here, and to read the authorities takes as long as many a test.
    return httpx.AsyncClient(base_url=base_url, timeout=40, trust_env=False, verify=False)


@asynccontextmanager
async def running(
    folder: Path, *, executes: bool = True, worker_apart: bool = False, **overrides: Any
) -> AsyncIterator[Product]:
    """Run the product with its data in a folder; settings as keyword arguments.

    `executes`: it executes runs itself · `worker_apart`: another product beside it does.
    """
    values: dict[str, Any] = {
        "database_url": "memory://",
        # A test that asks the same twice wants it worked on twice.
        "cache_seconds": 0,
        "data_dir": folder,
        "model_timeout": 5,
        "_env_file": None,
        **overrides,
    }
    settings = read_settings(**values)
    sock = open_socket("127.0.0.1", 0)
    # Set for the whole process when a server stops; left like that it would cut this one's streams.
    AppStatus.should_exit = False
    async with (
        open_services(settings) if worker_apart else nullcontext(),
        open_services(settings, executes=executes and not worker_apart) as services,
        serving(open_app(services), services, sock),
    ):
        base_url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with _client(base_url) as client:
            yield Product(client, services, base_url)
