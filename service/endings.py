"""How what a graph ends with, or fails with, becomes the end of its run."""

from __future__ import annotations

from domain.errors import RunFailedError
from domain.problems import make_problem
from domain.run import AgentResult, Degraded, Ending, RunResult
from graph.state import FinalAnswer


def ending_of(final: FinalAnswer) -> Ending:
    """Return the end that a graph came to."""
    failure = final["failure"]
    agents = {name: AgentResult(**share) for name, share in final["agents"].items()}
    result = RunResult(
        output=final["output"],
        structured=final.get("structured"),
        citations=final["citations"],
        validation=final.get("validation"),
        agents=agents,
    )
    return Ending(
        status=final["status"],
        stop_reason=final["stop_reason"],
        # A failed run has no output, but says why each of its agents failed.
        result=result if agents else None,
        error=make_problem(failure["code"], failure["detail"]) if failure else None,
        degraded=tuple(Degraded(**part) for part in final["missing"]),
        rounds=final["rounds"],
        fleeting=final.get("fleeting", True),
        in_vain=final.get("in_vain", False),
    )


def failed_ending(error: RunFailedError) -> Ending:
    """Return the end of a run that cannot go on."""
    problem = make_problem(error.code, error.detail)
    return Ending(status="failed", stop_reason="error", error=problem)
