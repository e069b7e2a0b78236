"""What the log tells of a claim after a retry."""

from __future__ import annotations

from domain.events import EventDraft
from service.openings import opening
from tests.contract.factories import make_run


def cause(*told: int, attempt: int) -> str:
    """Return why a run goes on that was retried after its second attempt, where these were told of."""
    known = {EventDraft(type="run.resumed", call=str(each), data={}).key for each in told}
    run = make_run().model_copy(update={"attempt": attempt, "retried_after": 2})
    return str(opening(run, known=known, decided=False)[-1].data["cause"])


def test_the_first_that_tells_tells_of_the_retry() -> None:
    """Also where a crash came before the attempt that the retry began had told anything."""
    assert cause(2, attempt=3) == "retry"
    assert cause(2, attempt=4) == "retry"
    assert cause(2, 3, attempt=4) == "recovery"
