"""What holds for every test: no real network, no keys from outside, no blocked event loop."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

# Before anything imports langgraph, which reads it once; the service does the same at its start.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

_SCRUBBED: Final = (
    "OPENAI_",
    "TAVILY_",
    "LANGSMITH_",
    "LANGCHAIN_",
    "LANGGRAPH_API",
    "OTEL_",
    "SIGNALBOX_",
)
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})

for _name in list(os.environ):
    if _name.startswith(_SCRUBBED) or _name.upper() in _PROXIES:
        del os.environ[_name]

# Nobody is asked for search results but by a test that has a server for it.
os.environ["SIGNALBOX_SEARCH_KEYLESS"] = "false"

import pytest  # noqa: E402 - the environment is clean only from here on
from blockbuster import BlockBuster  # noqa: E402

ROOT: Final = Path(__file__).parents[1]

PACKAGES: Final = ("agents", "domain", "graph", "monitoring", "service", "signalbox", "tools")

_HARMLESS: Final = ("os.path.abspath", "os.getcwd")
"""Calls that never wait for a disk: they only work on names."""

_MAY_BLOCK: Final = (
    # An import happens once per process.
    ("<frozen importlib._bootstrap>", ("_find_and_load",)),
    # Nothing is served before the app is made and its services are open.
    ("/api.py", ("create_app",)),
    ("service/settings.py", ("read_settings",)),
    # In memory there is no disk to wait for.
    ("service/store/database.py", ("write",)),
    ("service/bootstrap.py", ("open_services", "_open_checkpoints")),
)
"""Functions below which blocking is allowed: end of the file's name, and names."""

_LOOPBACK: Final = frozenset(
    {None, "", "localhost", "127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::"}
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the integration tests run over Postgres, which takes longer than memory."""
    parser.addoption(
        "--over",
        choices=["postgres-local", "postgres-queue"],
        help="run the integration tests on a real Postgres: in one process, or over the queue",
    )


_ONE_CASE: Final = frozenset({"attacks", "contract", "e2e", "integration", "unit"})
"""Folders in which the first case of a test is for every day; elsewhere all cases are."""

_FIRST_TESTS: Final = {"contract": 5, "e2e": 2, "integration": 1}
"""Of how many tests of a file that is said, in folders whose tests open a store or start the product."""


@pytest.hookimpl(tryfirst=True)  # while tests are in the order of their file, not yet shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `thorough` what a file repeats with other values, and what goes further than its first tests.

    So the most telling test stands first in its file, and the most telling case first in its list.
    """
    tests: dict[Path, list[str]] = {}
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder not in _ONE_CASE or item.get_closest_marker("slow"):
            continue
        name = item.nodeid.partition("[")[0]  # without the values of the case
        seen = tests.setdefault(item.path, [])
        if name in seen or len(seen) == _FIRST_TESTS.get(folder):
            item.add_marker(pytest.mark.thorough)
        else:
            seen.append(name)


@pytest.fixture(autouse=True, scope="session")
def _no_name_is_looked_up() -> Iterator[None]:
    """Refuse name resolution too: pytest-socket refuses only the connection that would follow."""
    look_up = socket.getaddrinfo

    def refuse(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in _LOOPBACK:
            pytest.fail(f"a test looked up {name!r}: tests reach loopback addresses only")
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = refuse
    yield
    socket.getaddrinfo = look_up


@pytest.fixture(autouse=True)
def _no_call_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which our own packages block the event loop with files, sleeps or SQLite."""
    if request.node.get_closest_marker("may_block"):
        yield
        return
    guard = BlockBuster(scanned_modules=[name for name in PACKAGES if (ROOT / name).is_dir()])
    for name in _HARMLESS:
        del guard.functions[name]
    for function in guard.functions.values():
        for file, names in _MAY_BLOCK:
            function.can_block_in(file, names)
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
