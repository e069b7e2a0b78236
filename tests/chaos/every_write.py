"""Kills the server right before and right after each durable write of a run, and starts it again."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

import httpx

from tests.chaos.faults import Plan, When, Write, arm, counted, disarm
from tests.chaos.places import Places
from tests.chaos.scenario import OpenScenario, Scenario, work
from tests.chaos.script import asked_again
from tests.chaos.site import Client, Outcome, Site
from tests.e2e.processes import Service

TRIES: Final = 3
"""How often a write that a run did not come to is tried: background writes fall together at times."""

SLACK: Final = 2
"""How many of the last writes a run may do without."""

MOST_ASKED_AGAIN: Final = 2
"""Model calls that a kill may repeat: one for each agent that worked at that moment."""

WHENS: Final[tuple[When, When]] = ("before", "after")


class Point(NamedTuple):
    """Where a run is killed."""

    number: int
    when: When


@dataclass(frozen=True)
class Row:
    """What came of one kill."""

    database: str
    point: Point
    what: str
    seconds: float | None
    """From the kill to the moment the client saw the run's end, with the start of a process."""
    attempt: int
    asked_again: int
    faults: tuple[str, ...]
    in_doubt: int = 0
    """Actions that the run could not be sure of."""

    def line(self) -> str:
        """Return the row as a line."""
        number, when = self.point
        seconds = "    - " if self.seconds is None else f"{self.seconds:5.2f}s"
        verdict = "ok" if not self.faults else "DIFFERS: " + "; ".join(self.faults)
        return (
            f"{self.database:8} {number:3} {when:6} {seconds} attempt {self.attempt} "
            f"asked again {self.asked_again} in doubt {self.in_doubt}  {verdict}  ({self.what})"
        )


@dataclass(frozen=True)
class Reference:
    """The undisturbed run: its writes, and what it leaves."""

    writes: tuple[Write, ...]
    outcome: Outcome


class Lane:
    """Kills one server after the other in one folder; each next one recovers, then is the next victim."""

    def __init__(self, database: str, site: Site, scenario: Scenario) -> None:
        self._database = database
        self._site = site
        self._scenario = scenario
        self._server: Service | None = None
        self._reference: Reference | None = None

    def reference(self) -> Reference:
        """Return the undisturbed run, which is made once. A first run warms up what is built once."""
        if self._reference is None:
            self._undisturbed("warm-up")
            client = self._undisturbed("reference")
            run = self._serving().run(client.post(self._serving()))
            writes = counted(self._site.folder, "reference")
            outcome = self._scenario.outcome(self._site, run)
            self._reference = Reference(tuple(writes), outcome)
        return self._reference

    def _undisturbed(self, name: str) -> Client:
        client = self._scenario.client(f"{self._database} {name}")
        server = self._serving()
        arm(self._site.folder, Plan(name))
        assert client.reach_end(server), (client.told, server.process.stderr)
        disarm(self._site.folder)
        faults = self._scenario.faults(client, self._site, server)
        assert not faults, faults
        return client

    def strike(self, point: Point) -> Row:
        """Kill a run at a point, recover it and compare; tried again where it did not come to it."""
        for number in range(1, TRIES + 1):
            try:
                row = self._strike_once(point, number)
            except (AssertionError, httpx.HTTPError) as error:
                self._start_afresh()
                return Row(self._database, point, "broke off", None, 0, 0, (str(error),))
            if row is not None:
                return row
        needed = point.number <= len(self.reference().writes) - SLACK
        faults = (f"not reached in {TRIES} runs",) if needed else ()
        return Row(self._database, point, "not reached", None, 1, 0, faults)

    def _strike_once(self, point: Point, number: int) -> Row | None:
        reference, folder = self.reference(), self._site.folder
        client = self._scenario.client(f"{self._database} {point.number} {point.when} {number}")
        plan = Plan(client.label, point.number, point.when)
        server = self._serving()
        arm(folder, plan)
        ended = client.reach_end(server)
        killed_at = time.monotonic()
        disarm(folder)
        writes = counted(folder, plan.name)
        if len(writes) < point.number:
            assert ended, f"the server left before write {point.number}: {writes}"
            return None
        code = server.process.ended()
        assert code == -signal.SIGKILL, code
        self._server = None
        if not ended:
            assert client.reach_end(self._serving()), self._serving().process.stderr
        seconds = time.monotonic() - killed_at
        run = self._serving().run(client.post(self._serving()))
        again = asked_again(self._scenario.models, f"[{client.label}]")
        faults = self._scenario.outcome(self._site, run).differences(reference.outcome)
        faults += self._scenario.faults(client, self._site, self._serving())
        if len(again) > MOST_ASKED_AGAIN:
            faults.append(f"made again: {', '.join(again)}")
        return Row(
            self._database,
            point,
            writes[-1].what,
            seconds,
            run["attempt"],
            len(again),
            tuple(faults),
            sum(action["status"] == "in_doubt" for action in run["actions"]),
        )

    def _start_afresh(self) -> None:
        disarm(self._site.folder)
        self._site.close()
        self._server = None

    def _serving(self) -> Service:
        if self._server is None:
            self._server = self._site.serve(module="tests.chaos.launcher")
        return self._server


