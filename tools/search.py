"""The tool that searches the local documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.agent import Citation
from domain.run import RunContext
from tools.knowledge import Hit, Knowledge
from tools.listing import listed, one_line, plain
from tools.web import keep_cited

NOTHING_FOUND: Final = "No local document answers this query."


class SearchDocumentsArgs(BaseModel):
    """The arguments of `search_documents`."""

    query: str = Field(description="What to look for, in a few words; at most 500 characters.")


def make_search_documents(knowledge: Knowledge) -> BaseTool:
    """Return the tool `search_documents` over these documents."""

    async def search_documents(
        query: str, runtime: ToolRuntime[RunContext, Any]
    ) -> tuple[str, dict[str, list[Citation]]]:
        found = _cited(await knowledge.search(query))
        citations = await keep_cited(runtime.context.sources, found)
        return listed(citations) if citations else NOTHING_FOUND, {"citations": citations}

    return StructuredTool.from_function(
        coroutine=search_documents,
        name="search_documents",
        description="Search the local documents and return numbered excerpts with their sources.",
        args_schema=SearchDocumentsArgs,
        response_format="content_and_artifact",
    )


def _cited(hits: Sequence[Hit]) -> list[Citation]:
    return [
        Citation(
            number=number,
            title=one_line(hit.title),
            source=one_line(hit.source, 500),
            snippet=plain(hit.snippet),
        )
        for number, hit in enumerate(hits, 1)
    ]
