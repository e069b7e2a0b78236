"""Work that is done once where several runs need the same: what may be kept of it, and what is got of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from domain.agent import Whence
from domain.run import RunContext

Kind = Literal["assignment", "tool"]
"""`assignment` what an agent came to · `tool` what a tool got from elsewhere."""


REUSED: Final = "reused"
"""Under which a tool's answer says whose work it is: a `domain.agent.Whence`."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of work, as it is compared with others."""

    kind: Kind
    about: Mapping[str, Any]
    """All that its outcome depends on, but for the tenant and what the server was started with. JSON."""
    web: bool = False
    """Whether it is known beforehand to rest on the web."""


class Work(NamedTuple):
    """What a piece of work came to."""

    value: dict[str, Any]
    """JSON."""
    keep: bool = True
    """Whether others may have it."""
    web: bool = False
    """Whether it rests on the web, so that others have it only where they say how old it may be."""
    age: int = 0
    """Seconds since when what it rests on is known."""


class Had(NamedTuple):
    """What a piece of work came to, and for whom it was done."""

    value: dict[str, Any]
    run_id: str | None = None
    """The run that it was done for; `None` where it was done just now."""
    age: int = 0
    """Seconds since what it rests on is known."""
    web: bool = False

    @property
    def whence(self) -> Whence | None:
        """Return whose work it is, where it is that of another."""
        return None if self.run_id is None else Whence(run_id=self.run_id, age=self.age)


def reused(had: Had) -> dict[str, Whence]:
    """Return what a tool's answer says about whose work it is."""
    return {REUSED: had.whence} if had.whence else {}


class WorkCache(Protocol):
    """Has work done once for all who need it within its time."""

    async def cached(
        self, context: RunContext, piece: Piece, compute: Callable[[], Awaitable[Work]]
    ) -> Had:
        """Return what the piece came to: from the cache as far as the run may use it, else computed.

        Of those who need it at once in one process one computes, and the others wait for it; where its
        outcome may not be shared each of them computes. Raises what `compute` raises.
        """
        ...

    async def forget(self, tenant_id: str, run_ids: Collection[str]) -> None:
        """Let nobody have what agents came to in these runs: it did not hold."""
        ...


class NoCache:
    """Does every piece of work anew."""

    async def cached(
        self, context: RunContext, piece: Piece, compute: Callable[[], Awaitable[Work]]
    ) -> Had:
        """Compute it."""
        del context, piece
        return Had((await compute()).value)

    async def forget(self, tenant_id: str, run_ids: Collection[str]) -> None:
        """Forget nothing: nothing is kept."""
        del tenant_id, run_ids


NO_CACHE: Final = NoCache()
