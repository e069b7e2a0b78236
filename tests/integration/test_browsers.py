"""What browsers are told with every answer, and what a page of another site can do here: nothing."""

from __future__ import annotations

import pytest

from tests.fakes.running import Product

ELSEWHERE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/nothing", "/health/live", "/openapi.json"])
async def test_no_answer_can_be_framed_sniffed_or_run(product: Product, path: str) -> None:
    answer = await product.client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_each_is_said_once(product: Product) -> None:
    """An artifact has a policy of its own, which is the only one then."""
    run = await product.finished("Draw a chart of 1, 4, 9, 16")
    assert run["result"]["artifacts"], run
    name = run["result"]["artifacts"][0]["name"]
    answer = await product.client.get(f"/v1/runs/{run['id']}/artifacts/{name}")
    assert answer.status_code == 200
    [policy] = answer.headers.get_list("content-security-policy")
    assert "sandbox" in policy
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_the_page_of_the_interface_keeps_its_scripts(product: Product) -> None:
    answer = await product.client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"


async def test_no_other_site_is_let_in(product: Product) -> None:
    """A browser asks first, is told nothing, and sends nothing; what needs no asking is no JSON."""
    asked = {
        **ELSEWHERE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = await product.client.options("/v1/runs", headers=asked)
    assert preflight.status_code == 405
    plain = await product.client.post(
        "/v1/runs",
        content=b'{"task": "Take this over"}',
        headers={**ELSEWHERE, "Content-Type": "text/plain"},
    )
    assert plain.status_code == 415
    read = await product.client.get("/v1/runs", headers=ELSEWHERE)
    for answer in (preflight, plain, read):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (await product.client.get("/v1/runs")).json()["data"] == []
