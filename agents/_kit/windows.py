"""How long the prompt of a model may be: its window, and how much of it is used before old results go."""

from __future__ import annotations

from typing import Final

from langchain_core.language_models import BaseChatModel

from agents._kit.chains import LEAST_WINDOW, Candidate

UNKNOWN_WINDOW: Final = 32_000
"""Taken where nobody knows. In a larger one nothing is lost but old results, which can be had again; a smaller
one is found out when a prompt is refused."""

FILL: Final = 0.75
"""The part of the room for a prompt that is filled before something is cleared: our estimate is one."""


def known_window(candidate: Candidate, model: BaseChatModel) -> int | None:
    """Return the tokens that prompt and answer may have together: as the chain says, else as the model's package
    does; `None` where neither knows."""
    if candidate.context is not None:
        return candidate.context
    profile = model.profile or {}
    most = profile.get("max_input_tokens") or 0
    return most if most >= LEAST_WINDOW else None


class Window:
    """The window of a model, as far as it is known; a refusal may say more."""

    def __init__(self, known: int | None, answer: int) -> None:
        self._wanted: Final = answer
        self.known = known is not None
        self.tokens: int = known if known is not None else max(UNKNOWN_WINDOW, 2 * answer)

    @property
    def answer(self) -> int:
        """Return the most tokens of an answer: as many as are wanted, but no more than half of what there is."""
        return min(self._wanted, self.tokens // 2)

    @property
    def prompt(self) -> int:
        """Return the most tokens of a prompt."""
        return self.tokens - self.answer

    @property
    def room(self) -> int:
        """Return how long a prompt may become before something of it is cleared."""
        return int(FILL * self.prompt)

    def learn(self, told: int | None) -> None:
        """Remember for as long as the process runs what a refusal says of the window's size."""
        if told is not None and LEAST_WINDOW <= told < self.tokens:
            self.tokens, self.known = told, True
