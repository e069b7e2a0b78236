"""The description and the service agree: what it allows is taken, what it forbids is refused, and every answer
is one that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.processes import Service, seen_type
from tests.fuzzing.driving import fuzz, server


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_thousand_requests_find_nothing_that_is_not_described(tmp_path: Path) -> None:
    """By all checks of Schemathesis, along the links too. `make fuzz` sends ten thousand."""
    with server(tmp_path / "server") as target:
        outcome = fuzz(target, tmp_path, examples=50, seconds=240)
        assert outcome.code == 0, outcome.output
        assert outcome.requests >= 3000
        statuses = outcome.statuses()
        assert {status for status in statuses if status >= "500"} <= {"503"}, statuses
        # Both sides were asked: what is right was done, and what is wrong refused.
        assert all(statuses[status] > 10 for status in ("200", "202", "400", "401", "404", "422"))
        service = Service(target.process, target.url)
        service.client.headers["authorization"] = f"Bearer {target.keys[0]}"
        try:
            assert service.client.get("/health/ready").status_code == 200
            run_id = service.create("What is 17% of 80?")
            service.follow_until(run_id, seen_type("run.completed"))
            assert "13.6" in service.run(run_id)["result"]["output"]
        finally:
            service.close()
