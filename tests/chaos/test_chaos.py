"""The chaos kit in short: a few of the kills of `make chaos`, and the three cases that tell most."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.chaos.actions import at_once, in_turns
from tests.chaos.every_write import strike_all, summary
from tests.chaos.places import Places
from tests.chaos.scenario import OpenScenario
from tests.chaos.survive import all_killed, postgres_restarted, survive, worker_frozen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    # The product upgrades a database in this process, in a thread and a loop of its own.
    pytest.mark.may_block,
]

DATABASES = ("sqlite", "postgres")
EVERY = 15


@pytest.fixture
def places() -> Iterator[Places]:
    """Return where the processes work."""
    # Not pytest's folder: another pytest may close it to the user as whom Postgres runs.
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Places(Path(folder)) as places:
        yield places


@pytest.mark.parametrize("database", DATABASES)
def test_a_run_killed_at_a_write_ends_as_if_nothing_had_been(places: Places, database: str) -> None:
    """Killed right before and right after every tenth durable write; the answer and all traces agree."""
    strikes = strike_all(places, [database], every=EVERY, say=click.echo)
    wrong = [row.line() for each in strikes for row in each.rows if row.faults]
    assert not wrong, "\n".join([summary(strikes), *wrong])


@pytest.mark.parametrize(
    ("database", "scenario"), [("sqlite", in_turns), ("postgres", at_once)], ids=DATABASES
)
def test_no_action_is_made_twice_wherever_its_run_is_killed(
    places: Places, database: str, scenario: OpenScenario
) -> None:
    """Killed right before and right after the ledger's writes; a server has counted what reached it."""
    strikes = strike_all(
        places, [database], every=3, of="actions", say=click.echo, scenario=scenario
    )
    wrong = [row.line() for each in strikes for row in each.rows if row.faults]
    assert not wrong, "\n".join([summary(strikes), *wrong])


def test_a_run_survives_the_loss_of_processes_and_of_the_database(places: Places) -> None:
    """A worker frozen and thawed, all processes killed at once, Postgres stopped without warning."""
    rows = survive(places, (worker_frozen, all_killed, postgres_restarted), say=click.echo)
    wrong = [row.line() for row in rows if row.faults]
    assert not wrong, "\n".join(wrong)
