"""How the page is served: to browsers, below any path, kept for good, and in nobody's way."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.http.pages import FILES
from tests.fakes.running import Product, running
from tests.integration.problem_checks import assert_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = (
    "/",
    "/inbox",
    "/runs",
    "/runs/run_0",
    "/runs/run_0/trace",
    "/runs/run_0/compare",
    "/costs",
    "/settings",
)
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    """Run one product for all tests of this file: nothing here changes it."""
    folder = tmp_path_factory.mktemp("pages")
    async with running(folder / "data", knowledge_dir=folder, sandbox="off") as product:
        yield product


async def document(product: Product, path: str = "/") -> str:
    answer = await product.client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def files_of(text: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*/web/[^"]+|[^"]*web/[^"]+)"', text)


async def test_every_address_of_the_page_has_it_and_its_files(product: Product) -> None:
    """Found from where the page lies, so that a proxy may serve it below a path of its own."""
    for path in PAGES:
        answer = await product.client.get(path, headers=HTML)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        named = files_of(answer.text)
        assert any(name.endswith("/app.js") for name in named)
        for name in named:
            file = await product.client.get(str(answer.url.join(name).raw_path.decode()))
            assert file.status_code == 200, (path, name)
    deep = await document(product, "/runs/run_0")
    assert 'src="../web/' in deep
    assert 'data-base="../"' in deep


async def test_nothing_runs_but_the_files_of_the_page(product: Product) -> None:
    answer = await product.client.get("/", headers=HTML)
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", answer.text)


async def test_a_browser_keeps_the_files_for_good_and_asks_for_the_page_again(
    product: Product,
) -> None:
    page = await product.client.get("/", headers=HTML)
    assert page.headers["cache-control"] == "no-cache"
    same = await product.client.get("/", headers={**HTML, "if-none-match": page.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    name = "/" + next(name for name in files_of(page.text) if name.endswith("app.js")).removeprefix(
        "./"
    )
    file = await product.client.get(name, headers={"accept-encoding": "identity"})
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-encoding" not in file.headers
    packed = await product.client.get(name, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == file.content
    again = await product.client.get(name, headers={"if-none-match": packed.headers["etag"]})
    assert again.status_code == 304
    # Of another version of the server, during an upgrade: what there is now, and not for good.
    other = await product.client.get(f"{FILES}0123456789abcdef/app.js")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


async def test_programs_that_read_are_told_what_this_is(product: Product) -> None:
    """In the shape of llmstxt.org; every link leads to something here, and every route that is named is one."""
    told = await product.client.get("/llms.txt")
    assert (told.status_code, told.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    title, _, summary = told.text.splitlines()[:3]
    assert (title[:2], summary[:2]) == ("# ", "> ")
    links = re.findall(r"\[[^]]+]\(([^)]+)\)", told.text)
    assert len(links) >= 7
    for link in links:
        assert (await product.client.get(link)).status_code == 200, link
    described = (await product.client.get("/openapi.json")).json()["paths"]
    for path in re.findall(r"`(?:GET|POST) (/[^`?]+)", told.text):
        assert re.sub(r"\{\w+}", "{}", path) in {re.sub(r"\{\w+}", "{}", p) for p in described}


async def test_what_is_not_there_is_a_problem(product: Product) -> None:
    for path in (
        f"{FILES}x/nothing.js",
        f"{FILES}x/vendor.sh",
        f"{FILES}x/../api.py",
        f"{FILES}x/%2e%2e/%2e%2e/api.py",
        f"{FILES}x/index.html",
        "/runs/run_0/nothing",
        "/favicon.ico",
    ):
        assert_problem(await product.client.get(path, headers=HTML), "not-found")
    assert_problem(await product.client.post("/runs", json={}), "method-not-allowed")


async def test_who_asks_for_json_is_told_that_there_is_no_such_route(product: Product) -> None:
    """`/runs` is a slip for `/v1/runs`: a page would be no help."""
    for path in PAGES:
        answer = await product.client.get(path, headers={"accept": "application/json"})
        assert_problem(answer, "not-found")
    assert (await product.client.get("/", headers={"accept": "*/*"})).status_code == 200
    head = await product.client.head("/", headers=HTML)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


async def test_the_interface_is_as_before(product: Product) -> None:
    described = (await product.client.get("/openapi.json")).json()["paths"]
    assert not [path for path in described if path == "/" or path.startswith(("/web", "/runs"))]
    runs = await product.client.get("/v1/runs", headers=HTML)
    assert runs.headers["content-type"] == "application/json"
