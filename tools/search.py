"""The tool that searches the local documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from domain.agent import Citation
from tools.knowledge import Hit, Knowledge
from tools.limits import cut_result

NOTHING_FOUND: Final = "No local document answers this query."


class SearchDocumentsArgs(BaseModel):
    """The arguments of `search_documents`."""

    query: str = Field(description="What to look for, in a few words; at most 500 characters.")


def make_search_documents(knowledge: Knowledge) -> BaseTool:
    """Return the tool `search_documents` over these documents."""

    async def search_documents(query: str) -> tuple[str, dict[str, list[Citation]]]:
        citations = _cited(await knowledge.search(query))
        return _listed(citations), {"citations": citations}

    return StructuredTool.from_function(
        coroutine=search_documents,
        name="search_documents",
        description="Search the local documents and return numbered excerpts with their sources.",
        args_schema=SearchDocumentsArgs,
        response_format="content_and_artifact",
    )


def _cited(hits: Sequence[Hit]) -> list[Citation]:
    return [
        Citation(number=number, title=hit.title, source=hit.source, snippet=hit.snippet)
        for number, hit in enumerate(hits, 1)
    ]


def _listed(citations: Sequence[Citation]) -> str:
    blocks = [
        f"[{one['number']}] {one['title']} — {one['source']}\n{one['snippet']}" for one in citations
    ]
    return cut_result("\n\n".join(blocks)) or NOTHING_FOUND
