"""Bad input of every kind is refused with a whole problem, and nothing is created by it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
import pytest_asyncio

from domain.problems import Code
from tests.fakes.running import Product, running
from tests.integration.problem_checks import assert_problem, pointers

# One product serves the whole table: nothing in it may leave a trace, and that is checked each time.
pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON: Final = {"content-type": "application/json"}
MEGABYTE: Final = 1_048_576
UNKNOWN: Final = "run_" + "0" * 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    """Run one product for all tests of this file."""
    folder: Path = tmp_path_factory.mktemp("standing")
    async with running(folder / "data", knowledge_dir=folder) as product:
        yield product


@pytest_asyncio.fixture(loop_scope="module")
async def empty(standing: Product) -> AsyncIterator[Product]:
    """Return the product, and check afterwards that nothing was created."""
    before = (await standing.client.get("/v1/runs")).json()["data"]
    yield standing
    page = (await standing.client.get("/v1/runs")).json()
    # Empty, unless an earlier test failed: one fault must not fail all that follow.
    assert [run["id"] for run in page["data"]] == [run["id"] for run in before]
    assert not list((standing.services.settings.data_dir / "workspaces").glob("*/*"))


class Bad(NamedTuple):
    """A body that is refused, and how."""

    name: str
    body: bytes
    code: Code = "validation-error"
    pointer: str = ""


def field(name: str, value: Any, pointer: str = "", *, label: str = "") -> Bad:
    """Return a body in which one field is wrong."""
    text = label or json.dumps(value)[:30]
    body = json.dumps({"task": "a task", name: value}).encode()
    return Bad(f"{name}={text}", body, pointer=pointer or f"/{name}")


def malformed(name: str, body: bytes) -> Bad:
    """Return a body that is no JSON object."""
    return Bad(name, body, "malformed-json")


MALFORMED: Final = [
    malformed("words", b"hello"),
    malformed("cut off", b'{"task": "a'),
    malformed("only space", b"  \n"),
    malformed("two documents", b'{"task": "a"}{"task": "b"}'),
    malformed("single quotes", b"{'task': 'a'}"),
    malformed("a comma too many", b'{"task": "a",}'),
    malformed("a control character in a string", b'{"task": "a\x01"}'),
    malformed("not UTF-8", b'{"task": "\xff\xfe"}'),
    malformed("latin-1", '{"task": "café"}'.encode("latin-1")),
    malformed("UTF-16", '{"task": "a"}'.encode("utf-16")),
    malformed("UTF-32", '{"task": "a"}'.encode("utf-32-be")),
    malformed("a byte order mark", b'\xef\xbb\xbf{"task": "a"}'),
    malformed("a surrogate in UTF-8", b'{"task": "\xed\xa0\x80"}'),
    malformed("NaN", b'{"task": "a", "metadata": {"n": NaN}}'),
    malformed("Infinity", b'{"task": "a", "metadata": {"n": Infinity}}'),
    malformed("-Infinity", b'{"task": "a", "metadata": {"n": -Infinity}}'),
    malformed("a key twice", b'{"task": "a", "task": "b"}'),
    malformed("a nested key twice", b'{"task": "a", "metadata": {"n": 1, "n": 2}}'),
    malformed("100 000 open brackets", b"[" * 100_000),
    malformed("100 000 brackets", b'{"task": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    malformed("100 000 nested objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    malformed("5 000 digits", b'{"task": "a", "metadata": {"n": ' + b"9" * 5_000 + b"}}"),
]

NOT_AN_OBJECT: Final = [
    Bad("nothing", b""),
    Bad("an array", b"[]"),
    Bad("an array of runs", b'[{"task": "a"}]'),
    Bad("a string", b'"a task"'),
    Bad("a number", b"1"),
    Bad("null", b"null"),
    Bad("true", b"true"),
    Bad("an empty object", b"{}", pointer="/task"),
]

TASK: Final = [
    field("task", None),
    field("task", 1),
    field("task", 1.5),
    field("task", True),
    field("task", ["a"]),
    field("task", {"a": 1}),
    field("task", ""),
    field("task", "  \t\n"),
    field("task", "\u3000\u00a0", label="foreign spaces"),
    field("task", "a" * 32_001, label="32 001 characters"),
    field("task", "a\x00b", label="NUL"),
    Bad("task=a high surrogate", b'{"task": "a\\ud800"}', pointer="/task"),
    Bad("task=a low surrogate", b'{"task": "\\udc00"}', pointer="/task"),
]

UNKNOWN_FIELDS: Final = [
    field("taks", "a slip of the pen"),
    field("Task", "another"),
    field("status", "completed"),
    field("id", UNKNOWN),
    field("a/b~c", 1, "/a~1b~0c"),
    field("a" * 5_000, 1, "/aaaa", label="a long name"),
    Bad("a surrogate as a name", b'{"task": "a", "\\ud800": 1}'),
    field("budget", {"max_round": 1}, "/budget/max_round"),
    field("budget", {"per_agent": {"coder": {"x": 1}}}, "/budget/per_agent/coder/x"),
    field("approvals", {"x": 1}, "/approvals/x"),
    field("webhook", {"url": "https://example.com", "x": 1}, "/webhook/x"),
    field("cache", {"max_age": 1, "x": 1}, "/cache/x"),
    field("files", [{"name": "a", "content_base64": "", "x": 1}], "/files/0/x"),
]

BAD_ROUNDS: Final[tuple[object, ...]] = (0, -1, True, "3", 51, 11, 1.5, [], 10**30)

ROUNDS: Final = [
    field("budget", {"max_rounds": value}, "/budget/max_rounds") for value in BAD_ROUNDS
]

METADATA: Final = [
    field("metadata", "x"),
    field("metadata", []),
    field("metadata", None),
    field("metadata", {"n": 2**53 + 1}, "/metadata/n"),
    field("metadata", {"n": -(2**53) - 1}, "/metadata/n"),
    field("metadata", {"n": 10**400}, "/metadata/n", label="400 digits"),
    Bad("metadata=1e999", b'{"task": "a", "metadata": {"n": 1e999}}', pointer="/metadata/n"),
    field("metadata", {"n": {"a": 1}}, "/metadata/n"),
    field("metadata", {"n": [1]}, "/metadata/n"),
    field("metadata", {"n": "a" * 513}, "/metadata/n", label="513 characters"),
    field("metadata", {"n": "\x00"}, "/metadata/n"),
    field("metadata", {"": 1}, "/metadata/"),
    field("metadata", {"a" * 65: 1}, "/metadata/" + "a" * 65, label="a long key"),
    field("metadata", {"a\x00": 1}, "/metadata/a\x00"),
    field("metadata", {str(n): n for n in range(51)}, label="51 entries"),
    Bad(
        "metadata=a surrogate",
        b'{"task": "a", "metadata": {"n": "\\ud800"}}',
        pointer="/metadata/n",
    ),
    Bad(
        "metadata=a surrogate as a key",
        b'{"task": "a", "metadata": {"\\udfff": 1}}',
        pointer="/metadata",
    ),
]

OTHER_FIELDS: Final = [
    field("thread_id", 1),
    field("thread_id", ""),
    field("thread_id", "a" * 65),
    field("thread_id", "a\x00"),
    field("thread_id", ["a"]),
    field("agents", "coder"),
    field("agents", []),
    field("agents", [1], "/agents/0"),
    field("agents", ["coder", ""], "/agents/1"),
    field("agents", {"coder": True}),
    field("agents", ["nobody"], "/agents/0"),
    field("agents", ["coder", "supervisor"], "/agents/1"),
    field("agents", ["Coder"], "/agents/0"),
    field("agents", ["coder"] * 51, label="51 names"),
    field("tags", "a"),
    field("tags", None),
    field("tags", [1], "/tags/0"),
    field("tags", [""], "/tags/0"),
    field("tags", ["a" * 65], "/tags/0"),
    field("tags", ["a\x00"], "/tags/0"),
    field("tags", [str(n) for n in range(21)], label="21 tags"),
    field("multitask_strategy", "maybe"),
    field("multitask_strategy", 1),
    field("multitask_strategy", None),
    field("cache", "yes"),
    field("cache", 1),
    field("cache", {}, "/cache/max_age"),
    field("cache", {"max_age": -1}, "/cache/max_age"),
    field("cache", {"max_age": "1"}, "/cache/max_age"),
    field("budget", 3),
    field("budget", []),
]

MEBIBYTES_5: Final = base64.b64encode(b"a" * 5 * MEGABYTE).decode()


def files(*given: tuple[object, object], pointer: str, label: str) -> Bad:
    """Return a body with files, of which one is wrong."""
    listed = [{"name": name, "content_base64": content} for name, content in given]
    return field("files", listed, pointer, label=label)


def misnamed(name: object) -> Bad:
    """Return a body in which the second of two files has a name that is refused."""
    label = f"the name {str(name)[:20]!r}"
    return files(("good.csv", "YQ=="), (name, "YQ=="), pointer="/files/1/name", label=label)


BAD_NAMES: Final = [
    *("", ".", "./", "/etc/passwd", "../a", "a/../b", "a/..", "~/a", "~", "a\\b", "C:\\a"),
    *("a\x00", "a\nb", "a\u2028b", "a" * 1_001, "a" * 256, "\u00e4" * 128, "a/" * 16 + "a"),
    *(".env", "a/.git/config", ".a/b", "./.env", 1, None, ["a"]),
]

BAD_BASE64: Final = [
    "YQ",
    "YQ=",
    "=",
    "YQ==\n",
    "Y Q==",
    " YQ==",
    "YQ==YQ==",
    "-_-_",
    "é",
    "Y*Q=",
    1,
]

FILES: Final = [
    field("files", "a"),
    field("files", {}),
    field("files", ["a"], "/files/0"),
    field("files", [{}], "/files/0/name"),
    field("files", [{"name": "a"}], "/files/0/content_base64"),
    *(misnamed(name) for name in BAD_NAMES),
    *(
        files(("b", ""), ("a", text), pointer="/files/1/content_base64", label=f"base64 {text!r}")
        for text in BAD_BASE64
    ),
    Bad(
        "files=a surrogate",
        b'{"task": "a", "files": [{"name": "a\\ud800", "content_base64": ""}]}',
        pointer="/files/0/name",
    ),
    files(("a", ""), ("b", ""), ("a", ""), pointer="/files/2/name", label="one name twice"),
    files(("a/b", ""), ("./a//b", ""), pointer="/files/1/name", label="one name in two spellings"),
    files(("a", ""), ("a/b", ""), pointer="/files/0/name", label="a file that is a folder"),
    files(("a/b/c", ""), ("a/b", ""), pointer="/files/1/name", label="a folder that is a file"),
    files(*((str(n), "") for n in range(21)), pointer="/files", label="21 files"),
    files(
        ("b", ""),
        ("a", base64.b64encode(b"a" * (5 * MEGABYTE + 1)).decode()),
        pointer="/files/1/content_base64",
        label="5 MiB and a byte",
    ),
    files(
        ("a", MEBIBYTES_5),
        ("b", MEBIBYTES_5),
        ("c", "YQ=="),
        pointer="/files",
        label="10 MiB and a byte together",
    ),
]

WITHOUT_A_MODEL: Final = [
    field("output_schema", {"type": "object"}),
    field("output_schema", {}),
]

WRONG: Final = [
    field("output_schema", "x"),
    field("output_schema", []),
    field("approvals", {"mode": "sometimes"}, "/approvals/mode"),
    field("approvals", "always"),
    field("webhook", {}, "/webhook/url"),
    field("webhook", {"url": "ftp://example.com"}, "/webhook/url"),
    field("webhook", {"url": "here"}, "/webhook/url"),
    field("webhook", {"url": "https://example.com", "events": "all"}, "/webhook/events"),
    field("webhook", {"url": "https://example.com", "events": []}, "/webhook/events"),
    field("webhook", {"url": "https://example.com", "events": ["all"]}, "/webhook/events/0"),
    field("webhook", {"url": "https://10.0.0.1"}, "/webhook/url"),
    field("budget", {"max_cost_usd": 0}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": True}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": "1e400"}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": "0.0000000000001"}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": 1e-13}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": -1e308}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": "1000000.1"}, "/budget/max_cost_usd"),
    field("budget", {"max_tokens": 2.5}, "/budget/max_tokens"),
    field("budget", {"max_seconds": True}, "/budget/max_seconds"),
    field("budget", {"max_seconds": "3"}, "/budget/max_seconds"),
    field("budget", {"max_tier": "best"}, "/budget/max_tier"),
    field("budget", {"unknown_prices": "maybe"}, "/budget/unknown_prices"),
    field("budget", {"per_agent": {"nobody": {"max_tokens": 1}}}, "/budget/per_agent/nobody"),
    field("budget", {"max_cost_usd": "much"}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": "1_0"}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": " 1 "}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": "\uff11"}, "/budget/max_cost_usd"),
    field("budget", {"max_cost_usd": "NaN"}, "/budget/max_cost_usd"),
    field("budget", {"max_tokens": -1}, "/budget/max_tokens"),
    field("budget", {"max_seconds": 0.0}, "/budget/max_seconds"),
    field("budget", {"per_agent": []}, "/budget/per_agent"),
    field("budget", {"per_agent": {"coder": 1}}, "/budget/per_agent/coder"),
]

BODIES: Final = [
    *MALFORMED,
    *NOT_AN_OBJECT,
    *TASK,
    *UNKNOWN_FIELDS,
    *ROUNDS,
    *METADATA,
    *OTHER_FIELDS,
    *FILES,
    *WITHOUT_A_MODEL,
    *WRONG,
]


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BODIES])
async def test_a_bad_body_creates_no_run(empty: Product, bad: Bad) -> None:
    """A body that is not exactly right is refused, and the fault is pointed at."""
    response = await empty.client.post("/v1/runs", content=bad.body, headers=JSON)
    problem = assert_problem(response, bad.code)
    if bad.code == "validation-error":
        assert any(pointer.startswith(bad.pointer) for pointer in pointers(problem)), problem
    assert len(response.content) < 8_000, "the answer repeats what was sent"


@pytest.mark.parametrize("path", ["/api/workflow", "/api/workflow/stream"])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(bad, id=bad.name)
        for bad in [
            *MALFORMED[:3],
            *NOT_AN_OBJECT[:3],
            *TASK,
            field("agents", ["coder"]),
            field("wait", 1),
        ]
    ],
)
async def test_a_bad_body_is_refused_by_the_short_form(empty: Product, path: str, bad: Bad) -> None:
    """The short form takes a task and nothing else."""
    response = await empty.client.post(path, content=bad.body, headers=JSON)
    assert_problem(response, bad.code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed-json"),
        (b"[]", "validation-error"),
        (b'{"reason": 1}', "validation-error"),
        (b'{"reason": "\\ud800"}', "validation-error"),
        (b'{"reason": "a\\u0000"}', "validation-error"),
        (b'{"reason": "' + b"a" * 2_001 + b'"}', "validation-error"),
        (b'{"why": "x"}', "validation-error"),
    ],
    ids=["cut off", "array", "number", "surrogate", "NUL", "long", "unknown field"],
)
async def test_a_bad_body_cancels_nothing(empty: Product, body: bytes, code: Code) -> None:
    """The body of a cancellation is checked before the run is looked for."""
    path = f"/v1/runs/{UNKNOWN}/cancel"
    assert_problem(await empty.client.post(path, content=body, headers=JSON), code)


@pytest.mark.parametrize(
    "media_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", "a"],
)
@pytest.mark.parametrize(
    "path", ["/v1/runs", f"/v1/runs/{UNKNOWN}/cancel", "/api/workflow", "/api/workflow/stream"]
)
async def test_a_body_that_is_not_called_json_is_refused(
    empty: Product, media_type: str | None, path: str
) -> None:
    """Only a JSON media type is read, so that no web page can post a task by accident."""
    headers = {"content-type": media_type} if media_type else {}
    response = await empty.client.post(path, content=b'{"task": "a"}', headers=headers)
    assert_problem(response, "unsupported-media-type")


async def _pieces(size: int) -> AsyncIterator[bytes]:
    yield b'{"task": "'
    for _ in range(0, size, 65_536):
        yield b"a" * 65_536


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/v1/runs", 16 * MEGABYTE),
        ("/api/workflow", MEGABYTE),
        (f"/v1/runs/{UNKNOWN}/cancel", MEGABYTE),
        (f"/v1/runs/{UNKNOWN}/decisions", MEGABYTE),
    ],
)
async def test_a_body_over_its_limit_is_refused(empty: Product, path: str, limit: int) -> None:
    """Whether or not its length is announced; only what may bring files may be larger than 1 MiB."""
    announced = await empty.client.post(path, content=b" " * (limit + 1), headers=JSON)
    assert str(limit) in assert_problem(announced, "payload-too-large")["detail"]
    chunked = await empty.client.post(path, content=_pieces(limit + 1), headers=JSON)
    assert chunked.request.headers["transfer-encoding"] == "chunked"
    assert_problem(chunked, "payload-too-large")


async def test_a_chunked_body_needs_its_media_type_too(empty: Product) -> None:
    """A body without an announced length is not let in under another name."""
    response = await empty.client.post("/v1/runs", content=_pieces(1))
    assert_problem(response, "unsupported-media-type")


def _ids() -> Iterable[str]:
    yield from ("run_1", UNKNOWN, "run_", "run", "0" * 32, "thr_" + "0" * 32)
    yield from ("run_" + "G" * 32, "run_" + "0" * 31, "run_" + "0" * 5_000)
    yield from ("%00", "run_%00", "..%2F..%2Fetc%2Fpasswd", "%2F", "%2e%2e", "%ff%fe", "%0d%0aX:1")
    yield from ("%F0%9F%92%A9", "%20", "run_'%20OR%201=1", "%25", "{run_id}", "null", "-1", "*")


@pytest.mark.parametrize("run_id", list(_ids()), ids=lambda run_id: run_id[:40])
async def test_an_unknown_run_is_not_found_by_any_route(empty: Product, run_id: str) -> None:
    """Unknown and malformed ids get the same 404, however odd they are."""
    client, sse = empty.client, {"accept": "text/event-stream"}
    answers = [
        await client.get(f"/v1/runs/{run_id}"),
        await client.get(f"/v1/runs/{run_id}?wait=30"),
        await client.get(f"/v1/runs/{run_id}/events"),
        await client.get(f"/v1/runs/{run_id}/events", headers=sse),
        await client.post(f"/v1/runs/{run_id}/cancel"),
        await client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "because"}),
    ]
    for answer in answers:
        assert_problem(answer, "not-found")
        assert len(answer.content) < 8_000 + len(run_id)


ROUTES: Final[dict[str, set[str]]] = {
    "/v1/runs": {"GET", "POST"},
    f"/v1/runs/{UNKNOWN}": {"GET", "PATCH", "DELETE"},
    f"/v1/runs/{UNKNOWN}/export": {"GET"},
    f"/v1/threads/{UNKNOWN}": {"GET", "DELETE"},
    f"/v1/runs/{UNKNOWN}/events": {"GET"},
    f"/v1/runs/{UNKNOWN}/cancel": {"POST"},
    "/v1/agents": {"GET"},
    "/v1/models": {"GET"},
    "/v1/info": {"GET"},
    "/health/live": {"GET"},
    "/health/ready": {"GET"},
    "/api/workflow": {"POST"},
    "/api/workflow/stream": {"POST"},
}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (path, method)
        for path, right in ROUTES.items()
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        if method not in right
    ],
)
async def test_a_wrong_method_is_told_all_the_right_ones(
    empty: Product, path: str, method: str
) -> None:
    """`Allow` names every method of the path, whichever route the router looked at first."""
    response = await empty.client.request(method, path)
    assert_problem(response, "method-not-allowed")
    assert set(response.headers["allow"].split(", ")) == ROUTES[path]


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/run", "/v1/runs/", "/V1/runs", "/api", "/health", "/%00", "/a" * 999]
)
async def test_an_unknown_path_is_not_found(empty: Product, path: str) -> None:
    """No slip leads to a page, a redirect or a bare text."""
    for method in ("GET", "POST", "DELETE"):
        assert_problem(await empty.client.request(method, path), "not-found")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid-parameter"),
        ("limit=101", "invalid-parameter"),
        ("limit=-1", "invalid-parameter"),
        ("limit=x", "invalid-parameter"),
        ("limit=1_0", "invalid-parameter"),
        ("limit=%201", "invalid-parameter"),
        ("limit=1.5", "invalid-parameter"),
        ("limit=" + "9" * 5_000, "invalid-parameter"),
        ("cursor=x", "malformed-cursor"),
        ("cursor=run_1", "malformed-cursor"),
        ("cursor=", "malformed-cursor"),
        ("cursor=%00", "malformed-cursor"),
        ("cursor=" + "a" * 5_000, "malformed-cursor"),
        ("status=done", "invalid-parameter"),
        ("status=", "invalid-parameter"),
        ("status=completed,failed", "invalid-parameter"),
        ("created_after=yesterday", "invalid-parameter"),
        ("created_after=2026-13-01T00:00:00Z", "invalid-parameter"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "invalid-parameter"),
        ("created_after=9999-12-31T23:59:59-14:00", "invalid-parameter"),
        ("created_after=1e30", "invalid-parameter"),
        ("created_after=0.5", "invalid-parameter"),
        ("created_after=1764374400", "invalid-parameter"),
        ("tag=" + "a" * 65, "invalid-parameter"),
        ("thread_id=" + "a" * 65, "invalid-parameter"),
    ],
    ids=lambda value: value[:40],
)
async def test_a_bad_parameter_of_the_list_is_refused(
    empty: Product, query: str, code: Code
) -> None:
    """A filter that cannot be understood is an error, not an empty or a whole list."""
    assert_problem(await empty.client.get(f"/v1/runs?{query}"), code)


@pytest.mark.parametrize("wait", ["-1", "abc", "nan", "inf", "-inf", "1e999", "", "1,5"])
async def test_a_bad_wait_is_refused(empty: Product, wait: str) -> None:
    """A wait that is no number of seconds creates nothing."""
    for response in (
        await empty.client.post(f"/v1/runs?wait={wait}", json={"task": "a"}),
        await empty.client.get(f"/v1/runs/{UNKNOWN}?wait={wait}"),
    ):
        assert_problem(response, "invalid-parameter")


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/png, text/html;q=0.9", "application/json;q=0", "application/xml", "x"],
)
async def test_an_accept_that_cannot_be_met_is_refused(empty: Product, accept: str) -> None:
    """Where two formats are possible, asking for a third creates nothing."""
    headers = {"accept": accept}
    for response in (
        await empty.client.post("/v1/runs", json={"task": "a"}, headers=headers),
        await empty.client.get(f"/v1/runs/{UNKNOWN}/events", headers=headers),
    ):
        assert_problem(response, "not-acceptable")


@pytest.mark.parametrize("cursor", [b"abc", b"-1", b"1.5", b"1" * 16, b"0x1", b"\xb2", b"run_1"])
async def test_a_bad_last_event_id_is_refused(empty: Product, cursor: bytes) -> None:
    """The header is an event's number or an error."""
    path = f"/v1/runs/{UNKNOWN}/events"
    for accept in (b"text/event-stream", b"application/json"):
        headers = [(b"accept", accept), (b"last-event-id", cursor)]
        assert_problem(await empty.client.get(path, headers=headers), "malformed-cursor")


