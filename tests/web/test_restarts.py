"""The server is killed again and again, and the page is loaded anew each time: the run ends as an undisturbed one."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.processes import Process
from tests.fakes.model_server import FakeModelServer
from tests.web.browsing import Visit, visiting
from tests.web.conftest import PATIENCE, PRICES
from tests.web.story import TASK, Story, tell
from tests.web.test_run import both_lanes_live, final_text

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

GONE: Final = ("Failed to load resource", "ERR_", "net::")
"""What a browser says while there is nobody to talk to."""

BANNER: Final = "Connection lost. Reconnecting; nothing is lost, the run goes on."


class Server:
    """The product as a process on one port; it can be killed and started again."""

    def __init__(self, folder: Path, models: FakeModelServer) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder = folder
        self._env = {
            "OPENAI_BASE_URL": models.base_url,
            "SIGNALBOX_KNOWLEDGE_DIR": str(folder / "knowledge"),
            "SIGNALBOX_MODEL_FAST": "openai:gpt-5-nano",
            "SIGNALBOX_MODEL_STANDARD": "openai:gpt-5-mini",
            "SIGNALBOX_PRICES": str(folder / "prices.yaml"),
            "SIGNALBOX_MODEL_TIMEOUT": str(PATIENCE),
        }
        self.base_url = f"http://127.0.0.1:{self._port}"
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = ("-m", "service", "serve", "--port", str(self._port))
        self.process = await asyncio.to_thread(Process, arguments, cwd=self._folder, env=self._env)
        await asyncio.to_thread(self.process.says, r"Signalbox is at ")

    async def kill(self) -> None:
        """Take it away without warning."""
        assert self.process is not None
        await asyncio.to_thread(self.process.kill)

    async def close(self) -> None:
        """End it with all that it has started."""
        if self.process is not None:
            await asyncio.to_thread(self.process.close)


@pytest.fixture
def folder(tmp_path: Path, knowledge: Path) -> Path:
    """Return the server's folder."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    assert knowledge.parent == tmp_path
    return tmp_path


async def killed_and_back(server: Server, v: Visit) -> None:
    """Kill the server under an open page, see that the page says so, and forget all that the page knows."""
    await server.kill()
    await expect(v.page.get_by_text(BANNER)).to_be_visible()
    await server.start()
    await expect(v.page.get_by_text(BANNER)).to_have_count(0)
    await v.page.evaluate("sessionStorage.clear(), localStorage.clear()")
    await v.page.reload()


async def begin(page: Page) -> None:
    """Start the story by keyboard."""
    await expect(page.get_by_role("textbox", name="Task")).to_be_focused()
    await page.keyboard.type(TASK)
    await page.get_by_text("Options").press("Enter")
    await page.get_by_label("Ask me").press("B")
    await page.get_by_role("textbox", name="Task").press("Control+Enter")


async def decide(page: Page) -> None:
    """Edit what would run, and approve it, by keyboard."""
    card = page.get_by_role("region", name=re.compile("Coder wants to run"))
    await expect(card).to_be_focused()
    await page.keyboard.press("e")
    await expect(card.get_by_role("textbox", name="code")).to_be_focused()
    await page.keyboard.press("ControlOrMeta+End")
    await page.keyboard.type('print("checked")')
    await page.keyboard.press("Control+Enter")


async def through_all_of_it(v: Visit, server: Server, told: Story) -> str:
    """Go through the story while the server is killed at every station; returns what the page says at the end."""
    page = v.page
    await v.go("/")
    await begin(page)
    await both_lanes_live(page)
    await killed_and_back(server, v)
    await both_lanes_live(page)
    told.open("research", "prices")
    await expect(page.get_by_role("button", name="Approve")).to_be_visible()
    await killed_and_back(server, v)
    await decide(page)
    await expect(page.get_by_text("The chart is")).to_be_visible()
    await killed_and_back(server, v)
    await expect(page.get_by_text("The chart is")).to_be_visible()
    told.open("program")
    await expect(page.get_by_role("heading", name="Answer, as it is written")).to_be_visible()
    await killed_and_back(server, v)
    told.open("answer")
    return await final_text(page)


async def test_a_server_that_is_killed_again_and_again(browser: Browser, folder: Path) -> None:
    """In the middle of two lanes, while a person is asked, after the decision, in the middle of the answer."""
    async with FakeModelServer(patience=PATIENCE) as models:
        server = Server(folder, models)
        try:
            await server.start()
            async with visiting(browser, server.base_url, may=GONE) as v:
                disturbed = await through_all_of_it(v, server, tell(models))
                models.rules.clear()
                tell(models, held=False)
                await v.go("/")
                await begin(v.page)
                await decide(v.page)
                undisturbed = await final_text(v.page)
            async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
                runs = (await client.get("/v1/runs")).json()["data"]
        finally:
            await server.close()
    assert disturbed == undisturbed
    assert [run["status"] for run in runs] == ["completed", "completed"]
    assert runs[1]["attempt"] >= 4
