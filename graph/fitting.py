"""Checks a document by a schema, for no longer than a check may take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

MAX_STEPS: Final = 100_000
"""A large document by a large schema would hold a thread for minutes, and the memory of every fault in it."""

CHARS_OF_A_STEP: Final = 100

_Check = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class _TooMuchError(Exception):
    """The check has taken all its steps."""


def misfit(value: Any, schema: Mapping[str, Any]) -> str | None:  # noqa: ANN401 - any JSON value
    """Return what keeps a document from fitting a schema, or nothing. Blocks for as long as it checks."""
    try:
        error = best_match(_validator(schema).iter_errors(value))
    except _TooMuchError:
        return "it is too large to be checked by this schema."
    except RecursionError:
        return "it is nested too deeply."
    except ArithmeticError:
        return "it has a number that is too large to be checked."
    if error is None:
        return None
    where = "".join(f"/{step}" for step in error.absolute_path) or "the document"
    return f"{where}: {error.message[:300]}."


def _validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a class made at run time
    """Return a validator that counts its steps."""
    taken = 0

    def step(size: int) -> None:
        nonlocal taken
        taken += size
        if taken > MAX_STEPS:
            raise _TooMuchError

    def counted(check: _Check) -> _Check:
        def run(validator: Any, wanted: Any, value: Any, part: Any) -> Iterator[ValidationError]:  # noqa: ANN401
            step(1 + (len(wanted) if check is plain["enum"] else 0))
            for error in check(validator, wanted, value, part) or ():
                step(len(error.message) // CHARS_OF_A_STEP)
                yield error

        return run

    plain: dict[str, _Check] = {**Draft202012Validator.VALIDATORS, "uniqueItems": _unique}
    checks = {name: counted(each) for name, each in plain.items()}
    return extend(Draft202012Validator, checks)(schema)  # type: ignore[no-untyped-call]


def _unique(
    validator: Any,  # noqa: ANN401 - of the library
    wanted: Any,  # noqa: ANN401
    value: Any,  # noqa: ANN401
    _part: Any,  # noqa: ANN401
) -> Iterator[ValidationError]:
    """Check in one pass: the library compares items of different kinds each with each."""
    if wanted and validator.is_type(value, "array"):
        seen = {json.dumps(_number(each), sort_keys=True) for each in value}
        if len(seen) < len(value):
            yield ValidationError("it has items that are the same")


def _number(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value in which 1.0 is 1, as JSON Schema has it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_number(each) for each in value]
    if isinstance(value, dict):
        return {key: _number(each) for key, each in value.items()}
    return value
