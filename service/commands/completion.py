"""`signalbox completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from service.commands.options import example

PROGRAM = "signalbox"
VARIABLE = "_SIGNALBOX_COMPLETE"
"""Set by the script when it asks the command what fits; click's own name for it."""


@click.command(
    epilog=example(
        "signalbox completion bash > ~/.local/share/bash-completion/completions/signalbox",
        "signalbox completion zsh > ~/.zfunc/_signalbox",
        "signalbox completion fish > ~/.config/fish/completions/signalbox.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete the commands and options of `signalbox`."""
    found = get_completion_class(shell)
    if found is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"There is no completion for {shell}.")
    made = found(click.get_current_context().find_root().command, {}, PROGRAM, VARIABLE)
    # Not `source()`: it starts a shell of its own to ask how old it is.
    click.echo(made.source_template % made.source_vars())
