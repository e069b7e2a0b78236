"""Lines are written at once where that holds nobody up, and never fail who speaks."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

import orjson
import pytest

from monitoring import logs
from monitoring.lines import make_formatter
from monitoring.logs import LineHandler
from monitoring.masking import make_mask

SECRET = "canary-of-the-writing"


class Pipe:
    """A pipe of which the test is the reader."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream: TextIO = open(writing, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - a descriptor
        self.handler = LineHandler(self.stream, terminal=False)
        self.handler.setFormatter(make_formatter(make_mask([SECRET]), terminal=False))

    def say(self, text: object, *args: object) -> None:
        record = logging.makeLogRecord(
            {"name": "signalbox.x", "msg": text, "args": args, "levelname": "INFO"}
        )
        self.handler.handle(record)

    def read(self) -> list[dict[str, Any]]:
        """Close the writing end and return all lines."""
        with open(self.reading, "rb") as reading, ThreadPoolExecutor() as pool:  # noqa: PTH123 - a descriptor
            found = pool.submit(reading.read)
            self.handler.close()
            self.handler._writer.join()
            self.stream.close()
        self.reading = -1
        return [orjson.loads(line) for line in found.result().splitlines()]

    def close(self) -> None:
        if self.reading >= 0:
            os.close(self.reading)
            self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_a_line_is_there_when_the_call_returns(pipe: Pipe) -> None:
    """A process that is killed has said it."""
    pipe.say("First.")
    assert orjson.loads(os.read(pipe.reading, 65_536))["event"] == "First."


def test_a_reader_that_stands_still_holds_nobody_up(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it may have waiting is bounded; how much it has missed is said when it reads again."""
    monkeypatch.setattr(logs, "MAX_WAITING", 50)
    for number in range(1000):
        pipe.say(
            "%d %s", number, "x" * 1000
        )  # many times what a pipe holds: it returns all the same
    found = pipe.read()
    numbers = [int(line["event"].split()[0]) for line in found if "action" not in line]
    assert numbers[0] == 0
    assert numbers == sorted(set(numbers)), "in order, each once; some may be lost before others"
    lost = [line for line in found if line.get("action") == "lines_lost"]
    assert sum(int(line["event"].split()[0]) for line in lost) == 1000 - len(numbers) > 0


def test_a_reader_that_is_gone_fails_nobody(pipe: Pipe) -> None:
    os.close(pipe.reading)
    pipe.reading = -1
    pipe.say("Nobody hears this.")
    pipe.stream.close()
    pipe.say("Nor this.")


class Odd:
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize(("text", "args"), [("%d", ("word",)), ("%s", (Odd(),)), (Odd(), ())])
def test_a_line_that_cannot_be_made_is_told_without_what_it_was_to_say(
    pipe: Pipe, text: object, args: tuple[object, ...]
) -> None:
    pipe.say(text, *args)
    (line,) = pipe.read()
    assert (line["action"], line["level"]) == ("line_not_written", "error")
    assert "signalbox.x" in line["event"]
    assert SECRET not in str(line)


def test_a_stream_without_a_descriptor_is_written_to_as_well() -> None:
    stream = io.StringIO()
    handler = LineHandler(stream, terminal=False)
    handler.setFormatter(make_formatter(make_mask(), terminal=False))
    handler.handle(logging.makeLogRecord({"name": "signalbox.x", "msg": "Here.", "args": ()}))
    handler.flush()
    handler.close()
    assert orjson.loads(stream.getvalue())["event"] == "Here."


def test_commands_for_people_say_sentences_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    before = {name: logging.getLogger(name).level for name in ("", *logs.FOR_TERMINALS)}
    try:
        logs.keep_to_warnings([SECRET])
        logging.getLogger("signalbox.x").warning("Careful with %s.", SECRET)
        logging.getLogger("signalbox.x").info("Nobody needs this.")
        logging.getLogger("signalbox.journal").warning("An agent failed.")
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert capsys.readouterr().err == "Careful with ***.\n"
