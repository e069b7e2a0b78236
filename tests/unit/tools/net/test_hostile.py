"""Urls that lead where a server must not go: refused, and no connection is even tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.prebuilt import ToolRuntime
from pytest_socket import SocketConnectBlockedError

from domain.errors import ToolFailedError
from domain.run import RunContext
from tests.fakes.http_target import CountingTarget
from tests.unit.tools.net.hosts import ADDRESSES, HOSTILE, PUBLIC, Names
from tools.http import make_http_request
from tools.net.client import SafeClient

Connects = list[tuple[str, int]]

_SAME_HOST = {"http:127.0.0.1/", "http:///127.0.0.1/"}
"""As a redirect these are paths of the host that sends them, for RFC 3986 and for browsers."""


def context() -> ToolRuntime[RunContext, Any]:
    return ToolRuntime(
        state={},
        context=RunContext(workspace=Path("unused")),
        config={},
        stream_writer=lambda _: None,
        tool_call_id="call_1",
        store=None,
    )


def assert_only_names_were_looked_up(names: Names) -> None:
    assert set(names.asked) <= {*ADDRESSES, "unknown.example.com"}
    assert set(names.asked.values()) <= {1}


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_is_refused_without_a_connection(url: str, connects: Connects) -> None:
    names = Names()
    with pytest.raises(ToolFailedError):
        await SafeClient(resolve=names).get(url)
    assert connects == []
    assert_only_names_were_looked_up(names)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("url", HOSTILE)
async def test_no_request_of_an_agent_reaches_one(
    url: str, method: str, connects: Connects
) -> None:
    """Certainly not: an error that leaves it open whether something was sent would be another one."""
    names = Names()
    tool = make_http_request(SafeClient(resolve=names))
    args = {"method": method, "url": url, "runtime": context()}
    call = {"type": "tool_call", "id": "call_1", "name": tool.name, "args": args}
    with pytest.raises(ToolFailedError):
        await tool.ainvoke(call)
    assert connects == []
    assert_only_names_were_looked_up(names)


@pytest.mark.parametrize(
    "url", [url for url in HOSTILE if "\r" not in url and url not in _SAME_HOST]
)
async def test_no_redirect_leads_to_one(
    url: str, connects: Connects, target: CountingTarget
) -> None:
    location = url.encode().decode("latin-1")
    target.reply("/go", status=302, headers={"location": location})
    client = SafeClient(vouched={target.address}, resolve=Names())
    with pytest.raises(ToolFailedError):
        await client.get(target.url("/go"))
    host, _, port = target.address.partition(":")
    assert connects == [(host, int(port))]
    assert len(target.requests) == 1


async def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to() -> None:
    """DNS rebinding: whoever answers for the name changes the answer after the check."""
    host = "public.example.com"
    names = Names({host: [PUBLIC]}, {host: ["127.0.0.1"]})
    # pytest-socket lets nobody out, and says where to.
    blocked = pytest.RaisesExc(SocketConnectBlockedError, match=PUBLIC)
    with pytest.RaisesGroup(blocked):
        await SafeClient(resolve=names).get(f"http://{host}/")
    assert names.asked == {host: 1}
    with pytest.raises(ToolFailedError, match="an address that is not public"):
        await SafeClient(resolve=names).get(f"http://{host}/")
    assert names.asked == {host: 2}


async def test_a_refusal_does_not_tell_the_address_behind_a_name() -> None:
    with pytest.raises(ToolFailedError) as caught:
        await SafeClient(resolve=Names()).get("http://private.example.com/")
    assert "10.0.0.1" not in str(caught.value)


async def test_a_server_cannot_phrase_the_refusal_of_its_redirect(target: CountingTarget) -> None:
    target.reply("/", status=302, headers={"location": "http://obey-me.internal/"})
    with pytest.raises(ToolFailedError, match="redirects to a host that is not public") as caught:
        await SafeClient(vouched={target.address}, resolve=Names()).get(target.url("/"))
    assert "obey" not in str(caught.value)


async def test_what_the_operator_vouches_for_may_be_private_and_on_any_port(
    connects: Connects, target: CountingTarget
) -> None:
    """With its very name and port; its neighbours may not."""
    port = target.address.partition(":")[2]
    names = Names({"wiki.internal": ["127.0.0.1"], "other.internal": ["127.0.0.1"]})
    client = SafeClient(vouched={f"wiki.internal:{port}"}, resolve=names)
    found = await client.get(f"http://wiki.internal:{port}/page")
    assert (found.status, found.url) == (200, f"http://wiki.internal:{port}/page")
    assert target.requests[0].headers["host"] == f"wiki.internal:{port}"
    assert connects == [("127.0.0.1", int(port))]
    for other in (f"http://other.internal:{port}/", "http://wiki.internal/", target.url("/")):
        with pytest.raises(ToolFailedError):
            await client.get(other)
    assert len(connects) == 1
    assert names.asked == {"wiki.internal": 1}


async def test_every_address_of_a_name_is_tried_until_one_answers(
    connects: Connects, target: CountingTarget
) -> None:
    port = int(target.address.partition(":")[2])
    names = Names({"wiki.internal": ["::1", "127.0.0.1", "127.0.0.1"]})
    client = SafeClient(vouched={f"wiki.internal:{port}"}, resolve=names)
    assert (await client.get(f"http://wiki.internal:{port}/")).status == 200
    assert connects == [("::1", port), ("127.0.0.1", port)]
