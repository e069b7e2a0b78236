"""Says in one line why a setting cannot be used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

Fields = Mapping[str, FieldInfo]
"""The settings there are."""


def one_line(error: ValidationError, known: Fields) -> str:
    """Return which setting it is, what it was and what it may be; no secret. Of several, the first."""
    return every_line(error, known)[0]


def every_line(error: ValidationError, known: Fields) -> list[str]:
    """Return the line of each setting that cannot be used."""
    return [_line(dict(fault), known) for fault in error.errors(include_url=False)]


def _line(fault: dict[str, Any], known: Fields) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else ""
    named = variable(name, known) if name else ""
    # Of a table: which rule of it, and what in that.
    inside = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"][1:]
    )
    what = str(fault["msg"]).removeprefix("Value error, ") + _bounds(name, known)
    if not named:
        return f"{what}."
    secret = "key" in name.lower() or "secret" in name.lower()
    # A URL may carry a password before its host.
    shown = re.sub(r"//[^/]*@", "//***@", str(fault["input"]))
    was = "" if secret else f"={shown[:100]!r}"
    return f"{named}{inside}{was} cannot be used: {what}."


def _bounds(name: str, known: Fields) -> str:
    """Return what a number may be, both ends: an error names only the one that was missed."""
    field = known.get(name)
    ends = {type(each).__name__.lower(): each for each in (field.metadata if field else ())}
    low = next((getattr(ends[k], k) for k in ("ge", "gt") if k in ends), None)
    high = getattr(ends.get("le"), "le", None)
    return f" (it may be {low:g} to {high:g})" if low is not None and high is not None else ""


def variable(name: str, known: Fields) -> str:
    """Return the variable of a setting."""
    field = known.get(name)
    if field is None:
        return name
    alias = field.validation_alias
    return alias if isinstance(alias, str) else f"SIGNALBOX_{name.upper()}"
