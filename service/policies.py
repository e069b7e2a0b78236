"""Reads the tables that settings name: what asks a person, and what runs may spend."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path


def read_gates(value: str) -> object:
    """Return the rules of a policy table: JSON where it begins like an array, else the name of a TOML file."""
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError as error:
            msg = f"this is no JSON array of rules: {error}"
            raise ValueError(msg) from error
    try:
        table = tomllib.loads(Path(text).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"name a TOML file with [[gates]] tables, or write a JSON array: {error}"
        raise ValueError(msg) from error
    unknown = sorted(table.keys() - {"gates"})
    if unknown or not isinstance(table.get("gates"), list):
        msg = f"the file has {unknown or 'nothing'}; it may have [[gates]] tables and nothing else"
        raise ValueError(msg)
    return table["gates"]


def read_budgets(value: str) -> object:
    """Return what runs may spend: JSON where it begins like an object, else the name of a TOML file."""
    text = value.strip()
    try:
        if text.startswith("{"):
            return json.loads(text, parse_float=Decimal)
        document = Path(text).expanduser().read_text(encoding="utf-8")
        return tomllib.loads(document, parse_float=Decimal)
    except (OSError, ValueError) as error:
        msg = f"name a TOML file, or write a JSON object: {error}"
        raise ValueError(msg) from error
