"""Sends what is in the outbox to webhooks, until it has arrived or a day is over; lists it; sends it again."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import httpcore
from standardwebhooks.webhooks import Webhook as Signer

from domain.delivery import (
    Attempt,
    AttemptResult,
    Delivery,
    DeliveryStatus,
    Due,
    Redelivered,
    WebhookStore,
)
from domain.errors import CallerError, ToolFailedError
from domain.ports import Clock, IdempotencyKey, RunRef
from service.endpoints import Reach
from tools.net.bodies import Body, read_body
from tools.net.client import NetLimits, SafeClient
from tools.net.dialling import Resolve, look_up

SEND_SECONDS: Final = 1.0
"""How often the outbox is looked at; what this process writes is sent at once."""

AT_ONCE: Final = 32
"""Attempts of one process at the same time."""

PER_HOST: Final = 4
"""Of those, to one host: one that hangs holds up nobody but itself."""

PER_TENANT: Final = 16
"""Of those, for one tenant: not all of them are held up by what one has named."""

LIMITS: Final = NetLimits(connect_seconds=5.0, total_seconds=15.0, read_bytes=16_384, redirects=0)
"""What one attempt may take."""

CLAIM: Final = timedelta(seconds=45)
"""After this an attempt of which nobody has heard is made again."""

LATE: Final = timedelta(minutes=5)
"""So long after its time a delivery is overdue, where nobody sends any."""

FIRST_DELAY_SECONDS: Final = 5.0
DELAY_FACTOR: Final = 3.0
LONGEST_DELAY_SECONDS: Final = 4 * 3600.0
MOST_TOLD_SECONDS: Final = 6 * 3600.0
"""The most that a receiver's Retry-After may ask for."""

_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_GONE: Final = 410

_CAME_DOWN: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    TimeoutError,
)

_log = logging.getLogger("signalbox.webhooks")


class Answer(NamedTuple):
    """What an attempt was answered; without a status no answer came."""

    status: int | None
    fault: str | None
    retry_after: float | None = None


def passed_on(attempt: Attempt) -> str | None:
    """Return the `traceparent` of a message where no traces are sent: that of its run's caller, as it came."""
    return attempt.traceparent


