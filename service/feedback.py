"""Takes what callers think of runs: it is kept with the run, and passed on to LangSmith where that has its trace."""

from __future__ import annotations

from domain.feedback import FEEDBACK_PREFIX, Feedback, Given, Score
from domain.ports import Clock, IdempotencyKey, Ids
from domain.run import Run
from service.run_trees import RunTrees
from service.store.feedback import SqlFeedbackStore


class FeedbackService:
    """Takes feedback, for one tenant at a time."""

    def __init__(self, *, store: SqlFeedbackStore, trees: RunTrees, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._trees = trees
        self._clock = clock
        self._ids = ids

    async def add(
        self,
        run: Run,
        *,
        key: str,
        score: Score | None,
        comment: str | None,
        by: str,
        idempotency: IdempotencyKey | None = None,
    ) -> Given:
        """Keep a piece of feedback on a run; raises `CallerError` where it has too many."""
        new = Feedback(
            id=self._ids.new(FEEDBACK_PREFIX),
            run_id=run.id,
            tenant_id=run.tenant_id,
            key=key,
            score=score,
            comment=comment,
            by=by,
            created_at=self._clock.now(),
        )
        given = await self._store.add(new, idempotency=idempotency)
        if not given.replayed:
            self._trees.judged(run, given.feedback)
        return given
