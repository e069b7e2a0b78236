"""JSON schemas that callers send: small, closed in themselves, and safe to check a document by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from domain.errors import SchemaRefusedError

MAX_NODES: Final = 2_000
"""Schemas within a schema, once its references are written out."""

MAX_DEPTH: Final = 30

MAX_CHARS: Final = 100_000
"""What a schema has, once its references are written out: it is kept, and sent with every call."""

_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("pattern", "patternProperties"), "a pattern can take for ever; check it yourself"
    ),
    **dict.fromkeys(
        ("unevaluatedProperties", "unevaluatedItems"),
        "nested, it can take for ever; take additionalProperties or items",
    ),
    **dict.fromkeys(
        (
            "$dynamicRef",
            "$dynamicAnchor",
            "$recursiveRef",
            "$recursiveAnchor",
            "$anchor",
            "$id",
            "$vocabulary",
        ),
        "only references such as #/$defs/name are followed",
    ),
}
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Where the keys are names that somebody chose, and no keywords."""

_LEFT_OUT: Final = frozenset({"$defs", "definitions", "$schema"})
"""What says nothing once references are written out; another draft's name would change how a part is checked."""

_VALUES: Final = frozenset({"enum", "const", "default", "examples"})
"""Where any JSON may stand."""


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its references written out, so that it can be read without following any.

    Raises `SchemaRefusedError` with a JSON pointer and a sentence for what cannot be checked safely.
    """
    return _Reader(schema).read()


class _Reader:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self._nodes = 0
        self._chars = 0

    def read(self) -> dict[str, Any]:
        found = self._schema(self._root, "", 0)
        assert isinstance(found, dict)  # noqa: S101 - a mapping is read as one
        return found

    def _schema(self, value: Any, where: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, list):
            self._chars += 2
            self._check(depth)
            below = [depth + isinstance(each, list) for each in value]
            return [
                self._schema(each, f"{where}/{i}", d)
                for i, (each, d) in enumerate(zip(value, below, strict=True))
            ]
        if not isinstance(value, Mapping):
            return self._value(value, depth)
        self._nodes += 1
        self._check(depth)
        if "$ref" in value:
            return self._referred(value, where, depth)
        kept: dict[str, Any] = {}
        for key, each in value.items():
            place = f"{where}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in _REFUSED:
                raise SchemaRefusedError(place, f"{key!r} is not taken: {_REFUSED[key]}")
            if key in _LEFT_OUT:
                continue
            self._chars += len(key)
            if key in _VALUES:
                kept[key] = self._value(each, depth)
            elif key in _NAMED and isinstance(each, Mapping):
                kept[key] = {
                    name: self._schema(inner, f"{place}/{name}", depth + 1)
                    for name, inner in each.items()
                }
            else:
                kept[key] = self._schema(each, place, depth + 1)
        return kept

    def _value(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        """Return a value as it is, when there is room for it."""
        if isinstance(value, list | Mapping):
            self._chars += 2
            self._check(depth)
            named = isinstance(value, Mapping)
            for each in value:
                self._chars += len(each) if named else 0
                self._value(value[each] if named else each, depth + 1)
            return value
        self._chars += len(json.dumps(value, ensure_ascii=False)) + 2
        self._check(depth)
        return value

    def _check(self, depth: int) -> None:
        if self._nodes > MAX_NODES or depth > MAX_DEPTH or self._chars > MAX_CHARS:
            msg = f"it is recursive, or has more than {MAX_NODES} parts, {MAX_DEPTH} levels or {MAX_CHARS} characters"
            raise SchemaRefusedError("", msg)

    def _referred(self, value: Mapping[str, Any], where: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        reference = value["$ref"]
        found: Any = self._root
        parts = reference.split("/") if isinstance(reference, str) else [""]
        if parts[0] != "#":
            raise SchemaRefusedError(f"{where}/$ref", _REFUSED["$id"])
        for part in parts[1:]:
            step = part.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise SchemaRefusedError(f"{where}/$ref", f"there is no {reference[:80]!r}")
        beside = {key: each for key, each in value.items() if key != "$ref"}
        return self._schema({**found, **beside}, where, depth + 1)
