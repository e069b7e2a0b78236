"""What `signalbox run --record` keeps of its run, and writes when the run is over, however it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from agents._kit.recorder import Recorder
from domain.caching import WorkCache
from domain.recording import MAX_BYTES, Body, EventLine, FileLine, Line
from domain.sandbox import Sandbox
from domain.secrets import Scrubber
from service.bootstrap import product_version
from service.commands.progress import Progress, say
from service.parts import Parts
from service.recordings import Target, TooLargeError, end_line
from service.settings import Settings, known_secrets
from service.taping import make_header, open_recorded_parts, windows_of

_PAGE: Final = 1_000

_END_SECONDS: Final = 5
"""How long a cancelled run is waited for."""

TOO_LARGE: Final = f"Not recorded: it would be more than {MAX_BYTES} bytes."


class _Opened(NamedTuple):
    parts: Parts
    settings: Settings
    sandbox: Sandbox
    windows: dict[str, int | None]


class RunRecord:
    """Records the run of one command."""

    def __init__(self, target: Target, settings: Settings) -> None:
        self._target: Final = target
        self._scrubber: Final = Scrubber(known_secrets(settings))
        self._recorder: Final = Recorder(self._scrubber)
        self._opened: _Opened | None = None
        self.failed = False
        """Whether there is no recording although the run is over."""

    def open_parts(
        self, settings: Settings, sandbox: Sandbox, stack: AsyncExitStack, cache: WorkCache | None
    ) -> Parts:
        """Return what runs are made of (`service.parts.OpensParts`); what passes is written down."""
        parts = open_recorded_parts(self._recorder, settings, sandbox, stack, cache)
        self._opened = _Opened(parts, settings, sandbox, windows_of(parts.gateway))
        return parts

    def begin(self, run_id: str) -> None:
        """Say which run it is about: the server may go on with others that it has found."""
        self._recorder.keep_only(run_id)

    async def write(
        self,
        client: httpx.AsyncClient,
        run: dict[str, Any],
        body: dict[str, Any],
        progress: Progress,
    ) -> None:
        """Write the recording of a run that is over, or is broken off, and say so."""
        try:
            path = f"/v1/runs/{run['id']}"
            run = (await client.get(path, params={"wait": _END_SECONDS})).json()
            events = await read_events(client, run["id"])
            calls = await asyncio.to_thread(self._write, run, events, body)
        except TooLargeError:
            self.failed = True
            say(TOO_LARGE)
        except (httpx.HTTPError, OSError) as error:
            self.failed = True
            say(f"Not recorded: {self._target.path} cannot be written ({error!r}).")
        else:
            told = f"recorded to {self._target.path}: {calls} model calls, {len(events)} events"
            progress.say("signalbox", told)

    def _write(
        self, run: dict[str, Any], events: list[dict[str, Any]], body: dict[str, Any]
    ) -> int:
        passed = self._recorder.lines(run["id"])
        if passed is None or self._opened is None:
            raise TooLargeError
        opened, scrub = self._opened, self._scrubber.scrub_value
        header = make_header(
            opened.parts,
            opened.settings,
            opened.sandbox.state,
            body=_body(body),
            windows=opened.windows,
            version=product_version(),
            graph_version=run["graph_version"],
            scrubber=self._scrubber,
        )
        lines: list[Line] = [header, *passed, *(EventLine(event=scrub(e)) for e in events)]
        self._target.write([*lines, end_line(lines, scrub(run))])
        return sum(line.kind == "call" for line in passed)


async def read_events(client: httpx.AsyncClient, run_id: str) -> list[dict[str, Any]]:
    """Return every stored event of a run."""
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        wanted = {"limit": str(_PAGE), **({"after": cursor} if cursor else {})}
        response = await client.get(f"/v1/runs/{run_id}/events", params=wanted)
        page = response.raise_for_status().json()
        events += page["data"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return events


def _body(body: dict[str, Any]) -> Body:
    """Return what was asked."""
    files = [
        FileLine(
            name=each["name"],
            size=len(each["content_base64"]) * 3 // 4 - each["content_base64"].count("="),
        )
        for each in body.get("files", [])
    ]
    return Body(task=body["task"], approvals=body.get("approvals", {}), files=tuple(files))


@asynccontextmanager
async def recording(path: Path | None, settings: Settings) -> AsyncIterator[RunRecord | None]:
    """Yield what records a run to a file, or nothing; raises `ConfigurationError` where it cannot be written."""
    if path is None:
        yield None
        return
    target = await asyncio.to_thread(Target, path)
    try:
        yield RunRecord(target, settings)
    finally:
        await asyncio.to_thread(target.close)
