"""What a tier's setting says: a model, and after it those that take its place when it fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

MOST_TOKENS_SET: Final = 1_000_000
LEAST_WINDOW: Final = 1_000
MOST_WINDOW: Final = 10_000_000
MOST_PARALLEL: Final = 1000
HOTTEST: Final = 2.0

FORM: Final = (
    "write provider:model, such as openai:gpt-4o-mini, after a comma each model that takes its place when "
    "it fails, and options after a ? as in openai:gpt-4.1?temperature=0.2&max_tokens=2000"
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model of a chain, as it is written."""

    model: str
    """`provider:model`."""
    temperature: float | None = None
    """`None` leaves it to the provider."""
    max_tokens: int | None = None
    """The most it may answer with; `None` means as much as any."""
    context: int | None = None
    """The tokens that prompt and answer may have together; `None` asks the model's package."""
    json_schema: bool = True
    """Whether it can be made to answer by a JSON schema; where not, the schema is put in words."""
    tools: bool = True
    """Whether it can call tools; where not, they are described to it in words."""
    parallel: int | None = None
    """Calls that its provider may be given at once."""

    @property
    def provider(self) -> str:
        """Return whose model it is."""
        return self.model.partition(":")[0]


def parse_chain(text: str) -> tuple[Candidate, ...]:
    """Return a chain as its setting writes it; raises `ValueError` with what may be written."""
    return tuple(_parse_candidate(part.strip()) for part in text.split(","))


def _parse_candidate(text: str) -> Candidate:
    model, _, query = text.partition("?")
    provider, _, name = model.strip().partition(":")
    if not provider or not name:
        msg = f"{text!r} names no model: {FORM}"
        raise ValueError(msg)
    values: dict[str, float | int | bool] = {}
    for option, value in parse_qsl(query.strip(), keep_blank_values=True):
        read = _OPTIONS.get(option)
        if read is None:
            msg = f"{option!r} is no option; there are {', '.join(sorted(_OPTIONS))}: {FORM}"
            raise ValueError(msg)
        try:
            values[option] = read.parse(value)
        except ValueError:
            msg = f"{option}={value!r} cannot be used; it may be {read.may_be}"
            raise ValueError(msg) from None
    return Candidate(model=f"{provider}:{name}", **values)  # type: ignore[arg-type]  # each by its own reader


@dataclass(frozen=True)
class _Option:
    parse: Callable[[str], float | int | bool]
    may_be: str


def _number(value: str) -> float:
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= HOTTEST):
        raise ValueError
    return number


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return parse


def _switch(value: str) -> bool:
    if value not in {"on", "off"}:
        raise ValueError
    return value == "on"


_LEAST_TOKENS: Final = 16

_OPTIONS: Final = {
    "context": _Option(_whole(LEAST_WINDOW, MOST_WINDOW), f"{LEAST_WINDOW} to {MOST_WINDOW}"),
    "temperature": _Option(_number, f"0 to {HOTTEST:g}"),
    "max_tokens": _Option(
        _whole(_LEAST_TOKENS, MOST_TOKENS_SET), f"{_LEAST_TOKENS} to {MOST_TOKENS_SET}"
    ),
    "json_schema": _Option(_switch, "on or off"),
    "tools": _Option(_switch, "on or off"),
    "parallel": _Option(_whole(1, MOST_PARALLEL), f"1 to {MOST_PARALLEL}"),
}
