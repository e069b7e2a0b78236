"""Where a run reports to, and of what."""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

WebhookEvent = Literal[
    "run.completed", "run.failed", "run.cancelled", "run.incomplete", "run.requires_action"
]
"""What is reported: a run has ended, or waits for a person."""

REPORTED: Final[frozenset[str]] = frozenset(get_args(WebhookEvent))


class Webhook(BaseModel):
    """Where a run reports to."""

    model_config = ConfigDict(frozen=True)

    url: str
    events: tuple[WebhookEvent, ...] | None = None
    """`None` means all of them."""
    decides: bool = False
    """Whether who named it may decide: only then do questions come with links, which decide."""

    @property
    def endpoint(self) -> str:
        """Return what of the url stands for its receiver: all but the query. It has one secret."""
        return self.url.partition("?")[0]

    def wants(self, type_: str) -> bool:
        """Return whether an event is reported."""
        return type_ in REPORTED if self.events is None else type_ in self.events
