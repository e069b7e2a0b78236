"""What is looked at on every screen: that nothing keeps anybody from using it, and that it fits the window."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from tests.web.browsing import Visit

RULES: Final[dict[str, Any]] = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
    "resultTypes": ["violations"],
}

_STILL: Final = """() => Promise.all(
    document.getAnimations().filter((each) => each.effect.getComputedTiming().iterations !== Infinity)
        .map((each) => each.finished.catch(() => null)))"""


async def look(visit: Visit, name: str, *, whole: bool = False) -> None:
    """Check a screen as it stands, and leave a picture of it, of what is below the window too where it is `whole`."""
    await visit.page.evaluate(_STILL)  # a colour on its way to another one is neither
    if not whole:
        await visit.picture(name)
    async with unrolled(visit.page):
        if whole:
            await visit.picture(name)
        assert await visit.overflow() == [], f"{name} is wider than the window"
        found = await Axe().run(visit.page, options=RULES)
    told = [f"{name}: {tell(each)}" for each in found.response["violations"]]
    assert not told, "\n".join(told)


@asynccontextmanager
async def unrolled(page: Page) -> AsyncIterator[None]:
    """Make the window as high as the page: nothing that stays in sight while one scrolls lies over anything."""
    size = page.viewport_size
    assert size is not None
    height = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": size["width"], "height": max(height, size["height"])})
    try:
        yield
    finally:
        await page.set_viewport_size(size)


def tell(violation: dict[str, Any]) -> str:
    """Return what keeps somebody from using the page, with where it is."""
    places = [
        f"   {node['html'][:240]}\n      {node.get('failureSummary', '')[:400]}"
        for node in violation["nodes"][:4]
    ]
    return "\n".join([f"{violation['id']}: {violation['help']}", *places])
