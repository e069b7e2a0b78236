"""Lets a graph that has ended go on: back to the supervisor, without what had failed."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Overwrite, StateSnapshot

from graph.spending import ASK
from graph.state import State, Workflow


async def reenter(
    workflow: Workflow, snapshot: StateSnapshot, config: RunnableConfig, *, after: int
) -> StateSnapshot:
    """Return the checkpoint from which a retried run goes on; `after` is the attempt that its retry
    follows, 0 where it was not retried.

    One new checkpoint, which has no end: whoever finds it goes on from there, so a crash before it is
    saved repeats this, and one after it does not. A graph that was cut off goes on as after a crash.
    """
    final = snapshot.values.get("final")
    if not after or final is None or final.get("attempt", 0) > after:
        return snapshot
    # The node that asks has no state of its own, and leads to the supervisor.
    await workflow.aupdate_state(config, _cleared(snapshot.values), as_node=ASK)
    return await workflow.aget_state(config)


def _cleared(state: dict[str, Any] | State) -> dict[str, Any]:
    """Return what changes: results stay, and what a person has settled; the end and all failures go.

    It takes a round of its own, so that nothing which follows has the place, or the key, of what the
    end before has left in the log.
    """
    round_ = state.get("round", 0) + 1
    completed = [o for o in state.get("outcomes", []) if o["status"] == "completed"]
    return {
        "round": round_,
        "begun": round_,
        "final": None,
        "stop_reason": "done",
        "failure": None,
        "question": None,
        "spending": None,
        "replanned": 0,
        "unsteered": False,
        "outcomes": Overwrite(completed),
        "missing": Overwrite([]),
        # `None` takes an entry out.
        "paused": dict.fromkeys(state.get("paused", {})),
        "decisions": dict.fromkeys(state.get("decisions", {})),
    }
