"""What a page says: its text, title, date and links, read from HTML, PDF or plain text."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from tempfile import gettempdir
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from domain.errors import ToolFailedError
from tools.net.client import Fetched
from tools.process import Command, Finished, run_command

READ_SECONDS: Final = 20.0
AT_ONCE: Final = 2
"""Pages that are read side by side; the others wait."""
MAX_TEXT_CHARS: Final = 400_000
"""Of one page; what is longer is left out."""

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_PDF: Final = "application/pdf"
_PROGRAM: Final = Path(__file__).with_name("page_program.py")
_STDOUT_BYTES: Final = 8 * 1024**2
"""As JSON a text may take six bytes a character, and each link 2,000."""

_log = logging.getLogger("signalbox.pages")


class Page(BaseModel):
    """A page as it was read."""

    model_config = ConfigDict(frozen=True)

    text: str
    """Empty where there is none to be read."""
    title: str = ""
    date: str = ""
    links: list[str] = []
    more: bool = False
    """The text goes on, but no more of it was read."""
    password: bool = False
    """It has a field for a password."""
    scripts: int = 0
    locked: bool = False
    """It is a PDF that opens only with a password."""


class PageReader:
    """Reads pages, a few at the same time."""

    def __init__(self, *, seconds: float = READ_SECONDS) -> None:
        self._seconds: Final = seconds
        self._places: Final = asyncio.Semaphore(AT_ONCE)

    async def read(self, fetched: Fetched) -> Page:
        """Return what a page says. Raises `ToolFailedError` where it cannot be read."""
        if fetched.media_type in _HTML:
            return await self._apart(fetched, "html")
        if fetched.media_type == _PDF:
            if fetched.more:
                size = f"{len(fetched.body):,} bytes"
                raise ToolFailedError(f"The PDF is larger than {size} and was not read.")
            return await self._apart(fetched, "pdf")
        return await asyncio.to_thread(_as_it_is, fetched)

    async def _apart(self, fetched: Fetched, kind: str) -> Page:
        asked = {"kind": kind, "url": fetched.url, "charset": fetched.charset}
        # `-I`: nothing of the environment, of the user's packages or of a folder is imported.
        command = Command(
            argv=[sys.executable, "-I", "-X", "utf8", str(_PROGRAM)],
            folder=Path(gettempdir()),
            environment={},
            stdin=json.dumps(asked).encode() + b"\n" + fetched.body,
            wall_seconds=self._seconds,
            stdout_bytes=_STDOUT_BYTES,
        )
        async with self._places:
            try:
                finished = await run_command(command)
            except TimeoutError:
                message = f"Reading the page took longer than {self._seconds:g} s and was stopped. Take another."
                raise ToolFailedError(message) from None
        page = await asyncio.to_thread(_parsed, finished)
        if page is None:
            said, fields = finished.stderr.strip()[-300:], {"action": "page_not_read"}
            _log.warning("A page could not be read: %s", said, extra=fields)
            what = "The PDF" if kind == "pdf" else "The page"
            raise ToolFailedError(f"{what} is damaged or too large to be read. Take another.")
        return page


def _parsed(finished: Finished) -> Page | None:
    if finished.status:
        return None
    try:
        return Page.model_validate_json(finished.stdout)
    except ValidationError:
        return None


def _as_it_is(fetched: Fetched) -> Page:
    try:
        text = fetched.body.decode(fetched.charset or "utf-8", "replace")
    except LookupError:
        text = fetched.body.decode("utf-8", "replace")
    more = fetched.more or len(text) > MAX_TEXT_CHARS
    return Page(text=text[:MAX_TEXT_CHARS], more=more)