class Sender:
    """Sends deliveries, several at a time."""

    def __init__(
        self, store: WebhookStore, clock: Clock, reach: Reach, *, resolve: Resolve = look_up
    ) -> None:
        self._store = store
        self._clock = clock
        self._reach = reach
        self._resolve = resolve
        self._turn = asyncio.Lock()
        self._under_way: dict[asyncio.Task[None], Attempt] = {}
        self._hosts: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self._wanted = False
        self._stopped = False
        self.on_settled: Callable[[DeliveryStatus], None] | None = None
        """Told after each attempt what its delivery is now."""
        self.traceparent: Callable[[Attempt], str | None] = passed_on
        """Returns the `traceparent` of a message, if it gets one."""

    def wake(self) -> None:
        """Say that something was written: it is sent now rather than at the next look."""
        self._wanted = True
        if not self._stopped and (self._looking is None or self._looking.done()):
            # In a context of its own: it is not about whoever has written something.
            looking = asyncio.create_task(
                self._look(), name="look at the outbox", context=Context()
            )
            self._looking = looking

    async def _look(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                await self.send_due()
            except Exception:  # noqa: BLE001 - the chore tries again, and tells
                fields = {"action": "outbox_not_read"}
                _log.warning("The outbox could not be read.", exc_info=True, extra=fields)

    async def take_over(self) -> None:
        """Send at once what an earlier process was sending; for one that has the database alone."""
        await self._store.release(None, now=self._clock.now())

    async def send_due(self) -> bool:
        """Begin attempts of what is due, as many as may be; the chore of a housekeeper."""
        async with self._turn:
            while not self._stopped and (free := AT_ONCE - len(self._under_way)) > 0:
                busy = [host for host, count in self._hosts.items() if count >= PER_HOST]
                full = [each for each, count in self._tenants.items() if count >= PER_TENANT]
                now = self._clock.now()
                found = await self._store.due(now=now, busy=busy, full=full, limit=free)
                begun = [await self._begin(each) for each in found]
                if not any(begun):
                    break
        return False

    async def _begin(self, due: Due) -> bool:
        """Begin an attempt; `False` where it is another's, or its host or tenant has enough to do."""
        if self._stopped or self._hosts[due.host] >= PER_HOST:
            return False
        if self._tenants[due.tenant_id] >= PER_TENANT:
            return False
        now = self._clock.now()
        attempt = await self._store.claim(due, now=now, until=now + CLAIM)
        if attempt is None:
            return False
        self._hosts[due.host] += 1
        self._tenants[due.tenant_id] += 1
        task = asyncio.create_task(self._make(attempt, due.host), name=f"send {due.id}")
        self._under_way[task] = attempt
        return True

    async def stop(self) -> None:
        """Break off what is under way; it is sent again by whoever looks next."""
        self._stopped = True
        tasks = [*self._under_way, *([self._looking] if self._looking else [])]
        cut_off = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if cut_off:
            await self._store.release(cut_off, now=self._clock.now())

    async def _make(self, attempt: Attempt, host: str) -> None:
        try:
            answer = await self._answer(attempt)
            result = judge(attempt, answer, self._clock.now())
            await asyncio.shield(self._store.settle(attempt, result, now=self._clock.now()))
            _tell(attempt, result)
            if self.on_settled:
                self.on_settled(result.status)
        except Exception:  # noqa: BLE001 - its claim lapses, and it is sent again
            fields = {"action": "delivery_not_settled", "run_id": attempt.run_id}
            _log.warning("A delivery could not be settled.", exc_info=True, extra=fields)
        finally:
            for counted, name in ((self._hosts, host), (self._tenants, attempt.tenant_id)):
                counted[name] -= 1
                if counted[name] <= 0:
                    del counted[name]
            self._under_way.pop(asyncio.current_task(), None)  # type: ignore[arg-type]  # it is one
            self.wake()

    async def _answer(self, attempt: Attempt) -> Answer:
        """Make one attempt; return what came of it, whatever that is."""
        try:
            return await self._send(attempt)
        except ToolFailedError as error:
            return Answer(None, error.detail)
        except _CAME_DOWN as error:
            return Answer(None, _fault_of(error))
        except Exception as error:  # noqa: BLE001 - it is tried again like any other, not for ever
            fields = {"action": "delivery_failed_oddly", "run_id": attempt.run_id}
            text = "A delivery failed in a way that nobody has foreseen."
            _log.warning(text, exc_info=True, extra=fields)
            return Answer(None, f"It could not be sent ({type(error).__name__}).")

    async def _send(self, attempt: Attempt) -> Answer:
        way = self._reach.target(attempt.url)
        client = SafeClient(vouched=way.vouched, limits=LIMITS, resolve=self._resolve)
        content = attempt.body.encode("ascii")
        sending = client.exchange("POST", way.target, self._headers(attempt), content)
        answer = Answer(None, "No answer came.")
        try:
            async with asyncio.timeout(LIMITS.total_seconds), sending as response:
                answer = self._read(response.status, response.headers)
                # What it says beside the status is not looked at; a receiver likes to be heard out.
                await read_body(Body(), response.parts, "identity", LIMITS.read_bytes)
        except _CAME_DOWN:
            if answer.status is None:
                raise
        return answer

    def _read(self, status: int, headers: Mapping[str, str]) -> Answer:
        if status in _OK:
            return Answer(status, None)
        if status in _REDIRECTS:
            return Answer(status, f"It answered {status}: redirects are not followed.")
        told = told_delay(headers.get("retry-after", ""), self._clock.now())
        return Answer(status, f"It answered {status}.", told)

    def _headers(self, attempt: Attempt) -> dict[str, str]:
        now = self._clock.now().astimezone(UTC)
        signatures = [Signer(each).sign(attempt.id, now, attempt.body) for each in attempt.secrets]
        traceparent = self.traceparent(attempt)
        return {
            **({"traceparent": traceparent} if traceparent else {}),
            "content-type": "application/json",
            "user-agent": "signalbox",
            "accept-encoding": "identity",
            "webhook-id": attempt.id,
            "webhook-timestamp": str(math.floor(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def judge(attempt: Attempt, answer: Answer, now: datetime) -> AttemptResult:
    """Return what becomes of a delivery after an attempt."""
    if answer.status in _OK:
        return AttemptResult(
            status="delivered", next_at=None, last_status=answer.status, last_error=None
        )
    if answer.status == _GONE:
        fault = "It answered 410 Gone: it wants nothing more."
        return AttemptResult(
            status="disabled", next_at=None, last_status=answer.status, last_error=fault
        )
    next_at = now + timedelta(seconds=delay_after(attempt.tries, answer.retry_after))
    over = next_at > attempt.give_up_at
    return AttemptResult(
        status="failed" if over else "pending",
        next_at=None if over else next_at,
        last_status=answer.status,
        last_error=answer.fault,
    )


def delay_after(tries: int, told: float | None) -> float:
    """Return the seconds until the next try: longer each time, and spread so that many do not come at once;
    at least as long as the receiver has asked for."""
    planned = min(FIRST_DELAY_SECONDS * DELAY_FACTOR ** (tries - 1), LONGEST_DELAY_SECONDS)
    spread = secrets.SystemRandom().uniform(0.8, 1.2)
    return max(planned * spread, min(told or 0.0, MOST_TOLD_SECONDS))


def told_delay(text: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After names, as a number or a date; `None` where it names none."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = (aware - now).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _fault_of(error: Exception) -> str:
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return "No connection could be made."
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return f"No answer came within {LIMITS.total_seconds:g} s."
    return "The connection broke before an answer came."


def _tell(attempt: Attempt, result: AttemptResult) -> None:
    """Write down what does not arrive; never to where, which may hold a secret."""
    if result.status in {"failed", "disabled"}:
        fields = {"action": "delivery_failed", "run_id": attempt.run_id, "status": result.status}
        text = "The delivery %s of a webhook is %s: %s"
        _log.warning(text, attempt.id, result.status, result.last_error, extra=fields)


class DeliveryService:
    """The log of what was sent to webhooks, for one tenant at a time."""

    def __init__(self, store: WebhookStore, clock: Clock, sender: Sender) -> None:
        self._store = store
        self._clock = clock
        self._sender = sender

    async def find(self, ref: RunRef, *, limit: int, before: str | None) -> list[Delivery]:
        """Return up to `limit + 1` deliveries of a run, newest first."""
        return await self._store.find(ref, limit=limit, before=before)

    async def redeliver(
        self, ref: RunRef, delivery_id: str, *, idempotency: IdempotencyKey | None
    ) -> Redelivered:
        """Have a delivery sent again, under the same id."""
        done = await self._store.redeliver(
            ref, delivery_id, idempotency=idempotency, now=self._clock.now()
        )
        if done is None:
            msg = f"The delivery {delivery_id[:80]!r} is not there. GET /v1/runs/…/deliveries lists them."
            raise CallerError("not-found", msg, run_id=ref.run_id)
        self._sender.wake()
        return done
