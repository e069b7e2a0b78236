"""The opened models of a tier, and what is asked of one."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from agents._kit.chains import Candidate
from agents._kit.clients import limited
from agents._kit.emulation import InWords
from agents._kit.faults import status_of, told_window
from agents._kit.windows import Window, known_window
from domain.agent import Tier

_REFUSALS: Final = frozenset({400, 404, 422})
_NO_SCHEMA: Final = re.compile(
    r"response_format|json_schema|structured.output|output_config", re.IGNORECASE
)
_NO_TOOLS: Final = re.compile(r"\btools\b|tool_choice|tool.use|function.calling", re.IGNORECASE)


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
    tools: Sequence[dict[str, Any]] = ()
    """What it is told of them, in OpenAI's words."""
    repeatable: Collection[str] = frozenset()
    """The tools that may be called again only to read their results."""
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
        provider: str | None = None,
    ) -> None:
        self.candidate: Final = candidate
        self.name: Final = candidate.model
        self.provider: Final = provider or candidate.provider
        self.window: Final = Window(known_window(candidate, talking), max_tokens)
        self._built_tokens: Final = max_tokens
        """The most that its clients answer with as they are."""
        self._talking = talking
        self._deciding = deciding
        self.can_schema = candidate.json_schema
        """Whether it answers by a JSON schema, as far as is known."""
        self.can_tools = candidate.tools
        """Whether it calls tools, as far as is known."""

    @property
    def max_tokens(self) -> int:
        """Return the most it may answer with."""
        return self.window.answer

    def in_words(self, request: Request) -> bool:
        """Return whether a request asks for what the model cannot do, so that it is put in words for it."""
        return (request.schema is not None and not self.can_schema) or (
            request.about > 0 and not self.can_tools
        )

    def model_for(self, request: Request, max_tokens: int) -> BaseChatModel:
        """Return its client for a request, answering with at most so many tokens."""
        if self.in_words(request):
            # Not streamed: who follows the run would read the JSON of tool calls.
            return InWords(inner=self.model(streamed=False, max_tokens=max_tokens))
        return self.model(streamed=request.streamed, max_tokens=max_tokens)

    def model(self, *, streamed: bool, max_tokens: int | None = None) -> BaseChatModel:
        """Return its client; `max_tokens` is the most of this call, where that is less than ever."""
        model = self._talking if streamed else self._deciding
        most = min(max_tokens or self.max_tokens, self.max_tokens)
        return model if most >= self._built_tokens else limited(model, most)

    def learn_window(self, error: BaseException) -> None:
        """Remember how large its window is where a refusal says so."""
        self.window.learn(told_window(error))

    def learn(self, error: BaseException, request: Request) -> str | None:
        """Remember what the model cannot do where a refusal says so; return it, or `None`."""
        if status_of(error) not in _REFUSALS or self.in_words(request):
            return None
        said = str(error)
        if request.schema is not None and _NO_SCHEMA.search(said):
            self.can_schema = False
            return f"{self.name} takes no JSON schema: it is told in words."
        if request.about > 0 and _NO_TOOLS.search(said):
            self.can_tools = False
            return f"{self.name} takes no tools: it is told of them in words."
        return None


class Chain(NamedTuple):
    """The models of a tier, in the order in which they are called."""

    tier: Tier
    candidates: tuple[OpenCandidate, ...]

    @property
    def name(self) -> str:
        """Return `provider:model` of the first."""
        return self.candidates[0].name
