"""The opened models of a tier, and what is asked of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from agents._kit.chains import Candidate
from agents._kit.clients import limited
from domain.agent import Tier


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of a model, whichever it becomes."""

    run_id: str
    attempt: int
    agent: str
    tier: Tier
    round: int
    key: str
    """Of the first try in the ledger; later ones add `~` and their number."""
    messages: Sequence[BaseMessage]
    """All that the model reads."""
    about: int = 0
    """The most tokens that its tools can be in the prompt."""
    schema: dict[str, Any] | None = None
    """What its answer has to follow."""
    streamed: bool = True
    """Whether its tokens are for a reader."""


class OpenCandidate:
    """One model that can be called."""

    def __init__(
        self,
        candidate: Candidate,
        *,
        talking: BaseChatModel,
        deciding: BaseChatModel,
        max_tokens: int,
    ) -> None:
        self.candidate: Final = candidate
        self.name: Final = candidate.model
        self.provider: Final = candidate.provider
        self.max_tokens: Final = max_tokens
        """The most it may answer with."""
        self._talking = talking
        self._deciding = deciding

    def model(self, *, streamed: bool, max_tokens: int | None) -> BaseChatModel:
        """Return its client; `max_tokens` is the most of this call, where that is less than ever."""
        model = self._talking if streamed else self._deciding
        if max_tokens is None or max_tokens >= self.max_tokens:
            return model
        return limited(model, max_tokens)


class Chain(NamedTuple):
    """The models of a tier, in the order in which they are called."""

    tier: Tier
    candidates: tuple[OpenCandidate, ...]

    @property
    def name(self) -> str:
        """Return `provider:model` of the first."""
        return self.candidates[0].name
