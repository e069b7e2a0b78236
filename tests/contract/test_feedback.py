"""What is promised of feedback, on every database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import CallerError
from domain.feedback import Feedback
from domain.ports import IdempotencyKey, RunRef
from service.store import SqlRunStore
from service.store import feedback as statements
from service.store.erasing import SqlRunEraser
from service.store.feedback import SqlFeedbackStore
from tests.contract.factories import NOW, add_running, finish
from tests.contract.test_housekeeping import kept  # noqa: F401 - a fixture


def piece(ref: RunRef, number: int, **values: Any) -> Feedback:
    """Return a piece of feedback on a run."""
    return Feedback(
        id=f"fbk_{number:032x}",
        run_id=ref.run_id,
        tenant_id=ref.tenant_id,
        created_at=NOW,
        **{"key": "helpful", "by": "key_1", **values},
    )


@pytest.mark.parametrize("score", [True, False, 0, 1, -2.5, 1e6, None])
async def test_a_score_comes_back_as_it_was_sent(store: SqlRunStore, score: Any) -> None:
    """A boolean is no number, and nothing is no zero."""
    feedback, ref = SqlFeedbackStore(store.database), await add_running(store, 1)
    sent = piece(ref, 1, score=score, comment="Good.")
    assert await feedback.add(sent, idempotency=None) == (sent, False)
    [read] = await feedback.of_run(ref, after="", limit=9)
    assert read == sent
    assert isinstance(read.score, bool) is isinstance(score, bool)


async def test_it_is_read_by_its_tenant_only_in_order(store: SqlRunStore) -> None:
    feedback, ref = SqlFeedbackStore(store.database), await add_running(store, 1)
    for number in (3, 1, 2):
        await feedback.add(piece(ref, number), idempotency=None)
    pages = [await feedback.of_run(ref, after=piece(ref, n).id, limit=1) for n in (0, 1, 2, 3)]
    assert [[each.id[-1] for each in page] for page in pages] == [["1"], ["2"], ["3"], []]
    assert await feedback.of_run(RunRef("eve", ref.run_id), after="", limit=9) == []
    with pytest.raises(CallerError) as refused:
        await feedback.add(piece(RunRef("eve", ref.run_id), 4), idempotency=None)
    assert refused.value.code == "not-found"


async def test_ten_requests_with_one_key_are_one_piece(store: SqlRunStore) -> None:
    """Each is answered with that one; another body under the same key is refused."""
    feedback, ref = SqlFeedbackStore(store.database), await add_running(store, 1)
    key = IdempotencyKey(scope="/feedback", key="one", digest="a")
    given = await asyncio.gather(
        *(feedback.add(piece(ref, number), idempotency=key) for number in range(10))
    )
    assert sorted(each.replayed for each in given) == [False, *[True] * 9]
    assert len({each.feedback.id for each in given}) == 1
    with pytest.raises(CallerError) as refused:
        await feedback.add(piece(ref, 11), idempotency=replace(key, digest="b"))
    assert refused.value.code == "idempotency-key-reuse"
    assert len(await feedback.of_run(ref, after="", limit=99)) == 1


async def test_a_run_has_so_many_pieces_and_no_more(
    store: SqlRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is refused leaves its key free."""
    monkeypatch.setattr(statements, "MOST_OF_A_RUN", 2)
    feedback, ref = SqlFeedbackStore(store.database), await add_running(store, 1)
    results = await asyncio.gather(
        *(feedback.add(piece(ref, number), idempotency=None) for number in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, CallerError) for each in results) == 3
    key = IdempotencyKey(scope="/feedback", key="one", digest="a")
    with pytest.raises(CallerError, match="2 pieces of feedback"):
        await feedback.add(piece(ref, 9), idempotency=key)
    monkeypatch.setattr(statements, "MOST_OF_A_RUN", 3)
    assert not (await feedback.add(piece(ref, 9), idempotency=key)).replayed


@pytest.mark.usefixtures("kept")
async def test_it_goes_with_its_run(store: SqlRunStore) -> None:
    feedback, refs = SqlFeedbackStore(store.database), [await add_running(store, n) for n in (1, 2)]
    for number, ref in enumerate(refs):
        await feedback.add(piece(ref, number), idempotency=None)
    await finish(store, refs[0])
    assert await SqlRunEraser(store.database).erase_run(refs[0], now=NOW)
    assert [len(await feedback.of_run(ref, after="", limit=9)) for ref in refs] == [0, 1]
