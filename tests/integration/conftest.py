"""The product with the offline planner, and with a scripted model server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running

Start = Callable[..., AbstractAsyncContextManager[Product]]


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    """Return a folder with one document, so that no test builds the large index."""
    folder = tmp_path / "knowledge"
    folder.mkdir()
    (folder / "lighthouse.md").write_text(
        "# The lighthouse at Fastnet\n\nThe Fastnet lighthouse stands on Fastnet Rock. "
        "The present tower was completed in 1904 and is built of Cornish granite.\n"
    )
    return folder


@pytest.fixture
def start(tmp_path: Path, knowledge: Path) -> Start:
    """Return how to start the product; `models=` points it at a fake model server."""

    def begin(
        *, models: FakeModelServer | None = None, **overrides: Any
    ) -> AbstractAsyncContextManager[Product]:
        values: dict[str, Any] = {"knowledge_dir": knowledge, **overrides}
        if models is not None:
            values["OPENAI_BASE_URL"] = models.base_url
        return running(tmp_path / "data", **values)

    return begin


@pytest.fixture
async def models() -> AsyncIterator[FakeModelServer]:
    """Run a fake model server without a script; tests add rules."""
    async with FakeModelServer() as server:
        yield server


@pytest.fixture
async def product(start: Start) -> AsyncIterator[Product]:
    """Run the product with the offline planner."""
    async with start() as running_product:
        yield running_product


@pytest.fixture(params=["memory", "sqlite"])
async def modelled(
    request: pytest.FixtureRequest, start: Start, models: FakeModelServer, tmp_path: Path
) -> AsyncIterator[Product]:
    """Run the product with the fake model server, in memory and on SQLite."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"
    async with start(models=models, database_url=url) as running_product:
        yield running_product
