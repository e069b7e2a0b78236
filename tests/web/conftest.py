"""One browser for all tests here; they are skipped where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio

from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.web.browsing import Visit, find_chromium, visiting
from tests.web.story import DOCUMENT, Story, tell

if TYPE_CHECKING:
    from playwright.async_api import Browser

NO_BROWSER = (
    "no browser: install one (Debian: apt-get install chromium), or name it in CHROMIUM, "
    "to run the tests of the page"
)


PATIENCE = 90.0
"""How long an answer of a model may be held back, while screens are looked at."""

EXPECTED_MS = 25_000
"""A bound that no working page comes near."""

PRICES = """\
openai:gpt-5-nano: {input: 0.05, output: 0.40, cached: 0.005}
openai:gpt-5-mini: {input: 0.25, output: 2.00, cached: 0.025}
openai:gpt-5: {input: 1.25, output: 10.00, cached: 0.125}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a browser: it is slow, and skipped without one."""
    for item in items:
        if "web" in item.path.parts and "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.browser)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start the browser of this machine."""
    path = find_chromium()
    if path is None:
        pytest.skip(NO_BROWSER)
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=EXPECTED_MS)

    # In containers the browser cannot make a sandbox of its own; it opens nothing but our page.
    async with async_playwright() as driver:
        started = await driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        await started.close()


class Open(Protocol):
    """Opens a page of a product; options are those of a browser context."""

    def __call__(
        self, product: Product, *, may: tuple[str, ...] = (), **options: Any
    ) -> AbstractAsyncContextManager[Visit]:
        """Return the page, to be entered."""
        ...


@pytest.fixture
def visit(browser: Browser) -> Open:
    """Return how to open a page."""

    def begin(
        product: Product, *, may: tuple[str, ...] = (), **options: Any
    ) -> AbstractAsyncContextManager[Visit]:
        return visiting(browser, product.base_url, may=may, **options)

    return begin


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    """Return a folder with the one document that is cited."""
    folder = tmp_path / "knowledge"
    folder.mkdir()
    (folder / "heat-pumps.md").write_text(DOCUMENT, encoding="utf-8")
    return folder


class Begin(Protocol):
    """Starts the product with a story; settings as keyword arguments."""

    def __call__(
        self, *, held: bool = True, **settings: Any
    ) -> AbstractAsyncContextManager[tuple[Product, Story]]:
        """Return the product and the story's gates, to be entered."""
        ...


@pytest.fixture
def story(tmp_path: Path, knowledge: Path) -> Begin:
    """Return how to start the product with the story of the heat pumps."""

    @asynccontextmanager
    async def begin(*, held: bool = True, **settings: Any) -> AsyncIterator[tuple[Product, Story]]:
        prices = tmp_path / "prices.yaml"
        await asyncio.to_thread(prices.write_text, PRICES)
        async with FakeModelServer(patience=PATIENCE) as models:
            told = tell(models, held=held)
            values: dict[str, Any] = {
                "OPENAI_BASE_URL": models.base_url,
                "knowledge_dir": knowledge,
                "search_keyless": False,
                "validation": "off",
                "model_timeout": PATIENCE,
                "model_fast": "openai:gpt-5-nano",
                "model_standard": "openai:gpt-5-mini",
                "model_deep": "openai:gpt-5",
                "prices": prices,
                **settings,
            }
            async with running(tmp_path / "data", **values) as product:
                yield product, told
                told.open_all()

    return begin