@pytest.mark.parametrize("after", ["abc", "-1", "1.5", "9" * 40, "%D9%A3", "%00"])
async def test_a_bad_after_is_refused(empty: Product, after: str) -> None:
    """So is the parameter, also where it is too long or in other digits."""
    response = await empty.client.get(f"/v1/runs/{UNKNOWN}/events?after={after}")
    assert_problem(response, "malformed-cursor")
    headers = {"last-event-id": "2"}
    response = await empty.client.get(f"/v1/runs/{UNKNOWN}/events?after={after}", headers=headers)
    assert_problem(response, "malformed-cursor")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "tokens=maybe", "types=" + "a" * 501]
)
async def test_a_bad_parameter_of_the_events_is_refused(empty: Product, query: str) -> None:
    """The page of events has bounds of its own."""
    response = await empty.client.get(f"/v1/runs/{UNKNOWN}/events?{query}")
    assert_problem(response, "invalid-parameter")


@pytest.mark.parametrize("key", [b"", b"a b", b"x" * 256, b"\xe9", b"a\tb"])
@pytest.mark.parametrize(
    "path", ["/v1/runs", "/api/workflow", "/api/workflow/stream", f"/v1/runs/{UNKNOWN}/cancel"]
)
async def test_a_bad_idempotency_key_is_refused(empty: Product, path: str, key: bytes) -> None:
    """A key that cannot be kept as it is would promise too much."""
    headers = [(b"idempotency-key", key), (b"content-type", b"application/json")]
    body = b"{}" if path.endswith("cancel") else b'{"task": "a"}'
    response = await empty.client.post(path, content=body, headers=headers)
    assert_problem(response, "invalid-parameter")


async def test_an_unknown_thread_is_not_found(empty: Product) -> None:
    """A run cannot begin in the middle of a conversation that is not there."""
    response = await empty.client.post("/v1/runs", json={"task": "a", "thread_id": "thr_1"})
    assert "thr_1" in assert_problem(response, "not-found")["detail"]


async def test_a_failure_of_the_service_is_a_problem_without_a_trace(
    empty: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets the request's id and no word of the cause."""

    async def broken(*_: object) -> None:
        raise RuntimeError("secret cause")

    # Nothing a client can send makes the service fail, so the failure is put in by hand.
    with monkeypatch.context() as patch:
        patch.setattr(empty.services.runs, "find", broken)
        async with httpx.AsyncClient(base_url=empty.base_url, trust_env=False) as client:
            response = await client.get("/v1/runs", headers={"x-request-id": "req-77"})
    problem = assert_problem(response, "internal-error")
    assert problem["request_id"] == "req-77"
    assert "secret" not in response.text
