"""`signalbox completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from service.commands.options import example

PROGRAM = "signalbox"
VARIABLE = "_SIGNALBOX_COMPLETE"
"""Set by the script when it asks the command what fits; click's own name for it."""

_ASKS: Final = 'response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD '
"""How click's script for bash asks."""

_ASKS_FOR_WHOLE_WORDS: Final = r"""# Bash takes words apart at colons and equals signs, as in runs:write.
    local words=() i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if ((i > 1)) && [[ ${COMP_WORDS[i]} == [:=] || ${COMP_WORDS[i-1]} == [:=] ]]; then
            words[${#words[@]}-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
    done
    local last=${words[${#words[@]}-1]}
    local before=${last%%"${COMP_WORDS[COMP_CWORD]#[:=]}"}
    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]}-1)) """

_GIVES: Final = "COMPREPLY+=($value)"
_GIVES_THE_REST: Final = 'COMPREPLY+=("${value#"$before"}")'


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
    template = made.source_template
    if shell == "bash":
        template = template.replace(_ASKS, _ASKS_FOR_WHOLE_WORDS).replace(_GIVES, _GIVES_THE_REST)
    click.echo(template % made.source_vars())
