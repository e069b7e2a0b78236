"""The product with the offline planner, and with a scripted model server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_server import FakeModelServer
from tests.fakes.postgres import PostgresServer, postgres, postgres_url  # noqa: F401 - fixtures
from tests.fakes.running import Product, running
from tests.fakes.search_server import FakeWeb
from tests.tenant_scope import Watch, watching

Start = Callable[..., AbstractAsyncContextManager[Product]]


@pytest.fixture(scope="session")
def statements() -> Iterator[Watch]:
    """Watch the statements of every test here."""
    with watching() as watch:
        yield watch


@pytest.fixture(autouse=True)
def _every_statement_asks_for_a_tenant(statements: Watch) -> Iterator[None]:
    """Fail the test that makes the product ask for rows of whichever tenant."""
    yield
    found = statements.take()
    assert not found, "say which tenant's, or tests/tenant_scope.py why not:\n" + "\n".join(found)


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
def start(request: pytest.FixtureRequest, tmp_path: Path, knowledge: Path) -> Start:
    """Return how to start the product; `models=` points it at a fake model server.

    Where no database is named it is in memory, or the one the tests run over. With a model there is a
    sandbox only where the test's module has `SANDBOX = "auto"`.
    """

    def begin(
        *, models: FakeModelServer | None = None, **overrides: Any
    ) -> AbstractAsyncContextManager[Product]:
        # Without a key or the wish of a test nothing asks a search service.
        values: dict[str, Any] = {
            "knowledge_dir": knowledge,
            "search_keyless": False,
            **overrides,
        }
        # To start it takes longer than many a test, and scripted agents that run no program need none.
        values.setdefault(
            "sandbox", getattr(request.module, "SANDBOX", "off" if models else "auto")
        )
        # A script of a model is for the calls it is about; those of the validator are for its own tests.
        values.setdefault(
            "validation", getattr(request.module, "VALIDATION", "off" if models else "auto")
        )
        if models is not None:
            values["OPENAI_BASE_URL"] = models.base_url
        over = request.config.getoption("--over")
        if over and "database_url" not in values:
            values |= on_postgres(request, over)
        return running(tmp_path / "data", **values)

    return begin


def on_postgres(request: pytest.FixtureRequest, over: str) -> dict[str, Any]:
    """Return what starts the product on an empty Postgres."""
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create()
    request.addfinalizer(partial(server.drop, url))
    queue = over == "postgres-queue"
    return {
        "database_url": url,
        "database_pool": 4,
        "dispatch": "queue" if queue else "local",
        "worker_apart": queue,
    }


IN_MEMORY = {
    f"tests.integration.test_{name}"
    for name in ("approvals", "cache", "cancel", "create_run", "erasure", "event_stream", "threads")
}
"""What is tried in memory as well as in a file: only where checkpoints are kept is another code there."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `modelled` and the like each database of their module, or the one the tests run over."""
    for name in {"modelled", "acting", "outside", "place"} & set(metafunc.fixturenames):
        over = metafunc.config.getoption("--over")
        own = ["memory", "sqlite"] if metafunc.module.__name__ in IN_MEMORY else ["sqlite"]
        metafunc.parametrize(name, [over] if over else own, indirect=True)


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


@pytest.fixture
async def modelled(
    request: pytest.FixtureRequest, start: Start, models: FakeModelServer, tmp_path: Path
) -> AsyncIterator[Product]:
    """Run the product with the fake model server, on each database."""
    async with start(models=models, **database(request, tmp_path)) as running_product:
        yield running_product


def database(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of the database a fixture is to have."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/runs.db"}
    return {"database_url": urls[request.param]} if request.param in urls else {}


@pytest.fixture
async def web() -> AsyncIterator[FakeWeb]:
    """Run a search service and a site."""
    async with FakeWeb() as server:
        yield server


@pytest.fixture
async def target() -> AsyncIterator[CountingTarget]:
    """Run a server that counts what is sent to it."""
    async with CountingTarget() as server:
        yield server


@pytest.fixture
async def acting(
    request: pytest.FixtureRequest,
    start: Start,
    models: FakeModelServer,
    target: CountingTarget,
    tmp_path: Path,
) -> AsyncIterator[Product]:
    """Run the product with the fake model server and a target it may send requests to."""
    given = {"http_allow": target.address, **database(request, tmp_path)}
    async with start(models=models, **given) as running_product:
        yield running_product


@pytest.fixture
async def acting_once(
    start: Start, models: FakeModelServer, target: CountingTarget
) -> AsyncIterator[Product]:
    """Run the product like `acting`, where it makes no difference on which database."""
    async with start(models=models, http_allow=target.address) as running_product:
        yield running_product
