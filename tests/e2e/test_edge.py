"""The HTTP edge of a real process among clients that mean harm."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import StartService
from tests.e2e.processes import BOUND, Service
from tests.fakes.hostile_clients import (
    HALF,
    REFUSED,
    SLOW,
    Address,
    code_of,
    connected,
    flood,
    garbage_behind,
    head,
    never_reading,
    rest,
    sent,
    slow_reader,
    status_of,
)

CLIENTS: Final = 50
MORE_MEMORY: Final = 350 * 2**20
"""What a server may take beyond what it has at rest, at the worst moment."""

GIVEN_BACK: Final = 60.0
"""Seconds that a server may need until the last hostile client is gone: beyond any of its bounds."""

TASK: Final = "What is 17% of 80?"
LONG: Final = "/v1/runs?tag=long"
"""A list that is more than all buffers hold, or nine times a part of it."""

ELSEWHERE: Final = "127.0.0.2"
"""Another address of this machine, for a client that is to be told from the hostile ones."""


def address_of(service: Service) -> Address:
    """Return where a server is."""
    parts = urlsplit(service.base_url)
    assert parts.hostname
    assert parts.port
    return Address(parts.hostname, parts.port)


def memory(pid: int, name: str) -> int:
    """Return bytes: `VmRSS` what a process has, `VmHWM` the most it ever had."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def files(pid: int) -> int:
    """Return how many file descriptors a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def hostile(address: Address) -> Counter[str]:
    """Do everything that one hostile client does; return what it was not answered as it should have been."""
    wrong: Counter[str] = Counter()

    async def quick() -> None:
        for name, (pieces, status) in REFUSED.items():
            answer = await sent(address, *pieces)
            found = status_of(answer)
            full = found == 503 and code_of(answer) == "overloaded"
            # Where the server has closed before all was sent, the kernel may have thrown the answer away.
            wrong[f"{name}: {found}"] += found not in {status, 0} and not full
        for name, pieces in HALF.items():
            found = status_of(await sent(address, *pieces, half_close=True))
            wrong[f"{name}: {found}"] += found != 0
        await sent(address, head("GET", "/v1/runs"), half_close=True)
        # What is behind it may come once it is answered, and is refused, or once the server has closed.
        behind = re.findall(rb"HTTP/1.1 (\d+)", await garbage_behind(address))
        wrong[f"garbage behind: {behind}"] += behind not in ([b"200"], [b"200", b"400"], [])
        wrong["flood"] += set(re.findall(rb"HTTP/1.1 (\d+)", await flood(address))) != {b"200"}

    async with asyncio.TaskGroup() as group:
        group.create_task(quick())
        slow = [group.create_task(each(address)) for each in SLOW.values()]
        answers = dict(zip(SLOW, [await task for task in slow], strict=True))
    early = answers.pop("a slow rest")
    wrong["a slow rest"] += status_of(early) != 415
    wrong["answers to slow ones"] += any(answers.values())
    return +wrong


async def good(base_url: str, over: asyncio.Event) -> int:
    """Have tasks done one after the other, until all is over; return how many."""
    transport = httpx.AsyncHTTPTransport(local_address=ELSEWHERE)
    done = 0
    async with httpx.AsyncClient(
        base_url=base_url, timeout=BOUND, transport=transport, trust_env=False
    ) as client:
        while not over.is_set():
            answer = await client.post("/v1/runs?wait=20", json={"task": TASK})
            assert answer.status_code == 200, answer.text
            assert answer.json()["status"] == "completed"
            assert (await client.get("/health/ready")).status_code == 200
            done += 1
    return done


@pytest.mark.timeout(180)
def test_fifty_hostile_clients_hurt_nobody(serve: StartService) -> None:
    """All they send is refused, slow ones are cut off, others are served, and what it took is given back."""
    service = serve()
    pid = service.process.pid
    address = address_of(service)
    runs = [service.create(TASK.ljust(32_000, "🙂"), tags=["long"]) for _ in range(60)]
    for run_id in runs:
        service.ended(run_id)
    rested = memory(pid, "VmRSS")
    before = files(pid)

    async def everything() -> tuple[list[Counter[str]], int]:
        over = asyncio.Event()
        ended = asyncio.Event()
        serving = asyncio.create_task(good(service.base_url, over))
        leaving = [
            asyncio.create_task(each(address, ended))
            for each in never_reading(runs[0], f"{LONG}&limit=5")
            for _ in range(CLIENTS)
        ]
        slow = asyncio.create_task(slow_reader(address, f"{LONG}&limit=100"))
        async with asyncio.timeout(GIVEN_BACK):
            wrong = await asyncio.gather(*(hostile(address) for _ in range(CLIENTS)))
            # Those that never read are still there when the server has let go of everybody.
            while files(pid) > before + 4:
                done, _ = await asyncio.wait(leaving, timeout=0.2)
                assert not done
        over.set()
        assert (await slow).endswith(b'"has_more":false}')
        ended.set()
        await asyncio.gather(*leaving)
        return wrong, await serving

    wrong, done = asyncio.run(everything())
    assert sum(wrong, Counter()) == Counter()
    assert done > 5
    assert files(pid) <= before + 4
    assert memory(pid, "VmHWM") - rested < MORE_MEMORY
    assert service.ended(service.create(TASK))["status"] == "completed"
    assert any(status_of(asyncio.run(garbage_behind(address))) == 200 for _ in range(5))
    assert "Traceback" not in service.process.stderr
    assert "Invalid HTTP request" not in service.process.stderr


def test_one_address_takes_no_more_than_half_of_the_places(serve: StartService) -> None:
    """More are refused with an answer, many more without one; others come in, and so do probes."""
    service = serve(SIGNALBOX_MAX_CONNECTIONS="20")
    address = address_of(service)

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            leave = asyncio.Event()
            places = asyncio.Semaphore(0)

            async def hold() -> None:
                async with connected(address) as (reader, writer):
                    writer.write(head("GET", "/health/live", last=False))
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                    # A request that has begun, so that it is not closed for being idle.
                    writer.write(b"GET / HTTP/1.1\r\n")
                    places.release()
                    await leave.wait()

            for _ in range(10):
                group.create_task(hold())
                await places.acquire()
            refused = await sent(address, head("GET", "/v1/runs", last=False))
            assert status_of(refused) == 503
            assert code_of(refused) == "overloaded"
            assert b"retry-after" in refused
            assert status_of(await sent(address, head("GET", "/health/live"))) == 200
            transport = httpx.AsyncHTTPTransport(local_address=ELSEWHERE)
            async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                answer = await client.get(f"{service.base_url}/v1/runs")
            assert answer.status_code == 200
            for _ in range(5):
                group.create_task(hold())
                await places.acquire()
            async with connected(address) as (reader, _):
                assert await rest(reader) == b""
            leave.set()

    asyncio.run(crowd())
