"""The options that several commands have, and their examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

URL_VARIABLE: Final = "SIGNALBOX_URL"
"""Where a server is that is not this machine's; the Python client reads it too."""

as_json: Final = click.option("--json", "json_", is_flag=True, help="Print JSON on stdout.")


def example(*lines: str) -> str:
    """Return what stands below the options of a command: lines that somebody might type."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def of_server(command: F) -> F:
    """Add the options that say which server is asked."""
    url = click.option(
        "--server",
        "--url",
        "url",
        metavar="URL",
        envvar=URL_VARIABLE,
        default=None,
        help="Address of the server; else SIGNALBOX_URL, else SIGNALBOX_HOST and SIGNALBOX_PORT.",
    )
    key = click.option(
        "--api-key", default=None, help="Key for that server (better: SIGNALBOX_API_KEY)."
    )
    return url(key(command))
