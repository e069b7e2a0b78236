"""What is looked at on every screen: that nothing keeps anybody from using it, and that it fits the window."""

from __future__ import annotations

from typing import Any, Final

from axe_playwright_python.async_playwright import Axe

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
    """Check a screen as it stands, and leave a picture of it."""
    await visit.page.evaluate(_STILL)  # a colour on its way to another one is neither
    await visit.picture(name, whole=whole)
    assert await visit.overflow() == 0, f"{name} is wider than the window"
    found = await Axe().run(visit.page, options=RULES)
    told = [f"{name}: {tell(each)}" for each in found.response["violations"]]
    assert not told, "\n".join(told)


def tell(violation: dict[str, Any]) -> str:
    """Return what keeps somebody from using the page, with where it is."""
    places = [
        f"   {node['html'][:240]}\n      {node.get('failureSummary', '')[:400]}"
        for node in violation["nodes"][:4]
    ]
    return "\n".join([f"{violation['id']}: {violation['help']}", *places])
