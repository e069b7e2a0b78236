"""A record becomes one line: JSON, with its ids, without secrets, of bounded length, whatever is in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars

from monitoring.lines import MAX_ITEMS, MAX_MESSAGE, MAX_TEXT, MAX_TRACE, make_formatter
from monitoring.logs import about, speak_of
from monitoring.masking import make_mask

SECRET = "canary-of-the-lines"
RUN, OTHER = "run_01a227ded6db70b99c9e852c97817069", "run_01a227ded6db70b99c9e852c97817070"
FORMATTER = make_formatter(make_mask([SECRET]), terminal=False)


def record(
    msg: object = "It is so.", *args: object, name: str = "signalbox.x", **extra: Any
) -> Any:
    exc_info = extra.pop("exc_info", None)
    return logging.getLogger(name).makeRecord(
        name, logging.INFO, "f.py", 1, msg, args, exc_info, extra=extra
    )


def line(*args: object, **extra: Any) -> dict[str, Any]:
    text = FORMATTER.format(record(*args, **extra))
    assert len(text.splitlines()) == 1
    found: dict[str, Any] = orjson.loads(text)
    return found


def raised(error: BaseException) -> Any:
    password = SECRET  # noqa: F841 - no line shows the values of variables
    try:
        raise error  # noqa: TRY301 - where it comes from is shown
    except BaseException:  # noqa: BLE001 - that is what the test is about
        return sys.exc_info()


@pytest.fixture(autouse=True)
def _nothing_is_bound() -> Iterator[None]:
    with about():
        yield


def test_a_line_begins_with_when_what_and_who() -> None:
    found = line("It is %s.", "so", action="said", number=3, ok=True, cost=None)
    assert list(found) == ["ts", "level", "event", "action", "logger", "number", "ok"]
    assert found["ts"].endswith("Z")
    assert len(found["ts"]) == len("2026-11-29T15:14:04.656Z")
    assert (found["level"], found["event"], found["logger"]) == ("info", "It is so.", "signalbox.x")


def test_ids_that_are_bound_are_in_every_line_also_of_libraries() -> None:
    with about(run_id=RUN, thread_id="thr_1", attempt=2), bound_contextvars(agent="coder"):
        found = line("Slow.", name="httpx")
    assert found["run_id"] == RUN
    assert (found["thread_id"], found["attempt"], found["agent"]) == ("thr_1", 2, "coder")
    assert found["trace_id"] == RUN.removeprefix("run_")
    assert "run_id" not in line()


def test_what_is_bound_takes_the_place_of_all_that_was() -> None:
    """A run that a request has begun is not about that request."""
    with about(request_id="req_1"):
        speak_of(run_id=RUN)
        assert "request_id" not in line()


def test_a_line_about_another_run_has_none_of_the_ids_of_the_one_that_is_worked_on() -> None:
    with about(request_id="req_1", run_id=RUN, thread_id="thr_1", attempt=2):
        found = line(run_id=OTHER)
    assert found["request_id"] == "req_1"
    assert found["trace_id"] == OTHER.removeprefix("run_")
    assert not {"thread_id", "attempt"} & found.keys()


def test_what_a_line_has_told_of_a_runs_trace_holds_for_those_that_know_less() -> None:
    """As where a person decides, or a follower ends: its event says which run, and no more."""
    formatter, trace = (
        make_formatter(make_mask(), terminal=False),
        "0af7651916cd43dd8448eb211c80319c",
    )
    assert orjson.loads(formatter.format(record(run_id=RUN)))["trace_id"] == RUN[4:]
    formatter.format(record(run_id=RUN, trace_id=trace))
    with about(run_id=OTHER, trace_id=OTHER[4:]):
        assert orjson.loads(formatter.format(record(run_id=RUN)))["trace_id"] == trace
        assert orjson.loads(formatter.format(record()))["trace_id"] == OTHER[4:]
    with about(run_id=OTHER, trace_id=trace):
        formatter.format(record())
    assert orjson.loads(formatter.format(record(run_id=OTHER)))["trace_id"] == trace


def test_what_is_no_runs_id_has_no_trace() -> None:
    """A path may have anything where the id of a run is to be."""
    assert "trace_id" not in line(run_id="run_of_nobody")


def test_libraries_have_no_fields_of_their_own() -> None:
    """They may put anything into them: a task's arguments, a client with its key."""
    assert "args_of_task" not in line("Took it.", name="procrastinate.worker", args_of_task=SECRET)


@given(st.text(), st.dictionaries(st.sampled_from(["path", "tool"]), st.text()))
def test_nothing_that_users_choose_breaks_a_line(text: str, fields: dict[str, str]) -> None:
    found = line("%s", text, **fields)
    assert found.keys() >= {"ts", "level", "event", *fields}


def test_an_injected_line_is_a_part_of_its_field() -> None:
    forged = 'x\n{"level":"critical","event":"forged"}\r\u2028\x1b[2J'
    found = line("%s", forged, path=forged)
    assert found["level"] == "info"
    assert found["path"] == found["event"] == one_of(forged)


def one_of(text: str) -> str:
    return text.encode("unicode_escape").decode()


def test_no_line_grows_without_bound() -> None:
    found = line("x" * 10**6, path="y" * 10**6, agents=["z" * 10**5] * 1000, number=10**40)
    assert len(found["event"]) == len(found["path"]) == MAX_TEXT + 1
    assert len(found["agents"]) == MAX_ITEMS
    assert found["number"] == str(10**40)


def test_a_secret_is_masked_in_every_field_and_in_what_a_cut_leaves() -> None:
    found = line(
        f"With {SECRET}",
        detail=SECRET,
        agents=[SECRET],
        path="x" * (MAX_TEXT - 5) + SECRET,
        exc_info=raised(ValueError(f"bad key {SECRET}")),
    )
    assert SECRET[:6] not in str(found)


def test_an_exception_is_text_with_its_places_and_without_values() -> None:
    found = line("It broke.", exc_info=raised(KeyError("colour")))
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert "test_lines.py" in found["exception"]
    assert found["exception"].endswith("KeyError: 'colour'")
    assert SECRET not in found["exception"]


def test_what_an_exception_says_is_cut_and_a_long_trace_keeps_its_end() -> None:
    """A library may put a whole prompt into what it says."""
    found = line("It broke.", exc_info=raised(ValueError("a prompt " * 1000)))
    assert len(found["exception"]) < MAX_MESSAGE + 500
    several = ExceptionGroup("several", [ValueError(f"{n} {'x' * 400}") for n in range(200)])
    assert len(line("They broke.", exc_info=raised(several))["exception"]) <= MAX_TRACE + 1


class Odd:
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


def test_people_read_what_happened_and_not_what_only_programs_need() -> None:
    plain = make_formatter(make_mask([SECRET]), terminal=True)
    text = plain.format(record("It is so.", action="said", run_id=RUN, path="a\nb\x1b[2J"))
    assert text.endswith(f"It is so. action=said run_id={RUN} path=a\\nb\\x1b[2J")
    assert "\x1b" not in text
    assert "\x1b" in make_formatter(make_mask(), terminal=True, colour=True).format(record())
    broken = plain.format(record("It broke.", exc_info=raised(ValueError(SECRET))))
    assert "Traceback" in broken
    assert SECRET not in broken
