"""The client before a server that means it no good: whatever comes, it is one of the client's own errors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import orjson
import pytest

from signalbox import (
    AsyncSignalbox,
    ConfigurationError,
    NotFoundError,
    RateLimitedError,
    Signalbox,
    SignalboxError,
    StreamBrokenError,
    UnexpectedAnswerError,
)
from signalbox.models import Problem
from tests.fakes.http_target import CountingTarget
from tests.integration.client_faces import facing
from tests.integration.test_client_streams import frame, saying, stream

faces = pytest.mark.parametrize("kind", ["sync", "async"])

DEEP = b"[" * 100_000
FULL = {
    "type": "about:blank",
    "title": "Too many",
    "status": 429,
    "detail": "Wait.",
    "code": "rate-limited",
    "retryable": True,
}


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@faces
@pytest.mark.parametrize("body", [DEEP, b"[]", b"1", b'"run"', b"null", b'{"run": []}', b"\xff"])
async def test_a_refusal_that_is_no_problem(kind: str, body: bytes) -> None:
    async with saying(answer(400, body)) as url, facing(kind, url) as face:
        with pytest.raises(UnexpectedAnswerError, match="HTTP 400"):
            await face.do(lambda c: c.info())


@faces
@pytest.mark.parametrize("when", ["\xb2", "9" * 400, "Fri, 31 Dec 99999 23:59:59 GMT", "-1", "x"])
async def test_a_time_to_come_back_that_is_none(kind: str, when: str) -> None:
    said = answer(429, orjson.dumps(FULL), f"retry-after: {when}")
    async with saying(said) as url, facing(kind, url) as face:
        with pytest.raises(RateLimitedError, match="Wait"):
            await face.do(lambda c: c.info())


@faces
@pytest.mark.parametrize(
    "data", [DEEP, b"[]", b"1", b'"x"', b'{"data": 1}', b'{"seq": []}', b'{"type": {}}']
)
async def test_an_event_that_is_none(kind: str, data: bytes) -> None:
    said = stream(b"id: 1\nevent: run.started\ndata: " + data + b"\n\n")
    async with saying(said) as url, facing(kind, url) as face:
        with pytest.raises(UnexpectedAnswerError, match=r"run\.started"):
            await face.all(lambda c: c.runs.events("run_1"))


@faces
async def test_members_of_another_kind_are_passed_over(kind: str) -> None:
    """A message without a name of its own, a question without one, a number that is none."""
    end = frame(3, "run.completed", run={"result": []})
    odd = [
        frame(None, "message.delta", message_id=[1], offset="x", text=4),
        frame(None, "message.snapshot", message_id={}, text=[]),
        frame(1, "approval.requested", approval="apr_1"),
        frame(2, "approval.requested", approval={"id": 7}),
        'id: ²\nevent: odd\ndata: {"data": {}}\n\n'.encode(),
    ]
    async with saying(stream(*odd, end)) as url, facing(kind, url) as face:
        events = await face.all(lambda c: c.runs.events("run_1"))
    assert [each.seq for each in events] == [None, None, 1, 2, None, 3]
    gone = answer(404, b"")
    async with saying(stream(*odd, end), gone) as url, facing(kind, url) as face:
        with pytest.raises(UnexpectedAnswerError, match="HTTP 404"):
            await face.do(lambda c: c.follow("run_1", on_approval=lambda _: None))


@faces
async def test_a_list_that_goes_in_circles_is_no_list(kind: str) -> None:
    page = answer(200, b'{"data": [], "has_more": true, "next_cursor": "again"}')
    async with saying(page, page, page) as url, facing(kind, url) as face:
        with pytest.raises(UnexpectedAnswerError, match="names itself"):
            await face.all(lambda c: c.runs.list())


@faces
async def test_what_cannot_be_sent_is_said_before(kind: str) -> None:
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    async with facing(kind, "http://127.0.0.1:9") as face:
        for ask in (
            lambda c: c.runs.get("run_\udcff"),
            lambda c: c.runs.create("Do it \udcff"),
            lambda c: c.runs.create("Do it", output_schema={"x": nested}),
        ):
            with pytest.raises(ConfigurationError):
                await face.do(ask)
        with pytest.raises(ConfigurationError):
            await face.all(lambda c: c.runs.list(tag="\udcff"))


@faces
async def test_a_key_does_not_follow_to_another_place(kind: str) -> None:
    async with CountingTarget() as other:
        away = answer(307, b"", f"location: {other.url('/v1/info')}")
        async with saying(away) as url, facing(kind, url, api_key="sk-secret") as face:
            with pytest.raises(UnexpectedAnswerError, match="HTTP 307"):
                await face.do(lambda c: c.info())
        assert other.requests == []


@faces
@pytest.mark.parametrize(
    "name", [".envrc", "a/.bashrc", "a\0b", "x\x1b[2J.csv", "\u202excod.exe", " "]
)
async def test_a_name_that_an_agent_chose_decides_no_more_than_a_name(
    kind: str, name: str, tmp_path: Path
) -> None:
    """A hidden file, or one that hides what it is called, is written where its name is said."""
    (tmp_path / ".envrc").write_text("mine")
    async with saying(answer(200, b"x")) as url, facing(kind, url) as face:
        with pytest.raises(ConfigurationError, match="say which file"):
            await face.do(lambda c: c.artifacts.download("run_1", name, tmp_path))
        assert [each.name for each in tmp_path.iterdir()] == [".envrc"]
        path = await face.do(lambda c: c.artifacts.download("run_1", name, tmp_path / ".envrc"))
    assert path.read_text() == "x"


@faces
async def test_a_file_that_cannot_be_written_leaves_nothing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "taken.csv").mkdir()
    (tmp_path / "taken.csv" / "full").touch()
    async with saying(answer(200, b"x"), answer(200, b"x")) as url, facing(kind, url) as face:
        with pytest.raises(ConfigurationError, match=r"taken\.csv.*cannot be written"):
            await face.do(lambda c: c.artifacts.download("run_1", "taken.csv", tmp_path))
        with pytest.raises(ConfigurationError, match="cannot be written"):
            await face.do(lambda c: c.artifacts.download("run_1", "a.csv", tmp_path / "b\0c"))
    assert [each.name for each in tmp_path.iterdir()] == ["taken.csv"]


def test_an_error_goes_to_another_process_whole() -> None:
    """A pool of processes that cannot read one is broken."""
    problem = Problem.model_validate({**FULL, "status": 404, "code": "not-found"})
    errors: list[SignalboxError] = [
        NotFoundError(problem, retry_after=3.0),
        StreamBrokenError("It broke.", last_seq=7),
    ]
    for error in errors:
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_client_with_a_key_goes_nowhere() -> None:
    with Signalbox("http://127.0.0.1:9", "sk-secret") as client, pytest.raises(TypeError):
        pickle.dumps(client)
    for take in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="of one process"):
            take(AsyncSignalbox("http://127.0.0.1:9", "sk-secret"))
