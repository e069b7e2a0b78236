"""What a long conversation leaves on the disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Connection

from service.store.housekeeping import SqlRunKeeper
from tests.fakes.running import Product
from tests.integration.conftest import Start

TURNS: Final = 200
MEGABYTE: Final = 1_000_000
MOST: Final = 15.0
LOOK_UP: Final = "look up what the lighthouse at Fastnet is"


class Size(NamedTuple):
    """How large a database is, in megabytes."""

    on_disk: float
    """The file and its write-ahead log, which never shrink."""
    used: float
    """The pages that hold something."""


async def tidied(product: Product, file: Path) -> Size:
    """Return the size of the database when the housekeeper has nothing left to trim."""
    database = product.services.store.database  # type: ignore[attr-defined]  # the SQL one
    keeper = SqlRunKeeper(database)
    while await keeper.trim(now=datetime.now(UTC), limit=100):
        pass

    def used(connection: Connection) -> int:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in names
        )
        return (pages - free) * size

    log = file.with_name(f"{file.name}-wal")
    on_disk = file.stat().st_size + log.stat().st_size
    return Size(on_disk / MEGABYTE, await database.read(used) / MEGABYTE)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_hundred_follow_up_turns_leave_little_and_grow_in_a_line(
    start: Start, tmp_path: Path
) -> None:
    """Subgraph checkpoints go soon after each run; no checkpoint holds a growing history."""
    file = tmp_path / "runs.db"
    async with start(database_url=f"sqlite:///{file}") as product:
        first = await product.finished(
            f"Compute the mean of 120, 135, 150 and, independently, {LOOK_UP}"
        )
        sizes = [await tidied(product, file)]
        for turn in range(1, TURNS + 1):
            task = f"Compute the mean and trend of {turn}, 135, 150 and, independently, {LOOK_UP}"
            response = await product.run(task, thread_id=first["thread_id"])
            assert response.json()["status"] == "completed", response.text
            if turn % (TURNS // 2) == 0:
                sizes.append(await tidied(product, file))
    print([f"{size.on_disk:.1f} MB, {size.used:.1f} used" for size in sizes])  # noqa: T201 - its result
    begin, middle, end = sizes
    assert end.on_disk <= MOST
    assert end.used - middle.used <= 1.3 * (middle.used - begin.used)
