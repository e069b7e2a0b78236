"""docs/llms.txt, in the shape of llmstxt.org: `python -m tests.docs.llms` writes it from the index of the documents."""

from __future__ import annotations

import re
from typing import Final

from tests.conftest import ROOT

INDEX: Final = ROOT / "docs" / "README.md"
PAGE: Final = ROOT / "docs" / "llms.txt"
ENTRY: Final = re.compile(
    r"^- \[(?P<title>[^]]+)]\((?P<file>[^)]+)\): (?P<about>.+)$", re.MULTILINE
)

HEAD: Final = """\
# Signalbox

> A server that takes a task over HTTP, lets a supervisor set a team of AI agents to work on it in parallel, and
> returns one answer with its sources. Python, LangGraph; SQLite in one process, or Postgres and many.

A run is created by `POST /v1/runs` with `{"task": "…"}`; `?wait=60` waits for its end. A running server describes
everything at `/openapi.json`. Without a key for a model an offline planner works, so everything can be tried.
Each link is relative to this file.
"""


def render() -> str:
    """Return the file: the head, then a section for each kind of page with its links."""
    kinds = INDEX.read_text(encoding="utf-8").split("\n## ")[1:]
    parts = [HEAD]
    for kind in kinds:
        entries = [
            f"- [{found['title']}]({found['file']}): {found['about']}"
            for found in ENTRY.finditer(kind)
        ]
        if entries:
            parts.append(f"## {kind.partition(chr(10))[0]}\n\n" + "\n".join(entries) + "\n")
    parts.append(
        "## Optional\n\n- [Examples](../examples/README.md): short programs, each run by a test\n"
    )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
