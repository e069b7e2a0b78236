"""The modules of the page by themselves: what a run's events come to, live, replayed and cut anywhere."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.running import Product, running
from tests.web.conftest import Begin, Open
from tests.web.story import TASK

WEB = Path(__file__).parents[2] / "web"
CHECKS = (
    Path(__file__).with_name("reducer_checks.js").read_text(encoding="utf-8").partition("async (")
)
CHECK = f"async ({CHECKS[2].strip()}"

NODE = """
const { pathToFileURL } = await import("node:url");
const nothing = () => {};
// What the modules touch when they are loaded; nothing here draws.
Object.assign(globalThis, {
    document: { documentElement: { dataset: {} }, addEventListener: nothing },
    location: new URL("http://localhost/"), addEventListener: nothing, history: {},
    matchMedia: () => ({ matches: false }), localStorage: { getItem: () => null },
});
const input = JSON.parse(await new Response(process.stdin).text());
const check = (0, eval)(input.check);
const wrong = await check((name) => import(pathToFileURL(input.web + "/" + name).href), input.logs);
process.stdout.write(JSON.stringify(wrong));
"""


async def finished_log(product: Product, name: str, task: str, **body: Any) -> dict[str, Any]:
    """Run a task and return what a stream had of it, and what is stored."""
    run_id = (await product.client.post("/v1/runs", json={"task": task, **body})).json()["id"]
    live = []
    async for frame in product.frames(f"/v1/runs/{run_id}/events"):
        live.append({key: value for key, value in frame.items() if not key.startswith("_")})
        if frame["type"] == "approval.requested":
            approval = frame["data"]["approval"]["id"]
            await product.client.post(
                f"/v1/approvals/{approval}/decision", json={"type": "approve"}
            )
    return {"name": name, "live": live, "stored": await product.events(run_id)}


async def check_in_node(logs: list[dict[str, Any]]) -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: install Node 20 or later; with a browser the same is checked there")
    process = await asyncio.create_subprocess_exec(
        node,
        "--input-type=module",
        "--eval",
        NODE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told = {"check": CHECK, "web": str(WEB), "logs": logs}
    out, errors = await process.communicate(json.dumps(told).encode())
    assert process.returncode == 0, errors.decode()
    return list(json.loads(out))


async def test_live_is_replay_of_a_run_without_a_model(tmp_path: Path) -> None:
    """Whatever was cut, sent twice or came as deltas: the same log comes to the same."""
    async with running(tmp_path / "data", knowledge_dir=tmp_path, sandbox="off") as product:
        log = await finished_log(product, "offline", "What is 17% of 80?")
    assert await check_in_node([log]) == []


@pytest.mark.asyncio(loop_scope="session")
async def test_live_is_replay_of_a_story(story: Begin, visit: Open) -> None:
    """The same in the browser, with two agents side by side, tokens and an approval."""
    async with story(held=False) as (product, _), visit(product) as v:
        log = await finished_log(product, "story", TASK, approvals={"mode": "always"})
        types = {event["type"] for event in log["live"]}
        assert {"message.delta", "approval.resolved", "run.completed"} <= types
        await v.go("/")
        wrong = await v.page.evaluate(
            """([check, logs]) => {
                const app = document.querySelector('script[src$="app.js"]').src;
                return (0, eval)(check)((name) => import(new URL(name, app).href), logs);
            }""".replace("(0, eval)(check)", f"({CHECK})"),
            [None, [log]],
        )
    assert wrong == []
