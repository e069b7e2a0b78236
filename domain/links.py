"""Links to pages on which somebody decides about one approval without a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.approval import Approval
from domain.run import Run


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link, with what it is about."""

    token_hash: str
    tenant_id: str
    delivery_id: str
    """With which it was sent: that is who has decided."""
    args_digest: str | None
    """Of the call that it is about."""
    expires_at: datetime
    used_at: datetime | None
    approval: Approval
    run: Run


class LinkStore(Protocol):
    """Where links are found. A token tells whose they are, so nobody has to say."""

    async def find(self, token_hash: str) -> Link | None:
        """Return a link with its approval and run as they stand, or `None`."""
        ...
