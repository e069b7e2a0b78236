"""The client and the files of runs: whole or not at all, on both faces."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from signalbox import NotFoundError, ServerUnreachableError, UnexpectedAnswerError
from tests.fakes.breaking_proxy import BreakingProxy
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_faces import facing
from tests.integration.people import turns
from tests.integration.team_script import decisions
from tests.integration.test_client_streams import saying

NAME, TEXT = "tables/a b 100%.csv", "n,ä\n" * 600


@pytest.fixture
async def run_id(modelled: Product, models: FakeModelServer) -> str:
    """Return a run whose coder has written a file."""
    write = Reply.calls(("write_file", {"path": NAME, "content": TEXT}))
    models.add(*decisions(("coder", "Make it")), turns("Make it", write, Reply(text="Made it.")))
    return str((await modelled.finished("Make it"))["id"])


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_file_is_downloaded_whole(
    kind: str, modelled: Product, run_id: str, tmp_path: Path
) -> None:
    """A connection that breaks in the middle is no end of it."""
    async with (
        BreakingProxy(modelled.base_url, [None, 1_800, None]) as proxy,
        facing(kind, proxy.base_url) as face,
    ):
        [artifact] = await face.do(lambda c: c.artifacts.list(run_id))
        proxy.cut()
        path = await face.do(lambda c: c.artifacts.download(run_id, artifact.name, tmp_path))
        assert (proxy.connections, path) == (3, tmp_path / "a b 100%.csv")
        assert path.read_text() == TEXT
        assert await face.do(lambda c: c.artifacts.read(run_id, NAME)) == TEXT.encode()
    assert artifact.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert [each.name for each in tmp_path.glob("*.csv*")] == [path.name]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_could_not_be_downloaded_leaves_nothing(
    kind: str, modelled: Product, run_id: str, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    async with facing(kind, modelled.base_url) as face:
        with pytest.raises(NotFoundError):
            await face.do(lambda c: c.artifacts.download(run_id, "other.csv", folder))
    async with (
        BreakingProxy(modelled.base_url, [1_800] * 9) as proxy,
        facing(kind, proxy.base_url) as face,
    ):
        with pytest.raises(ServerUnreachableError):
            await face.do(lambda c: c.artifacts.download(run_id, NAME, folder / "mine.csv"))
    wrong = b'HTTP/1.1 200 OK\r\netag: "00"\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx'
    async with saying(wrong) as url, facing(kind, url) as face:
        with pytest.raises(UnexpectedAnswerError, match="other bytes"):
            await face.do(lambda c: c.artifacts.download(run_id, NAME, folder))
    assert list(folder.iterdir()) == []
