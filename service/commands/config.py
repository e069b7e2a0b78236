"""`signalbox config`: what is set, where that comes from, and what cannot be used."""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

from pydantic import SecretStr, ValidationError

from domain.secrets import Scrubber
from service.commands.findings import masked
from service.setting_faults import every_line, variable
from service.settings import Settings, environment, known_secrets, unknown_variables

_BEFORE_HOST: Final = re.compile(r"//\S*@")
"""Where a URL may have a user and a password: also where that has what a URL should not have in it."""

_AS_QUERY: Final = re.compile(r"([?&]\w*password=)[^&\s]*", re.IGNORECASE)


def effective(settings: Settings, *, changed: bool) -> list[dict[str, Any]]:
    """Return each setting with its value and where that comes from; no secret. `changed`: only those that are set."""
    # In whatever a value holds, a secret is none that a person wants to see here.
    values = Scrubber(known_secrets(settings)).scrub_value(settings.model_dump(mode="json"))
    rows = [_row(name, getattr(settings, name), values[name]) for name in Settings.model_fields]
    return [row for row in rows if not changed or row["source"] != "default"]


def _row(name: str, value: object, shown: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if isinstance(value, SecretStr):
        shown = masked(value.get_secret_value())
    return {
        "setting": variable(name, Settings.model_fields),
        "value": _without_passwords(shown),
        "source": _source(variable(name, Settings.model_fields)),
    }


def _source(name: str) -> Literal["environment", ".env", "default"]:
    """Return where the value of a variable comes from; an empty one is none."""
    if _is_set(name, environment(dotenv=False)):
        return "environment"
    return ".env" if _is_set(name, environment()) else "default"


def _is_set(name: str, values: dict[str, str | None]) -> bool:
    return any(value and each.upper() == name for each, value in values.items())


def _without_passwords(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return _AS_QUERY.sub(r"\1***", _BEFORE_HOST.sub("//***@", value))
    if isinstance(value, dict):
        return {name: _without_passwords(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_passwords(each) for each in value]
    return value


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return settings as a table."""
    if not rows:
        return []
    wide = max(len(row["setting"]) for row in rows)
    return [f"{row['setting']:<{wide}}  {row['source']:<11}  {_text(row['value'])}" for row in rows]


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check() -> dict[str, Any]:
    """Return what is wrong with the environment and `.env`: `ok`, `faults`, and `unknown` names, which are most
    often a slip of the pen and no fault."""
    faults: list[str] = []
    try:
        Settings()
    except ValidationError as error:
        faults = every_line(error, Settings.model_fields)
    return {"ok": not faults, "faults": faults, "unknown": unknown_variables()}
