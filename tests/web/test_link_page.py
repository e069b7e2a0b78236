"""The page of an approval's link, as somebody on a phone sees it: it decides, in light and dark, without a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import running
from tests.integration.test_approval_links import PUBLIC, one_post, path_of, question
from tests.web.conftest import Open
from tests.web.looking import look

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}


async def test_a_link_is_decided_on_a_phone(visit: Open, tmp_path: Path) -> None:
    async with FakeModelServer() as models, CountingTarget() as target:
        models.add(*one_post(target, '{"order": 7}'))
        values: dict[str, Any] = {
            "OPENAI_BASE_URL": models.base_url,
            "knowledge_dir": tmp_path,
            "sandbox": "off",
            "validation": "off",
            "public_url": PUBLIC,
            "http_allow": target.address,
        }
        async with running(tmp_path / "data", **values) as product:
            approval = await question(product, target)
            async with visit(product, **PHONE, color_scheme="dark") as v:
                await v.go(path_of(approval))
                await expect(v.page.get_by_text('{"order": 7}')).to_be_visible()
                await look(v, "dark-link", whole=True)
            async with visit(product, **PHONE) as v:
                await v.go(path_of(approval))
                await look(v, "light-link", whole=True)
                await v.page.get_by_role("button", name="Approve").click()
                await expect(v.page.get_by_role("heading", level=1)).to_have_text("Approved")
                await look(v, "light-link-decided")
                run = await product.ended(approval["run_id"])
            assert run["status"] == "completed"
            assert target.count("/orders") == 1
