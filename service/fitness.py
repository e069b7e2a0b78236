"""What is looked at before a claimed run is executed: whether this process can, and with what it begins."""

from __future__ import annotations

from typing import Final

from domain.errors import RunFailedError
from domain.forking import Seed
from domain.ports import RunRef, RunStore
from domain.run import Engine, Run

MAX_FRUITLESS_ATTEMPTS: Final = 12
"""Claims in a row that may end with the process and without an event before a run is given up. High,
because a run that only happens to be there when a process is killed must not be lost."""


def check_engine(run: Run, engine: Engine) -> None:
    """Refuse a run that this process cannot honestly finish."""
    if run.engine != engine:
        msg = (
            f"The run was accepted with the engine {run.engine!r}, this server has "
            f"{engine!r}. Create the run again, or start the server with the model settings it had."
        )
        raise RunFailedError(msg, code="run-incompatible")


async def check_progress(run: Run, store: RunStore) -> None:
    """Refuse a run that only ends whoever executes it."""
    if run.attempt <= MAX_FRUITLESS_ATTEMPTS:
        return
    ref = RunRef(run.tenant_id, run.id)
    events = await store.events(ref, after=max(run.last_seq - 100, 0), limit=100)
    fruitful = [e.attempt for e in events if e.type not in {"run.resumed", "run.started"}]
    if run.attempt - max(fruitful, default=0) > MAX_FRUITLESS_ATTEMPTS:
        msg = (
            f"The process ended {MAX_FRUITLESS_ATTEMPTS} times while it executed this run, without "
            "a step forward. The run is given up so that it does not end the process again."
        )
        raise RunFailedError(msg)


async def read_seed(store: RunStore, run: Run) -> Seed:
    """Return what a fork begins with; of other runs nothing."""
    seed = await store.seed(RunRef(run.tenant_id, run.id)) if run.forked_from else None
    return seed or Seed()
