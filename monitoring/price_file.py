"""The file of your own prices: what it may say, and what is wrong with it in one line."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import yaml

from domain.errors import ConfigurationError
from domain.usage import Rates

_FIELDS: Final = ("input", "output", "cached")
_FORM: Final = "openai:gpt-4.1: {input: 2.0, output: 8.0, cached: 0.5}"
MOST: Final = Decimal(1_000_000)
"""US dollars for a million tokens; more is a slip of the pen."""


def read_prices(file: Path) -> dict[str, Rates]:
    """Return the rates by `provider:model`, or by what such a name begins with where the key ends in `*`.

    Raises `ConfigurationError`, which names file, line and entry and says what may be written. Numbers are
    taken as they are written: they never become floats.
    """
    try:
        # Read as nodes, not as values: those would be floats, and of two equal keys only one is left.
        document = yaml.compose(file.expanduser().read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(file, f"cannot be read ({type(error).__name__})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise _fault(file, f"is no YAML{where}: {getattr(error, 'problem', error)}") from error
    if document is None:
        return {}
    if not isinstance(document, yaml.MappingNode):
        raise _fault(file, "is no table of models")
    prices: dict[str, Rates] = {}
    for key, value in document.value:
        name = _name(file, key)
        if name in prices:
            raise _fault(file, f"has {name!r} again in line {key.start_mark.line + 1}")
        prices[name] = _rates(file, name, value)
    return prices


def _name(file: Path, key: yaml.Node) -> str:
    text = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
    provider, _, model = text.partition(":")
    if not provider or not model or "*" in text[:-1]:
        raise _fault(
            file,
            f"has {text[:80]!r} in line {key.start_mark.line + 1}, which names no model: write "
            "provider:model, or with * as its end for all that begin so",
        )
    return text


def _rates(file: Path, name: str, node: yaml.Node) -> Rates:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise _fault(file, f"has no prices for {name!r} in line {line}")
    given: dict[str, Decimal] = {}
    for key, value in node.value:
        field = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        where = f"{name!r} in line {key.start_mark.line + 1}"
        if field not in _FIELDS:
            raise _fault(file, f"has {field[:80]!r} for {where}, which may be {', '.join(_FIELDS)}")
        if field in given:
            raise _fault(file, f"has {field!r} twice for {where}")
        given[field] = _amount(file, f"{field!r} of {where}", value)
    missing = [field for field in ("input", "output") if field not in given]
    if missing:
        raise _fault(file, f"has no {' and no '.join(missing)} for {name!r} in line {line}")
    cached = given.get("cached", given["input"])
    return Rates(input=given["input"], output=given["output"], cached=cached)


def _amount(file: Path, what: str, node: yaml.Node) -> Decimal:
    text = str(node.value).strip() if isinstance(node, yaml.ScalarNode) else "?"
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MOST:
        raise _fault(file, f"has {text[:40]!r} as {what}, which is no number from 0 to {MOST}")
    return amount


def _fault(file: Path, what: str) -> ConfigurationError:
    msg = (
        f"SIGNALBOX_PRICES={str(file)!r} {what}; write US dollars for a million tokens, such as "
        f"`{_FORM}`."
    )
    return ConfigurationError(" ".join(msg.split()))
