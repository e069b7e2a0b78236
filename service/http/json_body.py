"""Reads bodies as the JSON of RFC 8259 and RFC 7493, which is less than Python's parser takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from domain.errors import CallerError

MAX_VALUES: Final = 200_000
"""Values that a body may have: three bytes of text can become an object of a hundred."""


class JsonRoute(APIRoute):
    """A route whose body is read by `read_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with our request in place of the framework's."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_strictly


class _JsonRequest(Request):
    async def json(self) -> object:
        body = await self.body()
        self._body = b""  # else an answer that is a stream would keep it for as long as its run
        return read_json(body)


def read_json(body: bytes) -> object:
    """Return what a body says; raises `malformed-json`, or a `ValueError` of the parser.

    Python also takes UTF-16 and NaN, and of a key that stands twice the last value: another reader of
    the same bytes, such as a gateway that checks them, would understand something else.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        msg = f"The body has more than {MAX_VALUES} values. Send fewer."
        raise CallerError("payload-too-large", msg)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        msg = f"The body is not UTF-8 (byte {error.start}). Send one JSON object, UTF-8."
        raise CallerError("malformed-json", msg) from error
    document: object = json.loads(
        text, parse_constant=_refuse_constant, object_pairs_hook=_each_key_once
    )
    return document


def _refuse_constant(name: str) -> NoReturn:
    msg = f"The body has {name}, which is not JSON. Send a number, a string or null."
    raise CallerError("malformed-json", msg)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        msg = "The body has an object in which a key stands twice. Send each key once."
        raise CallerError("malformed-json", msg)
    return members
