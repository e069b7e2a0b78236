"""What a long conversation leaves on the disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Connection

from service.store.housekeeping import SqlRunKeeper
from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.people import asked, decided, start_run

TURNS: Final = 200
MEGABYTE: Final = 1_000_000
MOST: Final = 15.0
MOST_ON_DISK: Final = 30.0
"""The file keeps the place of what was not trimmed yet, which on a busy machine is more."""
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
    assert end.used <= MOST
    assert end.on_disk <= MOST_ON_DISK
    assert end.used - middle.used <= 1.3 * (middle.used - begin.used)


ASKS: Final = 15
"""Questions that one assignment asks one after the other; two assignments make thirty."""

PATIENT: Final = """
from domain.agent import AgentSpec

AGENT = AgentSpec(
    name="patient",
    description="Asks and asks.",
    prompt="You are patient.",
    tools=("ask_user",),
    max_turns=20,
)
"""


def patient_run(models: FakeModelServer) -> None:
    """Teach the models a run of two rounds, in each of which an agent asks fifteen times."""

    def decide(request: ModelRequest) -> Reply:
        if 'round="2"' in request.user:
            return Reply.route()
        return Reply.route(("patient", "Ask on" if 'round="1"' in request.user else "Ask"))

    def ask(request: ModelRequest) -> Reply:
        done = sum(message["role"] == "tool" for message in request.body["messages"])
        if done == ASKS:
            return Reply(text="All is known.")
        return Reply.calls(("ask_user", {"question": f"Question {done}? {'why ' * 40}"}))

    models.add(
        Rule(when=When(schema=True), reply=decide),
        Rule(when=When(system="You are patient"), reply=ask),
        Rule(when=When(schema=False), reply=Reply(text="All is known."), optional=True),
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_thirty_questions_in_a_row_grow_the_database_in_a_line(
    start: Start, models: FakeModelServer, tmp_path: Path
) -> None:
    """What an agent has said so far rides along with each question, and is kept once."""
    file = tmp_path / "runs.db"
    folder = tmp_path / "agents_of_ours"
    folder.mkdir()
    (folder / "patient.py").write_text(PATIENT)
    patient_run(models)
    url = f"sqlite:///{file}"
    sizes: list[float] = []
    async with start(models=models, database_url=url, agents=str(folder)) as product:
        run_id = await start_run(product)
        for number in range(2 * ASKS):
            approval = await asked(product, run_id)
            sizes.append((await tidied(product, file)).used)
            answer = f"Answer {number}. {'because ' * 40}"
            await decided(product, approval, type="respond", message=answer)
        run = await product.ended(run_id)
        sizes.append((await tidied(product, file)).used)
    assert run["status"] == "completed"
    assert run["attempt"] == 2 * ASKS + 1
    print([f"{size:.2f}" for size in sizes])  # noqa: T201 - its result
    # Within an assignment, where the conversation grows, and from one assignment to the next.
    first, middle, last = sizes[2], sizes[7], sizes[12]
    assert last - middle <= 1.5 * (middle - first)
    assert sizes[2 * ASKS] - sizes[ASKS] <= 1.3 * (sizes[ASKS] - sizes[0])
