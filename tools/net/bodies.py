"""Reads the body of a response up to a bound, however far a packed one would unfold."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Final

PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""The encodings that are undone; a body in another one stays as it came."""


@dataclass
class Body:
    """What came of a body, as far as it came."""

    data: bytearray = field(default_factory=bytearray)
    more: bool = False
    """It goes on behind the bound."""
    complete: bool = False
    """It ended, or was cut at the bound."""


async def read_body(body: Body, parts: AsyncIterable[bytes], encoding: str, most: int) -> None:
    """Fill in a body from its parts, at most so many bytes; `more` says whether it goes on.

    Raises `zlib.error` where it is not packed as its encoding says; what came before is kept.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in PACKED else None
    arrived = 0
    async for raw in parts:
        arrived += len(raw)
        room = most + 1 - len(body.data)
        body.data += raw[:room] if unpacker is None else unpacker.decompress(raw, room)
        # The second bound is for a stream that unfolds to nothing and has no end.
        if len(body.data) > most or arrived > most:
            del body.data[most:]
            body.more = True
            break
    body.complete = unpacker is None or unpacker.eof or body.more or not body.data
