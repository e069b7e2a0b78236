"""Fits a request to the window of one model, and once more tightly where its provider refuses it for its length."""

from __future__ import annotations

from typing import Final

from langchain_core.messages import BaseMessage

from agents._kit.bounds import schema_bytes
from agents._kit.candidates import OpenCandidate, Request
from agents._kit.emulation import WORDS_TOKENS
from agents._kit.views import View, estimate, view
from domain.errors import ModelCallError

TIGHTER: Final = 0.5
"""The part of a refused prompt that is sent instead, where the window's size does not ask for less."""

REMEDY: Final = (
    "Use a model with a larger window, or smaller tasks; if its window is larger than that, say so behind its name "
    "as in ?context=128000."
)


class Fitting:
    """What one model is sent of a request."""

    def __init__(self, candidate: OpenCandidate, request: Request) -> None:
        self._candidate = candidate
        self._request = request
        words = WORDS_TOKENS if candidate.in_words(request) else 0
        self._about = estimate(request.about + schema_bytes(request.schema) + words)
        self._tightened = False
        self.room = candidate.window.room
        """How long the prompt may be, by our estimate."""
        self._view = self._fit()

    @property
    def messages(self) -> list[BaseMessage]:
        """Return what the model is sent."""
        return self._view.messages

    @property
    def too_long(self) -> bool:
        """Return whether it cannot be sent: all that may be left out is, and it does not fit."""
        window = self._candidate.window
        return window.known and self._view.tokens > window.prompt

    def tighten(self, error: BaseException) -> bool:
        """Leave out more after a refusal; return whether there was more, which is asked once only."""
        window, before = self._candidate.window, self._view
        self._candidate.learn_window(error)
        if self._tightened:
            return False
        self._tightened = True
        tighter = int(TIGHTER * before.tokens)
        self.room = window.room if window.room < before.tokens else tighter
        self._view = self._fit()
        return self._view.tokens < before.tokens and not self.too_long

    def refusal(self) -> ModelCallError:
        """Return what is said where the request cannot be made to fit."""
        window, name = self._candidate.window, self._candidate.name
        size = f"{window.tokens} tokens" if window.known else "unknown size"
        told = " even with its older results cleared" if self._tightened else ""
        msg = (
            f"The prompt is too long for {name}{told}: its window of {size} has to hold the answer too. "
            f"{REMEDY}"
        )
        return ModelCallError(msg)

    def _fit(self) -> View:
        request = self._request
        return view(
            request.messages,
            self.room,
            model=self._candidate.name,
            about=self._about,
            repeatable=request.repeatable,
        )
