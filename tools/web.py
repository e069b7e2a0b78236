"""The tool that searches the web, and where that cannot be done the local documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field

from domain.agent import Citation
from domain.caching import NO_CACHE, Piece, Work, WorkCache, reused
from domain.run import RunContext
from tools.chunks import cut_at_sentence
from tools.knowledge import Knowledge
from tools.listing import DATE_CHARS, listed, one_line, plain
from tools.openable import note_urls, spelled
from tools.sources import keep_text
from tools.tavily import TavilySearch, WebHit

RESULTS: Final = 5
MAX_RESULTS: Final = 10
MAX_QUERY_CHARS: Final = 400
SNIPPET_CHARS: Final = 700
URL_CHARS: Final = 500
"""A longer url is not shown: ten results have to fit into one answer."""

NOT_SET: Final = (
    "no TAVILY_API_KEY is set, and SIGNALBOX_SEARCH_KEYLESS=false keeps it from doing without."
)
NOTHING_FOUND: Final = "The web search found nothing. Try other words, or fewer."
NOT_SEARCHED: Final = "The web was not searched"
WEB_OFF: Final = "The web is not searched on this server, only the local documents are."
"""What the tool's description says where there is no web search."""


class WebSearchArgs(BaseModel):
    """The arguments of `web_search`."""

    query: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARS,
        description=f"The few words a good page would contain; at most {MAX_QUERY_CHARS} characters.",
    )
    max_results: int = Field(
        default=RESULTS, ge=1, le=MAX_RESULTS, description=f"1 to {MAX_RESULTS}."
    )


class _Found(NamedTuple):
    """What one search came to."""

    citations: list[Citation]
    notes: list[str]
    """Sentences for the model about what was not searched."""


class WebSearch:
    """Searches the web while it can be reached, then the local documents."""

    def __init__(self, knowledge: Knowledge, tavily: TavilySearch | None = None) -> None:
        self._knowledge: Final = knowledge
        self._tavily: Final = tavily if tavily is not None and tavily.modes else None

    @property
    def available(self) -> bool:
        """Return whether the web is asked at all."""
        return self._tavily is not None

    async def find(self, query: str, limit: int) -> _Found:
        """Return at most `limit` sources, numbered from 1 on."""
        whys = [NOT_SET]
        if self._tavily is not None:
            searched = await self._tavily.search(query, limit)
            whys = searched.notes
            if searched.hits is not None:
                notes = [f"A first search failed: {why}" for why in whys]
                return _Found(_cited(searched.hits), notes)
        local = [
            WebHit(title=hit.title, url=hit.source, text=hit.snippet, date="")
            for hit in await self._knowledge.search(query, limit)
        ]
        notes = [f"{NOT_SEARCHED}: {why}" for why in whys]
        if local:
            notes.append("These excerpts are from the local documents.")
        else:
            notes.append("No local document answers this query.")
        return _Found([_citation(number, hit) for number, hit in enumerate(local, 1)], notes)

    async def aclose(self) -> None:
        """Close the connections to the search service."""
        if self._tavily is not None:
            await self._tavily.aclose()


def make_web_search(search: WebSearch, cache: WorkCache = NO_CACHE) -> BaseTool:
    """Return the tool `web_search`; the same search is made once."""

    async def web_search(
        query: str, runtime: ToolRuntime[RunContext, Any], max_results: int = RESULTS
    ) -> tuple[str, dict[str, Any]]:
        async def find() -> Work:
            found = await search.find(query, max_results)
            # What was found in the place of the web is there again at once, and may be better next time.
            return Work(found._asdict(), keep=not found.notes, web=True)

        about = {"tool": "web_search", "query": query, "most": max_results}
        piece = Piece(kind="tool", about=about, web=True)
        had = await cache.cached(runtime.context, piece, find)
        found = _Found(**had.value)
        citations = await keep_cited(runtime.context.sources, found.citations)
        said = [*found.notes, listed(citations)] if citations else found.notes or [NOTHING_FOUND]
        return "\n".join(said), {"citations": citations, **reused(had)}

    about = (
        "Search the web. Returns numbered results with title, url, date where known, and a snippet; "
        "open a result with fetch_url before you rely on it."
    )
    return StructuredTool.from_function(
        coroutine=web_search,
        name="web_search",
        description=about if search.available else f"{about} {WEB_OFF}",
        args_schema=WebSearchArgs,
        response_format="content_and_artifact",
    )


async def keep_cited(folder: Path, citations: Sequence[Citation]) -> list[Citation]:
    """Keep what is shown of each source and note its url; return the sources with the hash of that."""
    return await asyncio.to_thread(_keep, folder, citations)


def _keep(folder: Path, citations: Sequence[Citation]) -> list[Citation]:
    kept: list[Citation] = []
    for one in citations:
        shown = "\n".join(filter(None, (one["title"], one.get("date"), one["snippet"])))
        sha256 = keep_text(folder, shown)
        kept.append({**one, "sha256": sha256} if sha256 else one)
    note_urls(folder, [one["source"] for one in citations])
    return kept


def _cited(hits: Sequence[WebHit]) -> list[Citation]:
    """Return the hits that can be opened, numbered."""
    usable = [(hit, spelled(hit.url)) for hit in hits]
    shown = [hit._replace(url=url) for hit, url in usable if url and len(url) <= URL_CHARS]
    return [_citation(number, hit) for number, hit in enumerate(shown, 1)]


def _citation(number: int, hit: WebHit) -> Citation:
    snippet = cut_at_sentence(plain(hit.text).strip(), SNIPPET_CHARS)
    source = one_line(hit.url, URL_CHARS)
    citation = Citation(
        number=number, title=one_line(hit.title) or source, source=source, snippet=snippet
    )
    date = one_line(hit.date, DATE_CHARS)
    return {**citation, "date": date} if date else citation
