"""A table comes with a task, and figures with a chart come back."""

from __future__ import annotations

import base64
import ctypes
import struct
import zlib
from typing import Any, Final

from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.conftest import Start
from tests.integration.team_script import decisions, worker

SANDBOX = "auto"

SALES: Final = "month,region,revenue\n2024-01,North,1200.5\n2024-01,South,800\n2024-02,North,1350\n"
UPLOAD: Final = [{"name": "sales.csv", "content_base64": base64.b64encode(SALES.encode()).decode()}]

CHART: Final = """
import pandas as pd
import matplotlib.pyplot as plt

table = pd.read_csv("sales.csv")
print("mean revenue:", round(table["revenue"].mean(), 2))
table.groupby("month")["revenue"].sum().plot.bar(title="Revenue", ylabel="revenue")
plt.savefig("revenue.png")
"""


async def picture(product: Product, artifact: dict[str, Any]) -> tuple[int, int]:
    """Return width and height of a PNG, of which every row can be read."""
    response = await product.client.get(artifact["url"])
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    data = response.content
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    pixels, place = b"", 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        pixels += data[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += 12 + length
    # Four bytes a pixel, and one in front of each row.
    assert len(zlib.decompress(pixels)) == height * (1 + width * 4)
    return width, height


def by_name(run: dict[str, Any]) -> dict[str, Any]:
    return {artifact["name"]: artifact for artifact in run["result"]["artifacts"]}


async def test_without_a_model_a_table_is_computed_and_drawn(product: Product) -> None:
    run = await product.finished("Summarise the sales and chart revenue by month", files=UPLOAD)
    assert (run["status"], run["engine"], run["degraded"]) == ("completed", "offline", [])
    output = run["result"]["output"]
    assert "revenue, mean: 1116.8333" in output
    assert "| 2024-01 | 2000.5 |" in output
    files = by_name(run)
    assert min(await picture(product, files["revenue_by_month.png"])) > 200
    data = await product.client.get(files["revenue_by_month.csv"]["url"])
    assert "2024-01-01,2000.5\n" in data.text
    assert "`revenue_by_month.png` shows" in output


async def test_a_model_describes_a_table_computes_and_draws(
    start: Start, models: FakeModelServer
) -> None:
    told = "The mean revenue is 1116.83. The bars show 2000.5 for January and 1350 for February."
    models.add(
        *decisions(("analyst", "Analyse it")),
        worker("Analyse it", Reply.calls(("describe_table", {"path": "sales.csv"})), times=1),
        worker("Analyse it", Reply.calls(("run_python", {"code": CHART})), times=1),
        worker("Analyse it", Reply(text=told)),
    )
    async with start(models=models) as product:
        run = await product.finished("Analyse the sales", files=UPLOAD)
        assert (run["status"], run["engine"]) == ("completed", "model")
        assert run["result"]["output"] == told
        assert set(by_name(run)) == {"revenue.png", "revenue.csv"}
        assert min(await picture(product, by_name(run)["revenue.png"])) > 200
        events = await product.events(run["id"])
        ended = [e["data"] for e in events if e["type"] == "tool.completed"]
        assert ended[0]["summary"].startswith("sales.csv: CSV with commas, 3 rows, 3 columns")
        assert ended[1]["summary"].startswith("mean revenue: 1116.83\n")
        created = [e["data"]["artifact"]["name"] for e in events if e["type"] == "artifact.created"]
        assert sorted(created) == ["revenue.csv", "revenue.png"]
        # Every agent and the supervisor are told which files there are.
        assert all("<files>\nsales.csv (" in asked.user for asked in models.requests)


async def test_without_a_model_a_failing_program_is_told_with_its_reason(product: Product) -> None:
    code = "open('left.txt', 'w').write('x')\nraise ValueError('no such month')"
    run = await product.finished(f"Run this:\n```python\n{code}\n```")
    assert "The program failed: ValueError: no such month" in run["result"]["output"]
    assert list(by_name(run)) == ["left.txt"]


async def test_the_service_lets_nobody_look_into_it(product: Product) -> None:
    get_dumpable = 3
    assert ctypes.CDLL(None).prctl(get_dumpable, 0, 0, 0, 0) == 0


async def test_without_a_sandbox_the_answer_says_what_is_missing(start: Start) -> None:
    async with start(sandbox="off") as product:
        run = await product.finished("Compute the mean of 3, 4 and 8", files=UPLOAD)
        assert "Programs are not run here" in run["result"]["output"]
        assert run["degraded"][0]["reason"].startswith("run_python: Programs are not run here")
        ready = (await product.client.get("/health/ready")).json()
        assert (ready["status"], ready["sandbox"]["backend"]) == ("ok", "off")
        tools = (await product.client.get("/v1/tools")).json()["data"]
        off = {tool["name"] for tool in tools if tool["off_reason"]}
        assert off == {"run_python", "describe_table", "publish_file"}
