"""Every command: its help, its examples, what it says to a wrong option, and how faults end it."""

from __future__ import annotations

import errno
import shlex
from typing import Any

import click
import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner, Result

from domain.errors import ConfigurationError, RunFailedError, StoreUnavailableError
from service.cli import cli
from service.commands.exits import (
    MEANINGS,
    ServerAwayError,
    TooLateError,
    carry_out,
    code_of,
)
from service.commands.saving import safe_name
from tests.docs.cli_page import commands, examples

WITHOUT_JSON = {
    "agent test": "it prints JSON anyway",
    "completion": "a script",
    "demo": "an address",
    "runs export": "it prints JSON anyway",
    "runs replay": "it prints JSON anyway",
    "sandbox": "it serves",
    "serve": "it serves",
    "worker": "it serves",
    "webhooks enable": "it prints nothing",
    "webhooks forget": "it prints nothing",
}
"""Commands that have no `--json`, and why."""


def test_every_command_explains_itself() -> None:
    """Its help says what it does, what each option is for, and how it is typed; -h is the same."""
    for named in commands():
        outcome = called(*named.words, "--help")
        assert outcome.exit_code == 0, named.name
        assert outcome.stdout.startswith(f"Usage: signalbox {named.name} ")
        assert named.command.help, named.name
        for option in named.command.params:
            assert not isinstance(option, click.Option) or option.help, (named.name, option.name)
        for line in examples(named.command):
            assert line in outcome.stdout
        short = called(*named.words, "-h")
        assert (short.stdout, short.exception) == (outcome.stdout, outcome.exception), short.stderr


def test_every_command_says_that_an_option_is_wrong() -> None:
    """On stderr, with where to look, and exit code 2."""
    for named in commands():
        outcome = called(*named.words, "--no-such-option")
        assert outcome.exit_code == 2, named.name
        assert outcome.stdout == ""
        assert "--no-such-option" in outcome.stderr
        assert f"signalbox {named.name} --help" in outcome.stderr


def test_every_example_can_be_typed() -> None:
    """Each is of its command or one below it, with arguments and options that it takes."""
    for named in commands():
        assert examples(named.command), named.name
        for line in examples(named.command):
            words = shlex.split(line)
            words = words[: next((i for i, word in enumerate(words) if word in {">", "<"}), None)]
            assert words[: 1 + len(named.words)] == ["signalbox", *named.words]
            command, rest = take_words(words[1:])
            above = click.Context(cli, info_name="signalbox", **cli.context_settings)
            command.make_context(command.name, rest, parent=above)  # raises what it would say


def called(*args: str) -> Result:
    """Carry out a command in this process."""
    return CliRunner().invoke(cli, args, prog_name="signalbox")


def take_words(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that a line names, and what comes behind its name."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_what_prints_data_prints_it_as_json_too() -> None:
    leaves = [each for each in commands() if not isinstance(each.command, click.Group)]
    without = {n.name for n in leaves if not any("--json" in p.opts for p in n.command.params)}
    assert without == WITHOUT_JSON.keys()


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (ConfigurationError("Set it."), 2, "signalbox: Set it."),
        (RunFailedError("It failed."), 1, "signalbox: It failed."),
        (ServerAwayError("Nobody there."), 5, "signalbox: Nobody there."),
        (TooLateError("It has expired."), 4, "signalbox: It has expired."),
        (StoreUnavailableError("Away."), 1, "signalbox: Away."),
        (KeyboardInterrupt(), 130, ""),
        (OSError(errno.ENOSPC, "No space left on device", "a.json"), 1, "device: a.json. Free"),
        (click.UsageError("Give one."), 2, "Error: Give one."),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_fault_is_a_line_and_a_code(
    fault: BaseException, code: int, says: str, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    @click.command()
    def failing() -> None:
        raise fault

    monkeypatch.setattr("sys.argv", ["signalbox"])
    assert carry_out(failing) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err
    assert bool(says) == bool(err.strip())
    assert code in MEANINGS


def test_a_fault_of_the_product_is_not_hidden(monkeypatch: Any) -> None:
    """What nobody has foreseen is shown whole."""

    @click.command()
    def failing() -> None:
        raise KeyError("x")

    monkeypatch.setattr("sys.argv", ["signalbox"])
    with pytest.raises(KeyError):
        carry_out(failing)


def test_how_a_run_stands_is_the_exit_code() -> None:
    statuses = ["completed", "failed", "requires_action", "running", "cancelled", "incomplete"]
    assert [code_of({"status": status}) for status in statuses] == [0, 1, 3, 3, 4, 6]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    outcome = called("completion", shell)
    assert outcome.exit_code == 0
    assert f"_SIGNALBOX_COMPLETE={shell}_complete" in outcome.stdout
    complete = get_completion_class(shell)
    assert complete is not None
    found = complete(cli, {}, "signalbox", "_SIGNALBOX_COMPLETE").get_completions(["runs"], "w")
    assert [each.value for each in found] == ["watch"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("chart.png", "chart.png"),
        ("out/chart.png", "out/chart.png"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        (".bashrc", "bashrc"),
        ("a/.ssh/b", "a/ssh/b"),
        ("...", "file"),
        ("", "file"),
        ("a\x1b[31m\u202eb.txt", "a_[31m_b.txt"),
        ("C:x.txt", "C_x.txt"),
        (f"{'a' * 300}.csv", f"{'a' * 56}.csv"),
    ],
)
def test_a_name_stays_below_its_folder(name: str, safe: str) -> None:
    assert str(safe_name(name)) == safe


def test_decisions_that_contradict_are_refused() -> None:
    for args, says in (
        (["approve", "apr_1", "--yes", "--respond", "x"], "different decisions"),
        (["approve", "--yes"], "Say what is decided"),
        (["approve", "apr_1", "--message", "x"], "goes with a decision"),
        (["approve", "apr_1", "--yes", "--message", "x"], "goes with --no"),
        (["approve", "apr_1", "--edit", "[1]"], "write a JSON object"),
        (["run", "x", "--budget", "0"], "write US dollars above 0"),
        (["run", "x", "--budget", "lots"], "write US dollars above 0"),
    ):
        outcome = called(*args)
        assert outcome.exit_code == 2, args
        assert says in outcome.stderr, outcome.stderr
