"""What shells complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.test_terminal import shell


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_words_that_it_takes_apart(folder: Path) -> None:
    """At colons and equals signs; and words behind those that are quoted."""
    tries = {
        "keys create --scope runs : w": "[write]",
        "keys create --scope runs :": "[write][read]",
        "keys create --scope = ap": "[approvals:decide]",
        "run '\"do it\"' --approve d": "[deny]",
        "run $'\"a\\nb\"' --approve d": "[deny]",
    }
    lines = [
        f"COMP_WORDS=(signalbox {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); COMPREPLY=(); "
        "_signalbox_completion signalbox; printf '[%s]' \"${COMPREPLY[@]}\"; echo"
        for words in tries
    ]
    outcome = shell(folder, "\n".join(['eval "$(signalbox completion bash)"', *lines]))
    assert outcome.stdout.splitlines() == list(tries.values()), outcome.stderr
