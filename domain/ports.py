"""The seams: what the service needs from a store, a clock and a source of ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from domain.artifact import Artifact
from domain.errors import CallerError
from domain.events import Event, EventDraft
from domain.forking import MadeCall, Seed
from domain.limits import NO_RULES, BudgetRules, DaySpent, Limits
from domain.run import Ending, MultitaskStrategy, Run, RunStatus
from domain.usage import ModelCall


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, UTC."""
        ...


class Ids(Protocol):
    """Makes identifiers."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as `run_0193…`; later ids sort after earlier ones."""
        ...


class RunRef(NamedTuple):
    """Enough to find a run: whose it is and which."""

    tenant_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class IdempotencyKey:
    """A caller's promise that two requests are the same one."""

    scope: str
    """The route, so that one key may serve two routes."""
    key: str
    digest: str
    """Hash of the canonical body."""


class Created(NamedTuple):
    """The run a create led to, and whether an earlier request had already made it."""

    run: Run
    replayed: bool
    interrupted: tuple[tuple[Run, list[Event]], ...] = ()
    """The runs whose place it took, each with the events that ended it."""
    webhook_secret: str | None = None
    """What the webhook's messages are signed with, for the first who names its endpoint."""


class Ended(NamedTuple):
    """A run that has ended, and what its end led to."""

    run: Run
    events: list[Event]
    """Those that ended it."""
    followers: tuple[tuple[Run, list[Event]], ...] = ()
    """Runs with the same task that have its answer now, each with the events that ended it."""


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """Which runs to list; newest first."""

    status: RunStatus | None = None
    thread_id: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    limit: int = 20
    before: str | None = None
    """Only runs older than this run id (ids sort by time of creation)."""
    after: str | None = None
    """Only runs younger than this run id."""
    oldest_first: bool = False


class Claim(NamedTuple):
    """A run that now belongs to one segment, and the keys of the events it already has."""

    run: Run
    keys: frozenset[str]
    remembered: frozenset[str] = frozenset()
    """The tools that a person has approved for the rest of the run."""


@dataclass(frozen=True, kw_only=True)
class RunPatch:
    """What a caller changes of a run that is there; `None` leaves it as it is."""

    by: str
    metadata: dict[str, Any] | None = None
    limits: Limits | None = None
    max_rounds: int | None = None


class Patched(NamedTuple):
    """A run after a change, and the events that it led to."""

    run: Run
    events: tuple[Event, ...] = ()
    claimable: frozenset[RunRef] = frozenset()
    """Runs that wait for nobody's answer any more, since it does not share its own."""


@dataclass(frozen=True, kw_only=True)
class RetryWish:
    """How a run is to go on that has ended."""

    limits: Limits | None = None
    """Those that change; the others stay."""
    max_rounds: int | None = None
    rules: BudgetRules = NO_RULES
    """What the server allows now: no limit stays above it."""
    most_rounds: int | None = None
    by: str = "default"
    """Who asks for it."""


class Retried(NamedTuple):
    """A run that goes on after its end, and whether an earlier request has had it do so."""

    run: Run
    replayed: bool


class EarlierTurn(NamedTuple):
    """An earlier run of the same thread, as context for a later one."""

    task: str
    answer: str