@dataclass(frozen=True)
class Strikes:
    """All kills of one kind on one database."""

    database: str
    when: When
    writes: tuple[Write, ...]
    rows: tuple[Row, ...]


def strike_all(
    places: Places,
    databases: Sequence[str],
    *,
    every: int,
    say: Callable[[str], None],
    scenario: OpenScenario = work,
    of: str = "",
) -> list[Strikes]:
    """Kill at each `every`-th write on each database, with `of` only at those that change this.

    Two servers at once, as two cores allow.
    """

    def strike_one(kind: tuple[str, When]) -> Strikes:
        database, when = kind
        with scenario() as played:
            name = f"{played.name} {database} {when}"
            site = places.site(name, database, played.models, **played.env)
            with closing(site):
                return _strike_lane(Lane(database, site, played), kind, every, of, say)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(strike_one, product(databases, WHENS)))


def _strike_lane(
    lane: Lane, kind: tuple[str, When], every: int, of: str, say: Callable[[str], None]
) -> Strikes:
    database, when = kind
    writes = lane.reference().writes
    say(f"{database}: N = {len(writes)} durable writes in the undisturbed run")
    rows = []
    numbers = [write.number for write in writes if of in write.what]
    for number in sorted({*numbers[::every], numbers[-1]}):
        rows.append(lane.strike(Point(number, when)))
        say(rows[-1].line())
    return Strikes(database, when, writes, tuple(rows))


def summary(strikes: Sequence[Strikes]) -> str:
    """Return the count of writes, kills and failures, and the recovery times."""
    lines = []
    for database in dict.fromkeys(each.database for each in strikes):
        own = [each for each in strikes if each.database == database]
        rows = [row for each in own for row in each.rows]
        seconds = [row.seconds for row in rows if row.seconds is not None]
        failed = sum(bool(row.faults) for row in rows)
        lines.append(
            f"{database}: N = {len(own[0].writes)}, {len(seconds)} kills, {failed} rows differ; "
            f"recovery median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s"
        )
    return "\n".join(lines)


def as_markdown(strikes: Sequence[Strikes]) -> str:
    """Return the results as one table: a line per write, two columns for the sides of its commit."""
    databases = list(dict.fromkeys(each.database for each in strikes))
    heads = "".join(f" {database} | before | after |" for database in databases)
    lines = [f"| |{heads}", "|" + "---|" * (1 + 3 * len(databases))]
    columns = [_column(strikes, database, when) for database in databases for when in WHENS]
    for number in sorted({number for column in columns for number in column}):
        cells = [f"{number}"]
        for before, after in zip(columns[::2], columns[1::2], strict=True):
            rows = [row for row in (before.get(number), after.get(number)) if row]
            what = next((row.what for row in rows if row.seconds is not None), "")
            cells += [what, _cell(before.get(number)), _cell(after.get(number))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _column(strikes: Sequence[Strikes], database: str, when: When) -> dict[int, Row]:
    rows = [row for s in strikes if (s.database, s.when) == (database, when) for row in s.rows]
    return {row.point.number: row for row in rows}


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.seconds is None:
        return "fails" if row.faults else "not reached"
    return f"{row.seconds:.1f} s{' differs' if row.faults else ''}"
