"""What a server looks at in itself to say how well it is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from agents._kit.models import ModelGateway
from agents._kit.remote import RemoteAgent
from domain.delivery import WebhookStore
from domain.ports import Clock, RunStore
from domain.sandbox import SandboxState
from service.deliveries import LATE
from service.health import HOLDS_SECONDS, Check
from service.housekeeper import Housekeeper

LEAST_FREE_BYTES: Final = 1024**3
LEAST_FREE_SHARE: Final = 0.02
"""A disk is nearly full that has less than either; of a small one a share is enough."""


class Dispatching(Protocol):
    """What has runs executed."""

    @property
    def alive(self) -> bool:
        """Return whether this process does its part."""
        ...

    async def trouble(self) -> str | None:
        """Return why runs may wait in vain; `None` where they do not."""
        ...


def own_checks(  # noqa: PLR0913 - called once, with one argument for each thing
    *,
    store: RunStore,
    dispatcher: Dispatching,
    gateway: ModelGateway,
    sandbox: Callable[[], SandboxState],
    sandbox_wanted: bool,
    sandbox_socket: Path | None,
    folder: Path,
    housekeeper: Housekeeper,
    deliveries: WebhookStore,
    clock: Clock,
) -> list[Check]:
    """Return the checks of a server, what it cannot do without first."""

    async def database() -> None:
        await store.ping()

    async def dispatching() -> str | None:
        return None if dispatcher.alive else "stopped"

    async def models() -> str | None:
        return _listed("the last calls have all failed of ", gateway.outages.failing())

    async def programs() -> str | None:
        return await sandbox_trouble(sandbox(), sandbox_socket) if sandbox_wanted else None

    async def disk() -> str | None:
        return await asyncio.to_thread(disk_trouble, folder)

    async def chores() -> str | None:
        if not housekeeper.alive:
            return "stopped"
        return _listed("failing again and again: ", housekeeper.failing())

    async def webhooks() -> str | None:
        late = await deliveries.overdue(before=clock.now() - LATE)
        return "deliveries are long overdue" if late else None

    async def agents() -> str | None:
        return await agents_trouble(gateway)

    own = [
        Check(name="database", look=database, vital=True),
        Check(name="dispatcher", look=dispatching, vital=True),
        Check(name="workers", look=dispatcher.trouble, holds_seconds=HOLDS_SECONDS),
        Check(name="models", look=models),
        Check(name="sandbox", look=programs, holds_seconds=HOLDS_SECONDS),
        Check(name="disk", look=disk, holds_seconds=HOLDS_SECONDS),
        Check(name="chores", look=chores),
        Check(name="webhooks", look=webhooks, holds_seconds=HOLDS_SECONDS),
    ]
    # Where no agent works elsewhere there is nothing to look at.
    elsewhere = [Check(name="agents", look=agents, holds_seconds=HOLDS_SECONDS)]
    return [*own, *(elsewhere if gateway.remotes else [])]


async def agents_trouble(gateway: ModelGateway) -> str | None:
    """Return which agents that work elsewhere have instances that do not answer as they should."""
    found = await asyncio.gather(*(_agent_trouble(each) for each in gateway.remotes.values()))
    return "; ".join(filter(None, found)) or None


async def _agent_trouble(remote: RemoteAgent) -> str | None:
    instances = remote.instances
    whys = await asyncio.gather(*(instances.well(each) for each in instances.all))
    bad = [why for why in whys if why]
    if not bad:
        return None
    return f"{len(bad)} of {len(whys)} instances of {remote.spec.name}: {bad[0]}"


async def sandbox_trouble(state: SandboxState, socket: Path | None) -> str | None:
    """Return why no program is run; raises `OSError` where the other container is gone that ran them."""
    if state.off_reason is not None:
        return "programs cannot be confined here, so none are run"
    if state.backend == "remote" and socket is not None:
        _, writer = await asyncio.open_unix_connection(socket)
        writer.close()
        await writer.wait_closed()
    return None


def disk_trouble(folder: Path) -> str | None:
    """Return whether the disk of a folder is nearly full, or cannot be looked at."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    usage = shutil.disk_usage(existing)
    if usage.free >= min(LEAST_FREE_BYTES, usage.total * LEAST_FREE_SHARE):
        return None
    return f"nearly full: {usage.free // 1024**2} MiB are free"


def _listed(text: str, names: Iterable[str]) -> str | None:
    listed = ", ".join(names)
    return text + listed if listed else None