class RunStore(Protocol):
    """All that is remembered about runs. Every method takes the tenant; every status change is one
    conditional write that follows `domain.run.TRANSITIONS` and reports who won."""

    async def create(
        self,
        run: Run,
        draft: EventDraft,
        *,
        idempotency: IdempotencyKey | None = None,
        strategy: MultitaskStrategy = "enqueue",
        refusal: CallerError | None = None,
        seed: Seed | None = None,
    ) -> Created:
        """Commit the run (`queued`), its first event, the idempotency record and what a fork begins with
        together.

        A known idempotency key with the same digest returns the run it made (`replayed=True`), with
        another digest raises `CallerError("idempotency-key-reuse")`; nothing is created either way.

        Only then the strategy is asked. While the thread has a run that is not terminal, `reject`
        raises `CallerError("thread-busy")` with the id of one, and `interrupt` cancels them all in the
        same transaction, each with its partial result. Of creates at once in one thread each sees what
        the one before it has left.

        A run with a `cache_key` that another has answered, not longer ago than it says, is `completed` when
        this returns; where another works on that, it waits for its answer (`leader_id`). `refusal` is
        raised where it would have to be worked on, and nothing is created then.
        """
        ...

    async def seed(self, ref: RunRef) -> Seed | None:
        """Return what a run begins with that was forked from another; `None` for any other run."""
        ...

    async def made(self, ref: RunRef) -> list[MadeCall]:
        """Return the calls of the run that have changed the world, or may have."""
        ...

    async def get(self, ref: RunRef) -> Run | None:
        """Return the run with its usage summed, or `None` where the tenant has no such run."""
        ...

    async def find(self, tenant_id: str, query: RunQuery) -> list[Run]:
        """Return up to `query.limit + 1` runs, newest first (one more tells that there are more)."""
        ...

    async def standing(self) -> dict[str, int]:
        """Return how many runs of all tenants have each status but those that have ended, and how many
        `approvals` are pending."""
        ...

    async def runnable(self, *, limit: int, exclude: Collection[str]) -> list[RunRef]:
        """Return the oldest runs that may be claimed now: `queued`, with no earlier run of the same
        tenant's thread still active, and of a caller no more than may yet execute. Crosses tenants:
        only the dispatcher calls it."""
        ...

    async def has_queued(self, *, exclude: Collection[str]) -> bool:
        """Return whether any run besides these is `queued`, claimable or not."""
        ...

    async def unfinished(self) -> list[RunRef]:
        """Return every run left `running` by a process that is gone. Only the dispatcher calls it."""
        ...

    async def claim(
        self, ref: RunRef, *, now: datetime, trace_url: str | None = None
    ) -> Claim | None:
        """Make the run `running` under a new attempt; `None`, and nothing changed, where it may not be.

        Allowed from `running` (a crash), and from `queued` where it is the run's turn: no earlier run
        of its thread is active, and fewer runs of its caller are `running` than may execute at the same
        time. Of claims at once, in whichever processes, no two break that. `started_at` is set once.
        The keys are read in the same transaction. `trace_url` is kept where the run has none."""
        ...

    async def note_trace(self, ref: RunRef, url: str) -> None:
        """Keep where the run's trace is seen, unless that is known."""
        ...

    async def append(
        self,
        ref: RunRef,
        *,
        attempt: int,
        drafts: Sequence[EventDraft],
        calls: Sequence[ModelCall],
        now: datetime,
    ) -> list[Event]:
        """Append events and book model calls in one transaction; return the stored events.

        The first statement advances `last_seq` only where the run is `running` under this attempt, so it
        fences and numbers at once; where it matches nothing, `OwnershipLostError` is raised and nothing
        is written. Drafts whose key is known already must have been left out by the caller; a
        duplicate key is an error of the database, never a second event. A model call is booked once: where
        its key stands as open or lost it becomes what it came to, else it is ignored."""
        ...

    async def finish(
        self,
        ref: RunRef,
        *,
        attempt: int,
        ending: Ending,
        drafts: Sequence[EventDraft],
        calls: Sequence[ModelCall] = (),
        now: datetime,
    ) -> Ended | None:
        """End the run: status, result, `ended_at`, the last events and calls in one transaction.

        The terminal event is the last of `drafts`; its `data` gets `{"run": <the Run as JSON>}` here.
        Runs that follow this one end with it where its answer may be shared; else one of them leads now.
        `None` where the run is no longer `running` under this attempt."""
        ...

    async def cancel(
        self,
        ref: RunRef,
        *,
        ending: Ending,
        draft: EventDraft,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
    ) -> Ended | None:
        """Cancel an active run whoever owns it; `None` where it is not active (any more). The last
        event's `data` gets the Run, as in `finish`; what is open is closed, and told of before it.
        A key is kept only by a request that cancels; one that another has is a reason for `None` too."""
        ...

    async def made_by(self, tenant_id: str, key: IdempotencyKey) -> Run | None:
        """Return the run about which a request with this key was, as it stands; `None` where there was
        none. Raises `CallerError("idempotency-key-reuse")` where that had another body."""
        ...

    async def patch(self, ref: RunRef, change: RunPatch, *, now: datetime) -> Patched | None:
        """Change a run; where it waits for nothing but a higher budget, put it into the queue. `None` where
        it is not there; raises `CallerError("run-terminal")` for the budget of one that has ended."""
        ...

    async def retry(
        self,
        ref: RunRef,
        wish: RetryWish,
        *,
        now: datetime,
        idempotency: IdempotencyKey | None = None,
        refusal: CallerError | None = None,
    ) -> Retried | None:
        """Put a run that is `failed` or `incomplete` back into the queue, or find the one that its key has
        put there; `None` where it is not there.

        One conditional write: of two at once one wins. What its end has said is gone from the row; rounds
        and running time count anew, what was spent does not. Raises `CallerError`: `run-terminal`,
        `run-not-terminal`, `run-incompatible`, `thread-busy`, `budget-exhausted`, or else `refusal`."""
        ...

    async def limits(self, ref: RunRef) -> Limits | None:
        """Return what a run may spend as it stands now."""
        ...

    async def raised(self, ref: RunRef, agent: str, args: Mapping[str, Any]) -> int:
        """Return how often an agent's question about these limits was answered by raising them."""
        ...

    async def spent_since(self, tenant_id: str, caller_id: str, since: datetime) -> DaySpent:
        """Return what a caller's runs have spent since a time, and what their calls under way may."""
        ...

    async def events(
        self, ref: RunRef, *, after: int, limit: int, types: Collection[str] | None = None
    ) -> list[Event]:
        """Return stored events with `seq > after` in order. `types` are exact names."""
        ...

    async def earlier_turns(self, run: Run, *, limit: int) -> list[EarlierTurn]:
        """Return the latest `limit` completed or incomplete runs of the same thread that were created
        before this run, oldest first."""
        ...

    async def ping(self) -> None:
        """Raise unless the database answers."""
        ...


class ArtifactStore(Protocol):
    """What is known of the files that runs have produced, each in its last version; they are written down
    with the events that tell of them. Every method takes the tenant."""

    async def of_run(self, ref: RunRef) -> list[Artifact]:
        """Return a run's artifacts by name."""
        ...

    async def find(self, ref: RunRef, name: str) -> Artifact | None:
        """Return one artifact, or `None` where the tenant's run has no such one."""
        ...
