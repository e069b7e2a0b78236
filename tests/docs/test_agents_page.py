"""The tool that docs/agents.md shows is one that agents can call."""

from __future__ import annotations

import re
from typing import Any

from tests.conftest import ROOT
from tests.docs.markdown import Document
from tools.registry import Tool, Toolbox

PAGE = Document(ROOT / "docs" / "agents.md")


async def test_the_tool_of_the_page_is_listed_as_the_page_says() -> None:
    [block] = [block for block in PAGE.blocks if "def make_departures" in block.text]
    names: dict[str, Any] = {"Tool": Tool}
    exec(compile(block.text, "tools/departures.py", "exec"), names)
    [line] = re.findall(r"`(Tool\(tool=.+?)`", PAGE.text)
    tool = eval(line, names)
    toolbox = Toolbox([tool])
    assert toolbox.names == ("departures",)
    said = await toolbox.get("departures").tool.ainvoke({"station": "Cork"})
    assert said == "The next train from Cork leaves at 18:04."
