"""Opens the stores under contract, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.store import SqlRunStore, open_store
from tests.fakes.postgres import postgres, postgres_url  # noqa: F401 - fixtures


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of each kind there is."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/signalbox.db"}[request.param]


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlRunStore]:
    """Open an empty store."""
    async with open_store(url) as opened:
        yield opened
