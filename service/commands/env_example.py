"""Renders `.env.example` from the settings: `python -m service.commands.env_example`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Final, cast

import click
from pydantic import BaseModel

from domain.agent import Tier
from service.settings import DEFAULT_MODELS, Settings

HEAD: Final = """\
# Copy this file to .env in the folder Signalbox is started from, and uncomment what you change.
# The environment wins over .env; an empty value means unset; the values shown are the defaults.
# Only these variables are read from .env: another provider's key belongs in the environment.
# Made by `make env-example` from service/settings.py: change it there.
"""

WIDTH: Final = 98

_BOUNDS: Final = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}


def render_env_example() -> str:
    """Return the example file: every setting with its description, bounds and default, commented out."""
    properties = Settings.model_json_schema(by_alias=False)["properties"]
    # A model has what it inherits first; a reader wants what everybody sets first.
    later = ("agent_", "langsmith_")
    names = sorted(Settings.model_fields, key=lambda name: name.startswith(later))
    entries = [_entry(name, properties[name]) for name in names]
    return "\n".join([HEAD, *entries])


def _entry(name: str, about: dict[str, Any]) -> str:
    sentences = [" ".join(about["description"].split()), _range(about), _model(name)]
    lines = textwrap.wrap(" ".join(filter(None, sentences)), WIDTH)
    said = "".join(f"# {line}\n" for line in lines)
    return f"{said}# {_variable(name)}={_value(Settings.model_fields[name].default)}\n"


def _variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    prefix = Settings.model_config["env_prefix"]
    return alias if isinstance(alias, str) else f"{prefix}{name.upper()}"


def _range(about: dict[str, Any]) -> str:
    """Return the sentence on what a value may be."""
    if "enum" in about:
        return f"One of: {', '.join(about['enum'])}."
    limits = [f"{words} {_value(about[key])}" for key, words in _BOUNDS.items() if key in about]
    return f"{', '.join(limits).capitalize()}." if limits else ""


def _model(name: str) -> str:
    model = DEFAULT_MODELS.get(cast("Tier", name.removeprefix("model_")))
    return f"With only a key or base URL for OpenAI set: {model}." if model else ""


def _value(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case dict():
            return ""  # each entry has a variable of its own
        case tuple() | frozenset():
            return ",".join(default)
        case Path():
            return default.as_posix()
        case BaseModel():
            # A table that has nothing in it is the same as none.
            return default.model_dump_json(exclude_defaults=True).removeprefix("{}")
        case _:
            return str(default)


if __name__ == "__main__":
    click.echo(render_env_example(), nl=False)
