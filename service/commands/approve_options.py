"""The options of `signalbox approve`."""

from __future__ import annotations

import json
from typing import Any

import click

from service.commands.key_options import command_settings, exit_with
from service.commands.options import as_json, example, of_server


def _object(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"write a JSON object; this is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise click.BadParameter('write a JSON object, as in \'{"url": "https://example.com/b"}\'')
    return document


@click.command(
    epilog=example(
        "signalbox approve",
        "signalbox approve apr_…",
        "signalbox approve apr_… --yes --comment 'Checked with accounting'",
        "signalbox approve apr_… --no --message 'Not on a Friday'",
        "signalbox approve apr_… --respond 'Cork'",
        "signalbox approve run_… --yes --json",
    )
)
@click.argument("id_", metavar="[RUN|APPROVAL]", required=False)
@click.option(
    "--yes", "verb", flag_value="approve", default=None, help="Let the call run as it stands."
)
@click.option("--no", "verb", flag_value="reject", help="Do not let it run; at a limit: finish.")
@click.option(
    "--edit",
    "args",
    callback=_object,
    metavar="JSON",
    default=None,
    help="Let it run with these arguments; at a limit: the limits that are to hold instead.",
)
@click.option(
    "--respond", metavar="TEXT", default=None, help="Answer a question, or in the call's place."
)
@click.option("--message", metavar="TEXT", default=None, help="With --no: why; the agent reads it.")
@click.option(
    "--comment", metavar="TEXT", default=None, help="For the record; the agent does not read it."
)
@click.option("--remember", is_flag=True, help="Do not ask about this tool again in this run.")
@as_json
@of_server
def approve(  # noqa: PLR0913 - one for each option
    id_: str | None,
    verb: str | None,
    args: dict[str, Any] | None,
    respond: str | None,
    message: str | None,
    comment: str | None,
    url: str | None,
    api_key: str | None,
    *,
    remember: bool,
    json_: bool,
) -> None:
    """List what waits for a decision; show it and decide.

    Without an id all that waits is listed, of a RUN all that it waits for. A decision about a RUN is about all of
    that, or about none. Without a decision you are asked at a terminal, and elsewhere it is shown.
    """
    decision = _decision(verb, args, respond)
    beside = {"message": message, "comment": comment, "remember": "run" if remember else None}
    given = {name: value for name, value in beside.items() if value is not None}
    if given and not decision:
        name = next(iter(given))
        raise click.UsageError(f"--{name} goes with a decision: --yes, --no, --edit or --respond.")
    if message is not None and verb != "reject":
        raise click.UsageError("--message goes with --no: it says why.")
    if decision and not id_:
        raise click.UsageError("Say what is decided: the id of an approval, or of a run.")
    decision |= given
    settings = command_settings(**({"api_key": api_key} if api_key else {}))
    from service.commands.approving import approve_at  # noqa: PLC0415 - after the environment is prepared
    from service.commands.run_views import Server  # noqa: PLC0415 - likewise

    exit_with(approve_at(Server(settings, url), id_, decision, json_=json_))


def _decision(verb: str | None, args: dict[str, Any] | None, respond: str | None) -> dict[str, Any]:
    """Return the decision that options make up, nothing where there is none."""
    decisions = {"--yes or --no": verb, "--edit": args, "--respond": respond}
    told = [name for name, value in decisions.items() if value is not None]
    if len(told) > 1:
        raise click.UsageError(f"{' and '.join(told)} are different decisions: give one.")
    if args is not None:
        return {"type": "edit", "args": args}
    if respond is not None:
        return {"type": "respond", "message": respond}
    return {"type": verb} if verb else {}
