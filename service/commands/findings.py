"""What the doctor finds: each with how to mend it, where there is anything to mend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from typing import Final, Literal

from domain.errors import ConfigurationError

CHECK_SECONDS: Final = 10.0
"""How long is waited for one thing that is looked at."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "warn", "fail"]
    """`warn` limits what the service can do; `fail` keeps it from starting."""
    subject: str
    text: str
    fix: str | None = None
    """What mends it; `None` where all is well."""

    def line(self) -> str:
        """Return the finding as a line, and below it how to mend it."""
        line = f"[{self.level:>4}] {self.subject}: {self.text}"
        return line if self.fix is None else f"{line}\n       fix: {self.fix}"

    def document(self) -> dict[str, str | None]:
        """Return the finding as JSON."""
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(level="ok", subject=subject, text=text)


def warn(subject: str, text: str, fix: str) -> Finding:
    """Return a finding that limits what the service can do."""
    return Finding(level="warn", subject=subject, text=text, fix=fix)


def fail(subject: str, text: str, fix: str) -> Finding:
    """Return a finding that keeps the service from starting."""
    return Finding(level="fail", subject=subject, text=text, fix=fix)


def refused(subject: str, error: ConfigurationError) -> Finding:
    """Return a finding of a setting that cannot be used; the error says which."""
    return fail(
        subject, str(error), "Mend what it names; .env.example says what each setting may be."
    )


async def bounded(
    subject: str, look: Awaitable[list[Finding]], seconds: float = CHECK_SECONDS
) -> list[Finding]:
    """Return what was found of something, or that it took too long or broke."""
    try:
        async with asyncio.timeout(seconds):
            return await look
    except TimeoutError:
        text = f"it did not answer within {seconds:g} s"
        return [warn(subject, text, "Look whether what it depends on is up, and try again.")]
    except ConfigurationError as error:
        return [refused(subject, error)]


def masked(secret: str) -> str:
    """Return how a secret begins and ends, where that tells nobody much of it."""
    return f"{secret[:3]}…{secret[-4:]}" if len(secret) >= 20 else "set"  # noqa: PLR2004 - long enough
