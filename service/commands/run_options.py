"""The options of `signalbox run`."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import click

from domain.errors import ConfigurationError
from service.commands.key_options import command_settings, exit_with
from service.commands.options import URL_VARIABLE, example


def _dollars(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Return an amount as the API takes it."""
    if value is None:
        return None
    text = value.strip().removeprefix("$")
    if not re.fullmatch(r"\d{1,9}(\.\d{1,12})?", text) or not Decimal(text):
        raise click.BadParameter("write US dollars above 0, as in 0.50")
    return text


@click.command(
    epilog=example(
        'signalbox run "What is 17% of 80?" --answer',
        'signalbox run --file sales.csv --out results "Chart revenue by month"',
        "signalbox run --json --server http://127.0.0.1:8000 - < task.txt",
        'signalbox run --budget 0.50 --approve deny "Compare the three offers"',
    )
)
@click.argument("task")
@click.option(
    "--server",
    "--url",
    "url",
    metavar="URL",
    envvar=URL_VARIABLE,
    default=None,
    help="Use a running server instead of starting one; else the one of SIGNALBOX_URL, where that is set.",
)
@click.option("--api-key", default=None, help="Key for that server (better: SIGNALBOX_API_KEY).")
@click.option(
    "--json",
    "json_",
    is_flag=True,
    help="Print every event as it comes, a line of JSON each; the last line is the Run.",
)
@click.option("--answer", is_flag=True, help="Print the answer alone, not the Run.")
@click.option("--quiet", is_flag=True, help="Do not show progress on stderr.")
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto", "deny"]),
    default="ask",
    show_default=True,
    help="What to do where a person is asked: ask on the terminal, let all run that no rule makes a person decide, "
    "or reject everything.",
)
@click.option(
    "--approvals",
    type=click.Choice(["policy", "always", "never"]),
    default=None,
    help="When to ask: where the server's gates say so (the default), before whatever changes something, never.",
)
@click.option(
    "--stay",
    "stays",
    is_flag=True,
    help="Where nobody is at the terminal to be asked, wait until somebody decides elsewhere; else exit 3.",
)
@click.option(
    "--budget",
    callback=_dollars,
    metavar="USD",
    default=None,
    help="Spend no more than that; a person is asked before it would be more.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=None,
    help="The same for tokens, in and out.",
)
@click.option(
    "--max-seconds",
    type=click.IntRange(min=1),
    default=None,
    help="End after so many seconds at work, with what there is by then.",
)
@click.option(
    "--max-rounds",
    type=click.IntRange(1, 50),
    default=None,
    help="End after so many rounds, with what there is by then.",
)
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Send a file along, under its own name; may be given up to 20 times.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Save the run's files to this folder; a file that is there already is left, the new one gets a number.",
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    default=None,
    help="A JSON Schema in a file: the answer as a document by it too, in result.structured.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    default=None,
    help="Write all that the run got from models, tools and people to a file for `signalbox runs replay`.",
)
def run(  # noqa: PLR0913, PLR0917 - one for each option
    task: str,
    url: str | None,
    api_key: str | None,
    approve: Literal["ask", "auto", "deny"],
    approvals: Literal["policy", "always", "never"] | None,
    budget: str | None,
    max_tokens: int | None,
    max_seconds: int | None,
    max_rounds: int | None,
    files: tuple[Path, ...],
    out: Path | None,
    schema: Path | None,
    record: Path | None,
    *,
    json_: bool,
    answer: bool,
    quiet: bool,
    stays: bool,
) -> None:
    """Run TASK, or with `-` what comes on stdin: progress on stderr, the Run as JSON on stdout.

    Exit 0 only if it completed. Ctrl-C cancels the run; pressed twice it leaves at once and says what becomes of it.
    """
    _refuse_what_contradicts(url, record, approve, approvals, answer=answer, json_=json_)
    settings = command_settings(**({"api_key": api_key} if api_key else {}))
    from service.commands.attaching import read_files, read_schema, read_task  # noqa: PLC0415 - only here
    from service.commands.run import Manner, run_task  # noqa: PLC0415 - after the environment is prepared

    limits = {
        "max_cost_usd": budget,
        "max_tokens": max_tokens,
        "max_seconds": max_seconds,
        "max_rounds": max_rounds,
    }
    given = {name: value for name, value in limits.items() if value is not None}
    mode = approvals or ("never" if approve == "auto" else "policy")
    body: dict[str, Any] = {
        "task": read_task(task),
        "approvals": {"mode": mode},
        **({"budget": given} if given else {}),
        **({"files": read_files(files)} if files else {}),
        **({"output_schema": read_schema(schema)} if schema else {}),
    }
    manner = Manner(
        url=url,
        quiet=quiet,
        approve=approve,
        record=record,
        out=out,
        stays=stays,
        json_=json_,
        answer=answer,
    )
    exit_with(run_task(settings, body, manner))


def _refuse_what_contradicts(
    url: str | None,
    record: Path | None,
    approve: str,
    approvals: str | None,
    *,
    answer: bool,
    json_: bool,
) -> None:
    if record and url:
        msg = (
            "--record: what another server gets from its models is not seen here. Leave --server out, and "
            "SIGNALBOX_URL unset."
        )
        raise ConfigurationError(msg)
    if approve == "auto" and approvals in {"policy", "always"}:
        msg = (
            f"--approve auto has nothing asked but what a rule makes a person decide, and --approvals {approvals} has "
            "more asked. Leave one of them out."
        )
        raise ConfigurationError(msg)
    if answer and json_:
        raise ConfigurationError("--answer and --json: stdout has one of them. Leave one out.")
