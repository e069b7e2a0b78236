"""A browser that watches what a page does: it fails on errors, on other origins and on breaches of its policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Request

PICTURES: Final = Path(__file__).parents[2] / "build" / "pictures"
"""Where pictures are left for people; nothing here is compared with anything."""

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")

_WATCH: Final = """
addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


def find_chromium() -> str | None:
    """Return the browser of this machine: what `CHROMIUM` names, or the first that there is."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


_WIDE: Final = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > width + 0.5)
        .map((each) => each.outerHTML.slice(0, 160)).slice(0, 12);
}"""


@dataclass
class Visit:
    """A page that is open, and what it has done wrong so far."""

    page: Page
    base_url: str
    wrong: list[str] = field(default_factory=list)
    may: tuple[str, ...] = ()
    """Parts of complaints that belong to what is tried."""

    def watch(self) -> None:
        """Begin to write down what goes wrong."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error.stack or error}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.wrong.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _on_request(self, request: Request) -> None:
        here, there = urlsplit(self.base_url), urlsplit(request.url)
        if there.scheme not in {"data", "blob"} and there.netloc != here.netloc:
            self.wrong.append(f"asked another origin: {request.url}")

    def complaints(self) -> list[str]:
        """Return what went wrong and should not have."""
        return [each for each in self.wrong if not any(part in each for part in self.may)]

    async def go(self, path: str) -> None:
        """Open an address of the page."""
        await self.page.goto(self.base_url + path)

    async def text(self, selector: str = "main") -> str:
        """Return the text of a part of the page."""
        return await self.page.inner_text(selector)

    async def picture(self, name: str) -> None:
        """Leave a picture for people."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png")

    async def overflow(self) -> list[str]:
        """Return what sticks out of the window to the right."""
        found: list[str] = await self.page.evaluate(_WIDE)
        return found


@asynccontextmanager
async def visiting(
    browser: Browser, base_url: str, *, may: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[Visit]:
    """Open a page in a context of its own; fails at the end if it did anything wrong."""
    size = {"width": 1360, "height": 860}
    context = await browser.new_context(**{"viewport": size, "locale": "en-GB", **options})
    context.set_default_timeout(25_000)
    await context.add_init_script(_WATCH)
    visit = Visit(await context.new_page(), base_url, may=may)
    visit.watch()
    try:
        yield visit
        assert not visit.complaints(), "\n".join(visit.complaints())
    finally:
        await context.close()
