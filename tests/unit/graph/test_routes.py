"""What becomes of the tiers that a Route names."""

from __future__ import annotations

from typing import Any

import pytest

from domain.agent import AgentSpec, Tier
from domain.routing import Route
from graph.routes import make_assignments

OUTSIDE = AgentSpec(name="outside", description="A graph.", graph=object())


def raised(wanted: object, own: Tier, most: Tier) -> Tier | None:
    """Return the tier that an assignment gets beside its agent's own."""
    route: dict[str, Any] = {
        "reason": "r",
        "assignments": [{"agent": "coder", "task": "Do it", "tier": wanted}],
    }
    spec = AgentSpec(name="coder", description="Codes.", tier=own)
    [assignment] = make_assignments(Route.model_validate(route), [spec], 1, most=most)
    return assignment.get("tier")


@pytest.mark.parametrize(
    ("wanted", "own", "most", "tier"),
    [
        ("deep", "standard", "deep", "deep"),
        ("standard", "fast", "deep", "standard"),
        ("deep", "fast", "standard", "standard"),  # as far as the run allows
        ("deep", "standard", "standard", None),
        ("standard", "standard", "deep", None),
        ("fast", "standard", "deep", None),
        ("deep", "deep", "fast", None),
        (None, "fast", "deep", None),
        ("ultra", "fast", "deep", None),
        (["deep"], "fast", "deep", None),
    ],
)
def test_a_tier_is_raised_within_what_the_run_allows(
    wanted: object, own: Tier, most: Tier, tier: Tier | None
) -> None:
    assert raised(wanted, own, most) == tier


def test_the_tier_of_a_graph_from_outside_is_not_raised() -> None:
    """It has models of its own; an event that says otherwise would not be true."""
    route: dict[str, Any] = {
        "reason": "r",
        "assignments": [{"agent": "outside", "task": "Do it", "tier": "deep"}],
    }
    [assignment] = make_assignments(Route.model_validate(route), [OUTSIDE], 1)
    assert "tier" not in assignment
