"""The guards of conftest.py hold."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockingError
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).parents[1]

# Documentation addresses and names (RFC 5737, RFC 2606): nothing answers there, guard or not.
ELSEWHERE = "192.0.2.1"
ELSEWHERE_NAME = "models.example"


def blocking_function(file: str) -> Any:
    """Return a function that sleeps and seems to stand in that file."""
    namespace: dict[str, Any] = {}
    source = "import time\ndef block():\n    time.sleep(0)\n"
    exec(compile(source, str(ROOT / file), "exec"), namespace)
    return namespace["block"]


def test_a_connection_to_elsewhere_is_refused():
    with socket.socket() as client, pytest.raises(SocketConnectBlockedError):
        client.connect((ELSEWHERE, 80))


async def test_a_name_elsewhere_is_not_looked_up():
    with pytest.raises(pytest.fail.Exception, match=ELSEWHERE_NAME):
        await asyncio.get_running_loop().getaddrinfo(ELSEWHERE_NAME, 443)


async def test_loopback_is_open():
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_our_own_code_must_not_block_the_loop():
    with pytest.raises(BlockingError, match="sleep"):
        blocking_function("domain/example.py")()


async def test_what_is_not_ours_is_not_watched():
    blocking_function("elsewhere/example.py")()


@pytest.mark.may_block
async def test_a_test_may_say_that_it_blocks():
    blocking_function("domain/example.py")()


def test_the_environment_is_clean():
    ours = ("OPENAI_", "SIGNALBOX_", "TAVILY_")
    left = {name: value for name, value in os.environ.items() if name.startswith(ours)}
    # No test asks the real search service by mistake.
    assert left == {"SIGNALBOX_SEARCH_KEYLESS": "false"}
    assert os.environ["LANGGRAPH_STRICT_MSGPACK"] == "true"
