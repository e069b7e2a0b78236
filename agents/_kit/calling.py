"""One call of a model, to its end: tries, waits, the models that take its place, and what each try cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from langchain_core.messages import AIMessage, BaseMessage

from agents._kit.bounds import most_input_tokens, schema_bytes
from agents._kit.candidates import OpenCandidate, Request
from agents._kit.cleaning import clean_message
from agents._kit.delays import delay_before
from agents._kit.emulation import WORDS_TOKENS
from agents._kit.faults import (
    cause_of,
    check_answer,
    explain,
    is_final,
    is_overflow,
    is_transient,
    may_be_billed,
)
from agents._kit.fitting import Fitting
from agents._kit.metering import Answered, booked, mark
from agents._kit.tape import Asked, Invoke
from domain.budget import PlannedCall, Tried
from domain.errors import ModelCallError, RunFailedError
from domain.usage import CallStatus, ModelCall

if TYPE_CHECKING:
    from agents._kit.models import ModelGateway

TRIES: Final = 3
"""Calls of one model before a transient failure of it becomes final."""

OUT_OF_TIME: Final = "The run's time was over before its model had answered."

CLEARED: Final = (
    "{} refused the prompt as too long: it is sent again with more of its older results cleared."
)

OnRetry = Callable[[str, float, int], None]
"""Takes the reason, the seconds until then, and the number of the next try."""


class _GaveUpError(Exception):
    """One model has failed for good."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Calling:
    """Makes one call."""

    def __init__(
        self,
        gateway: ModelGateway,
        request: Request,
        invoke: Invoke,
        *,
        on_retry: OnRetry,
        write: Callable[[ModelCall], None],
    ) -> None:
        self._gateway = gateway
        self._request = request
        self._invoke = invoke
        self._on_retry = on_retry
        self._write = write
        self._number = gateway.guard.tried(request.run_id, request.key)
        """Of the last try, over all models."""
        self._clock = asyncio.get_running_loop().time
        self._ends = self._clock() + gateway.call_seconds

    async def answer(self) -> AIMessage:
        """Return the first whole answer of a model of the chain. Raises where there is none."""
        chain = self._gateway.chain_of(self._request).candidates
        said: list[tuple[str, Exception]] = []
        for place, candidate in enumerate(chain):
            following = chain[place + 1] if place + 1 < len(chain) else None
            try:
                return await self._ask(candidate, last=following is None)
            except _GaveUpError as gave_up:
                said.append((candidate.name, gave_up.error))
            if following is None or self._time_left() <= 0:
                break
            reason = f"{explain(said[-1][1])} {following.name} is asked in the place of {candidate.name}."
            self._on_retry(reason, 0.0, self._number + 1)
        self._check_run()
        reasons = [explain(error) for _, error in said]
        if len(chain) > 1:
            reasons = [f"{name}: {reason}" for (name, _), reason in zip(said, reasons, strict=True)]
        raise ModelCallError(" ".join(reasons)) from said[-1][1]

    async def _ask(self, candidate: OpenCandidate, *, last: bool) -> AIMessage:
        """Call one model until it answers or has failed for good."""
        tries = 0
        fitting = Fitting(candidate, self._request)
        while True:
            tries += 1
            if fitting.too_long:
                raise _GaveUpError(fitting.refusal())
            try:
                return await self._try(candidate, fitting)
            except Exception as error:
                if is_final(error):
                    raise
                learned = self._learn(candidate, fitting, error)
                if learned:
                    tries -= 1
                    self._on_retry(learned, 0.0, self._number + 1)
                    continue
                if not is_transient(error) or tries >= TRIES:
                    raise _GaveUpError(error) from error
                delay = delay_before(error, tries, first=self._gateway.first_delay_seconds)
                if last:
                    self._check_run(delay)
                if not self._may_wait(delay, last=last):
                    raise _GaveUpError(error) from error
                self._on_retry(explain(error), round(delay, 2), self._number + 1)
                await self._gateway.tape.wait(delay)

    def _learn(self, candidate: OpenCandidate, fitting: Fitting, error: Exception) -> str | None:
        """Return what is done otherwise in the next try, where a refusal says what; it counts as no fault."""
        if not is_overflow(error):
            return candidate.learn(error, self._request)
        if not fitting.tighten(error):
            raise _GaveUpError(fitting.refusal()) from error
        return CLEARED.format(candidate.name)

    async def _try(self, candidate: OpenCandidate, fitting: Fitting) -> AIMessage:
        """Make one try: let through, made, checked and booked."""
        self._number += 1
        self._check_run()
        planned = self._plan(candidate, fitting.messages)
        granted = await self._gateway.guard.reserve(planned)
        planned = replace(planned, max_tokens=granted)
        model = candidate.model_for(self._request, granted)
        message: AIMessage | None = None
        status: CallStatus = "failed"
        sent = billed = False
        cause: str | None = None
        began = datetime.now(UTC)
        try:
            async with (
                asyncio.timeout(self._time_left()),
                self._gateway.limiter.slot(candidate.provider),
            ):
                sent = billed = True
                began = datetime.now(UTC)
                asked = Asked(self._request, self._number, candidate.name, fitting.messages)
                message = clean_message(await self._gateway.tape.call(asked, model, self._invoke))
            check_answer(message, structured=self._request.schema is not None)
            status = "completed"
            self._gateway.outages.note(candidate.provider, answered=True)
        except asyncio.CancelledError:
            status = cause = "cancelled"
            raise
        except Exception as error:
            cause = cause_of(error)
            billed = sent and may_be_billed(error)
            if sent and not (is_final(error) or is_overflow(error)):
                self._gateway.outages.note(candidate.provider, answered=False)
            if isinstance(error, TimeoutError):
                self._check_run()
            raise
        finally:
            call = self._priced(planned, status, message) if billed else None
            if sent:
                self._tell(planned, status, began, cause, call)
            await self._book(planned, call)
        answered = Answered(
            model=candidate.name,
            tier=self._request.tier,
            max_tokens=granted,
            room=fitting.room,
        )
        return mark(message, answered)

    def _tell(
        self,
        planned: PlannedCall,
        status: CallStatus,
        began: datetime,
        cause: str | None,
        call: ModelCall | None,
    ) -> None:
        """Tell who looks on at tries how one has ended."""
        if self._gateway.on_tried:
            ended = datetime.now(UTC)
            tried = Tried(
                planned=planned, status=status, began=began, ended=ended, cause=cause, call=call
            )
            self._gateway.on_tried(tried)

    def _plan(self, candidate: OpenCandidate, messages: Sequence[BaseMessage]) -> PlannedCall:
        request = self._request
        about = request.about + schema_bytes(request.schema)
        words = WORDS_TOKENS if candidate.in_words(request) else 0
        return PlannedCall(
            run_id=request.run_id,
            attempt=request.attempt,
            key=request.key if self._number == 1 else f"{request.key}~{self._number}",
            agent=request.agent,
            model=candidate.name,
            tier=request.tier,
            round=request.round,
            input_tokens=words + most_input_tokens(messages, model=candidate.name, about=about),
            max_tokens=candidate.max_tokens,
        )

    def _priced(
        self, planned: PlannedCall, status: CallStatus, message: AIMessage | None
    ) -> ModelCall:
        return self._gateway.priced(booked(planned, status, message), planned)

    async def _book(self, planned: PlannedCall, call: ModelCall | None) -> None:
        """Put a try in the ledger that was billed or may have been, and free what was reserved for it."""
        if call and self._gateway.on_booked:
            self._gateway.on_booked(planned.run_id, call)
        # To be cancelled, even once more, must not leave a reservation standing.
        await asyncio.shield(self._gateway.guard.settle(planned, call))
        if call:
            self._write(call)

    def _time_left(self) -> float:
        """Return the seconds that this call may still take, all tries together."""
        run = self._gateway.guard.seconds_left(self._request.run_id)
        own = self._ends - self._clock()
        return own if run is None else min(own, run)

    def _may_wait(self, delay: float, *, last: bool) -> bool:
        """Return whether there is time to wait, and then to try the same model again.

        Where another model may answer, it has to keep the time for a try of its own.
        """
        left = self._time_left() - delay
        return left > 0 if last else left >= 2 * self._gateway.timeout_seconds

    def _check_run(self, needed: float = 0.0) -> None:
        """Raise where the run has no more time than a wait needs."""
        left = self._gateway.guard.seconds_left(self._request.run_id)
        if left is not None and left <= needed:
            raise RunFailedError(OUT_OF_TIME, code="deadline-exceeded")
