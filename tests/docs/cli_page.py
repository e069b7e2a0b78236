"""The reference in docs/cli.md: `python -m tests.docs.cli_page` writes it anew from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from service.cli import cli
from service.commands.exits import MEANINGS
from tests.conftest import ROOT

PAGE: Final = ROOT / "docs" / "cli.md"
BEGIN: Final = "<!-- begin: written by `python -m tests.docs.cli_page` -->\n"
END: Final = "<!-- end -->\n"


class Named(NamedTuple):
    """A command under the words that it is called by."""

    words: tuple[str, ...]
    command: click.Command

    @property
    def name(self) -> str:
        return " ".join(self.words)


def commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[Named]:
    """Yield every command and group below a group, by name."""
    for name, command in sorted(group.commands.items()):
        yield Named((*words, name), command)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


def context_of(named: Named) -> click.Context:
    """Return the context in which a command tells about itself."""
    # With its settings: what a command is first asked for with is what it keeps to.
    context = click.Context(cli, info_name="signalbox", **cli.context_settings)
    for word in named.words[:-1]:
        command = context.command
        assert isinstance(command, click.Group)
        context = click.Context(command.commands[word], parent=context, info_name=word)
    return click.Context(named.command, parent=context, info_name=named.words[-1])


def examples(command: click.Command) -> list[str]:
    """Return the lines that a command's help shows as examples."""
    _, _, lines = (command.epilog or "").partition("Example:\n")
    return [line.strip() for line in lines.splitlines()]


def reference() -> str:
    """Return the exit codes and every command."""
    lines = ["| Code | Meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in sorted(MEANINGS.items())]
    for named in commands():
        lines += ["", *section(named)]
    return "\n".join(lines) + "\n"


def section(named: Named) -> list[str]:
    """Return what there is to say of one command."""
    command, context = named.command, context_of(named)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    about = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    lines = [f"### signalbox {named.name}", "", *about.splitlines()]
    if not isinstance(command, click.Group):
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        lines += ["", f"`{usage}`"]
    options = [each for each in command.params if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context))]
    if records:
        lines += ["", "| Option | Meaning |", "|---|---|"]
        lines += [f"| `{cell(option)}` | {cell(text)} |" for option, text in records]
    return [*lines, "", "```sh", *examples(command), "```"]


def cell(text: str) -> str:
    """Return a text as it may stand in a table."""
    return text.replace("|", "\\|")


def write(page: str) -> str:
    """Return the page with the reference as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{reference()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
