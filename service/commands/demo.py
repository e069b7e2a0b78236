"""`signalbox demo`: a server in a folder of its own, and a run on it that asks a person."""

from __future__ import annotations

import asyncio
import sys
import webbrowser
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from monitoring.logs import keep_to_warnings
from service.bootstrap import open_services
from service.commands.asking import at_terminal
from service.commands.client import connected, created, fetched, read_to_end
from service.commands.deciding import Approve, Person
from service.commands.exits import DONE, INTERRUPTED, code_of
from service.commands.following import Tasks
from service.commands.lanes import make_progress
from service.commands.progress import Progress, say
from service.http.application import open_app
from service.server import listen_for_signals, open_socket, serving
from service.settings import Settings, environment, read_settings

TASK: Final = (
    "Compute the mean, growth and trend of 120, 135, 150, 149, 171 and, independently, look up what a signal box "
    "is"
)

PAGES: Final = {
    "signal-box.md": (
        "# What a signal box is\n\n"
        "A signal box is a building from which the signals and points of a stretch of railway are set. Whoever works "
        "in it lets one train at a time into each section of the line, and asks the neighbouring box before the "
        "next one may come.\n"
    ),
    "interlocking.md": (
        "# Interlocking\n\n"
        "Interlocking keeps the levers of a signal box from being set against each other: a signal cannot be cleared "
        "while the points ahead of it lie for another route.\n"
    ),
}
"""What the researcher finds: enough for one answer, and quickly looked through."""


class Wishes(NamedTuple):
    """What somebody wants of a demo."""

    port: int
    browser: bool
    approve: Approve
    once: bool


async def play(folder: Path, wishes: Wishes) -> int:
    """Serve, play the run, and serve on until told to stop; return the exit code."""
    settings = await asyncio.to_thread(_settings, folder)
    keep_to_warnings(frozenset())
    sock = open_socket(settings.host, wishes.port)
    async with (
        open_services(settings) as services,
        serving(open_app(services), services, sock) as server,
    ):
        url = f"http://{settings.host}:{sock.getsockname()[1]}"
        stopped = listen_for_signals(server)
        print(url, flush=True)  # noqa: T201 - the command's result
        tasks = Tasks()
        playing = tasks.start(_play(url, services.callers.own_secret(), wishes), "demo")
        try:
            await tasks.first(playing, tasks.start(stopped.wait(), "stopping"))
            if playing.done() and not wishes.once:
                say(f"The server stays at {url} until you press Ctrl-C.")
                await stopped.wait()
        finally:
            await tasks.end()
    if not wishes.once:
        return DONE
    return INTERRUPTED if playing.cancelled() else playing.result()


def _settings(folder: Path) -> Settings:
    """Return the settings of a demo: the defaults, whatever the environment says, in a folder of its own."""
    knowledge = folder / "knowledge"
    knowledge.mkdir()
    for name, text in PAGES.items():
        (knowledge / name).write_text(text, encoding="utf-8")
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    own = {
        "database_url": f"sqlite:///{folder / 'signalbox.db'}",
        "data_dir": folder / "data",
        "knowledge_dir": knowledge,
        "search_keyless": False,
    }
    return read_settings(**{**defaults, **own}, _env_file=None)


async def _play(url: str, key: str, wishes: Wishes) -> int:
    """Make the run, follow it and tell its end; return the exit code that it would have."""
    progress = make_progress()
    async with connected(url, key) as client:
        # By its rules nobody would be asked about a program, and the demo is to show how it asks.
        body = {"task": TASK, "approvals": {"mode": "always"}}
        run = await created(client, body)
        page = f"{url}/runs/{run['id']}"
        say(f"The run's page is {page}.")
        if wishes.browser and _has_screen():
            await asyncio.to_thread(webbrowser.open, page)
        say(_how_to_decide(url, wishes))
        progress.begin(run)
        run = await _follow(client, run["id"], progress, wishes.approve)
        progress.end(run)
    return code_of(run)


async def _follow(
    client: httpx.AsyncClient, run_id: str, progress: Progress, approve: Approve
) -> dict[str, Any]:
    """Follow the run to its end, and decide what it asks; return it."""
    person = Person(client, progress, approve=approve)

    def take(event: dict[str, Any]) -> None:
        progress.show(event)
        person.note(event)

    def look() -> Awaitable[dict[str, Any]]:
        return fetched(client.get(f"/v1/runs/{run_id}"))

    tasks = Tasks()
    tasks.start(progress.tick(look), "lanes")
    try:
        reading = tasks.start(read_to_end(client, run_id, take), "events")
        await tasks.first(reading, tasks.start(person.decide_forever(), "person"))
    finally:
        await tasks.end()
        progress.close()
    return await look()


def _how_to_decide(url: str, wishes: Wishes) -> str:
    if wishes.approve != "ask":
        return "It will stop before it runs a program, and is told how to go on."
    here = "here, " if at_terminal() else ""
    return (
        "It will stop before it runs a program, for you to decide: "
        f"{here}on that page, or with `signalbox approve --server {url}` from elsewhere."
    )


def _has_screen() -> bool:
    """Return whether a browser would open before whoever types here, and not in their terminal."""
    values = environment(dotenv=False)
    if values.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or any(values.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
