"""A file that is no whole recording of this form is refused in one line that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.errors import ConfigurationError
from domain.recording import Header, Line
from service.comparing import differences
from service.recordings import Target, end_line, read_recording, replay_settings


def header(**more: Any) -> Header:
    """Return the first line of a recording."""
    values: dict[str, Any] = {
        "product": "0.1.0",
        "graph_version": "1-0",
        "engine": "offline",
        "recorded_at": "2026-11-29T12:00:00Z",
        "body": {"task": "x"},
        "settings": {},
        "tiers": None,
        "windows": {},
        "rates": {},
        "team": {},
        "tools": {},
        "sandbox": {"backend": "off", "detail": ""},
        **more,
    }
    return Header(**values)


def written(folder: Path, *lines: Line, end: bool = True) -> Path:
    """Return a file with these lines, and an end that fits them."""
    target = Target(folder / "r.jsonl")
    target.write([*lines, *([end_line(lines, None)] if end else [])])
    target.close()
    return target.path


def refusal(path: Path) -> str:
    """Return why a file is refused."""
    with pytest.raises(ConfigurationError) as caught:
        read_recording(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}")
    return text


def test_a_recording_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_recording(written(tmp_path, header())).header == header()
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for text, why in (
        ("", "does not begin like a recording"),
        ("{", "line 1 is none of a recording (JSON: "),
        ('{"kind": "what"}\n', "line 1 is none of a recording"),
        ('{"kind": "call", "at": 3}\n', "line 1 is none of a recording (call.at: "),
        (
            '{"kind": "event", "event": {"type": "run.created"}}\n',
            "line 1 is none of a recording (event.event.seq",
        ),
        ("\x00\xff", "line 1 is none of a recording"),
        ('{"kind": "end", "run": null, "lines": 0, "sha256": ""}\n', "does not begin like a"),
    ):
        path.write_text(text)
        assert why in refusal(path), text


def test_a_recording_of_somebody_else_can_ask_for_nothing_but_its_run(tmp_path: Path) -> None:
    """No webhook is sent for it, and no file of this machine is read as a setting."""
    path = written(tmp_path, header())
    body = '{"task":"x","webhook":{"url":"https://example.com/"},'
    path.write_text(path.read_text().replace('{"task":"x",', body))
    assert "recording.body.webhook" in refusal(path)
    for name in ("gates", "budgets", "http_allow"):
        with pytest.raises(ConfigurationError, match="as JSON, not as text"):
            replay_settings(header(settings={name: "/etc/hosts"}), tmp_path)


def test_a_recording_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    assert "its last line is missing" in refusal(written(tmp_path, header(), end=False))


def test_two_recordings_in_one_file_are_refused(tmp_path: Path) -> None:
    assert "in its midst" in refusal(written(tmp_path, header(), header()))


def test_another_form_is_refused_with_what_made_it(tmp_path: Path) -> None:
    text = refusal(written(tmp_path, header(schema_version=7, product="9.9")))
    assert "it has the form 7, and this version of Signalbox reads 1; it was made by 9.9" in text


def test_a_recording_that_is_not_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("before")
    Target(path).close()
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["r.jsonl"]


def event(type_: str, **data: Any) -> dict[str, Any]:
    """Return an event of an agent."""
    place = {"agent": "coder", "path": "coder", "round": 1}
    return {"seq": 1, "type": type_, "run_id": "run_0123456789ab", "ts": "t", **place, "data": data}


def test_events_are_compared_by_what_they_say_and_where_they_belong() -> None:
    one = event("tool.completed", call_id="call_1.coder.0.0", summary="a", duration_ms=3)
    two = event("tool.completed", call_id="call_1.coder.0.1", summary="b", duration_ms=4)
    assert not differences([one, two], [two, one]), "of several at once any may come first"
    later = event("tool.completed", call_id="call_1.coder.0.0", summary="a", duration_ms=9)
    assert not differences([one], [{**later, "seq": 7, "ts": "u"}])
    other = event("tool.completed", call_id="call_1.coder.0.0", summary="c", duration_ms=3)
    assert differences([one], [other]) == [
        '! round 1, coder, call_1.coder.0.0: tool.completed.summary: "a" was recorded, now it is "c"'
    ]
    place = "round 1, coder, call_1.coder.0.1"
    assert differences([one, two], [one]) == [
        f"- {place}: tool.completed was recorded, and did not happen"
    ]
    assert differences([one], [one, two]) == [f"+ {place}: tool.completed was not recorded"]
    failed = event("tool.failed", call_id="call_1.coder.0.0", detail="no")
    assert differences([one], [failed]) == [
        "! round 1, coder, call_1.coder.0.0: tool.completed was recorded, tool.failed happened"
    ]


def test_what_a_newer_version_has_made_is_said_whatever_it_has_in_it(tmp_path: Path) -> None:
    path = written(tmp_path, header(schema_version=2, product="9.9"))
    path.write_text(path.read_text().replace('"product"', '"new":[1],"product"', 1))
    assert (
        "it has the form 2, and this version of Signalbox reads 1; it was made by 9.9"
        in refusal(path)
    )
    path.write_text("[" * 100_000)
    assert "line 1 is none of a recording" in refusal(path)
