"""A run of twenty thousand tokens stays smooth: little is parsed, and drawn once a frame."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import expect

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import running
from tests.web.conftest import PATIENCE, Open

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

PARAGRAPHS: Final = 400
TEXT: Final = "\n\n".join(
    f"Paragraph {number} says that **unit sales** rose and that the price ratio fell, as the table of that year has "
    "it; the association counts them each spring, and the report of the industry has the others, month by month, "
    "with what was sold before and after the subsidy was reset in the three largest markets of the year."
    for number in range(1, PARAGRAPHS + 1)
)

WATCH: Final = """async () => {
    const app = document.querySelector('script[src$="app.js"]').src;
    const { stats } = await import(new URL("markdown.js", app).href);
    window.seen = { stats, changes: 0 };
    new MutationObserver(() => (window.seen.changes += 1)).observe(document.body, {
        subtree: true, childList: true, characterData: true,
    });
}"""


async def test_only_what_is_new_of_a_long_text_is_parsed(visit: Open, tmp_path) -> None:
    """Each paragraph is parsed as it settles and the open one once a frame: never the whole text again."""
    words = TEXT.split(" ")
    assert len(words) > 20_000
    async with FakeModelServer(patience=PATIENCE) as models:
        gate = models.event("writing")
        models.add(
            Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
            Rule(when=When(schema=True), reply=Reply.route(("coder", "Write it"))),
            Rule(when=When(schema=False), reply=Reply(text=TEXT), gate="writing", gate_after=20),
        )
        settings = {
            "OPENAI_BASE_URL": models.base_url,
            "knowledge_dir": tmp_path,
            "sandbox": "off",
            "validation": "off",
            "model_timeout": 200,
        }
        async with running(tmp_path / "data", **settings) as product, visit(product) as v:
            page = v.page
            run_id = (await product.client.post("/v1/runs", json={"task": "Write it"})).json()["id"]
            await v.go(f"/runs/{run_id}")
            await expect(page.locator(".agent-card")).to_contain_text("Paragraph 1 says")
            await page.evaluate(WATCH)
            gate.set()
            await expect(page.locator(".agent-card")).to_contain_text(
                f"Paragraph {PARAGRAPHS // 2}", timeout=120_000
            )
            half = await page.evaluate("({ ...window.seen.stats })")
            await expect(page.locator(".run-head .chip")).to_have_text("Done", timeout=120_000)
            seen = await page.evaluate("({ ...window.seen.stats, changes: window.seen.changes })")
            drawn = await page.locator(".answer-text > p").count()
    assert half["parses"] > 20, "the text was seen while it grew"
    assert drawn == PARAGRAPHS
    # As a whole it is parsed when a message is whole: as the agent's, as the answer that grows, as the answer.
    assert seen["characters"] < 8 * len(TEXT)
    # Changes are told once a frame at most: far fewer than there are tokens.
    assert seen["changes"] < len(words) / 4
