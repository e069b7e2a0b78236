"""Reads the schema that the answer of a new run is to fit."""

from __future__ import annotations

from typing import Any, Final

from jsonschema import Draft202012Validator, SchemaError

from domain.errors import CallerError, SchemaRefusedError
from domain.problems import Pointer
from domain.run import Engine
from domain.schemas import closed

FIELD: Final = "/output_schema"


def read_schema(schema: dict[str, Any] | None, engine: Engine) -> dict[str, Any] | None:
    """Return a schema closed in itself; raises `validation-error` where no answer can be had by it."""
    if schema is None:
        return None
    if engine == "offline":
        raise _refused(
            "", "it needs a language model, and this server has none: set OPENAI_API_KEY"
        )
    try:
        found = closed(schema)
        Draft202012Validator.check_schema(found)
    except SchemaRefusedError as error:
        raise _refused(error.pointer, error.why) from None
    except SchemaError as error:
        where = "".join(f"/{step}" for step in error.absolute_path)
        raise _refused(where, "this is no JSON Schema (draft 2020-12)") from None
    return found


def _refused(where: str, why: str) -> CallerError:
    pointer = Pointer(pointer=f"{FIELD}{where}"[:200], detail=why)
    return CallerError("validation-error", f"{pointer['pointer']}: {why}.", errors=[pointer])
