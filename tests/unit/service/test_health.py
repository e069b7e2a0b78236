"""What is looked at to say how well a server is: all at once, none for long, and nothing secret told."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from domain.sandbox import SandboxState
from service.health import Check, Health, worst
from service.health_checks import disk_trouble, sandbox_trouble


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def says(name: str, trouble: str | None, *, vital: bool = False) -> Check:
    async def look() -> str | None:
        return trouble

    return Check(name=name, look=look, vital=vital)


async def test_what_is_vital_brings_a_server_down_and_the_rest_degrades_it() -> None:
    fine, hurt = says("fine", None), says("hurt", "it limps")
    found = await Health([fine, hurt]).look()
    assert {name: (one.status, one.detail) for name, one in found.items()} == {
        "fine": ("ok", None),
        "hurt": ("degraded", "it limps"),
    }
    assert worst(found) == "degraded"
    assert worst(await Health([fine]).look()) == "ok"
    assert worst(await Health([hurt, says("dead", "gone", vital=True)]).look()) == "down"


async def test_an_error_is_named_and_its_text_is_not() -> None:
    """It may hold an address with a password."""

    async def look() -> str | None:
        raise ConnectionError("postgresql://user:secret@host")

    found = await Health([Check(name="database", look=look, vital=True)]).look()
    assert found["database"][:2] == ("down", "does not answer (ConnectionError)")


async def test_what_hangs_is_not_waited_for_and_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked anew the next time, so that it is well again when it is."""
    monkeypatch.setattr("service.health.LOOK_SECONDS", 0.01)
    hangs = True

    async def look() -> str | None:
        while hangs:
            await asyncio.Event().wait()
        return None

    health = Health([Check(name="frozen", look=look), says("fine", None)])
    async with asyncio.timeout(5):
        found = await health.look()
    assert found["frozen"][:2] == ("degraded", "does not answer (TimeoutError)")
    assert found["fine"].status == "ok"
    hangs = False
    assert (await health.look())["frozen"].status == "ok"


async def test_however_many_ask_it_is_looked_at_once() -> None:
    looks = 0
    go = asyncio.Event()

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        await go.wait()
        return None

    health = Health([Check(name="slow", look=look)])
    asking = [asyncio.create_task(health.look()) for _ in range(20)]
    await asyncio.sleep(0)
    go.set()
    assert {worst(found) for found in await asyncio.gather(*asking)} == {"ok"}
    assert looks == 1
    await health.look()
    assert looks == 2


async def test_what_is_dear_to_look_at_is_looked_at_every_few_seconds_only() -> None:
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        return f"look {looks}"

    health = Health([Check(name="dear", look=look, holds_seconds=600)])
    assert [(await health.look())["dear"].detail for _ in range(3)] == ["look 1"] * 3


@pytest.mark.parametrize(
    ("total", "free", "full"),
    [
        (10**12, 2 * 2**30, False),
        (10**12, 2**29, True),
        (10 * 2**30, 2**29, False),  # a small disk: a twentieth of it is left
        (10 * 2**30, 2**27, True),
    ],
)
def test_a_disk_that_is_nearly_full_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: int, free: int, full: bool
) -> None:
    """Also where the folder is not there yet."""
    # A disk cannot be filled in a portable way.
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(total, total - free, free))
    trouble = disk_trouble(tmp_path / "not" / "there")
    assert (trouble is not None) is full
    if trouble:
        assert f"{free // 2**20} MiB are free" in trouble
        assert str(tmp_path) not in trouble


async def test_a_sandbox_in_another_container_is_connected_to(tmp_path: Path) -> None:
    """It was there at the start, or it would be off; it may be gone since."""
    state, path = SandboxState("remote", "in another container"), tmp_path / "s"

    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(path))
        there.listen()
        assert await sandbox_trouble(state, path) is None
    with pytest.raises(ConnectionRefusedError):
        await sandbox_trouble(state, path)
