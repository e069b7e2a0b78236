"""Tells a run what was asked and answered before it on its thread, so much of it as a prompt bears."""

from __future__ import annotations

from typing import Final

from domain.ports import RunStore
from domain.run import Run

EARLIER_TURNS: Final = 6
"""Runs of the same thread that a follow-up run is told about."""

EARLIER_RUN_CHARS: Final = 1_500
"""How much of each earlier task and answer it is told."""


async def tell_earlier(store: RunStore, run: Run) -> str:
    """Return the thread's earlier tasks and answers; empty for the run that began it."""
    if run.begins_thread:
        return ""
    turns = await store.earlier_turns(run, limit=EARLIER_TURNS)
    return "\n\n".join(
        f"Asked: {turn.task[:EARLIER_RUN_CHARS]}\nAnswered: {turn.answer[:EARLIER_RUN_CHARS]}"
        for turn in turns
    )
