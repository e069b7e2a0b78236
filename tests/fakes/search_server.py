"""A search service that speaks Tavily's protocol over real HTTP, and a site of pages to open.

async with FakeWeb() as web:
    web.page("/fastnet", html("Fastnet", "<p>Built in 1904.</p>"))
    web.found(result("Fastnet", web.url("/fastnet"), "A lighthouse."))
    ...
    assert web.searches[0].query == "fastnet"
"""

from __future__ import annotations

import io
import json
from typing import Any, NamedTuple

import orjson
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from tests.fakes.http_target import CountingTarget

SEARCH = "/search"


class Search(NamedTuple):
    """A search as it arrived."""

    query: str
    max_results: int | None
    key: str | None
    """The key it came with."""
    keyless: bool
    """It said that it has none."""
    headers: dict[str, str]


class FakeWeb(CountingTarget):
    """Answers searches as scripted, and pages by their paths; everything is on one loopback address."""

    @property
    def base_url(self) -> str:
        """Return what `TAVILY_BASE_URL` has to be."""
        return f"http://{self.address}"

    @property
    def searches(self) -> list[Search]:
        """Return every search so far."""
        return [
            Search(
                query=(sent := json.loads(one.body))["query"],
                max_results=sent.get("max_results"),
                key=one.headers.get("authorization", "").removeprefix("Bearer ") or None,
                keyless=one.headers.get("x-tavily-access-mode") == "keyless",
                headers=one.headers,
            )
            for one in self.requests
            if one.path == SEARCH
        ]

    @property
    def opened(self) -> list[str]:
        """Return the paths that were opened, with their queries, searches left out."""
        return [
            f"{one.path}?{one.query}" if one.query else one.path
            for one in self.requests
            if one.path != SEARCH
        ]

    def found(self, *results: dict[str, Any]) -> None:
        """Answer searches with these results from now on."""
        body = orjson.dumps({"query": "", "results": list(results), "response_time": 0.1})
        self.reply(SEARCH, headers={"content-type": "application/json"}, body=body)

    def refuse(self, status: int, body: bytes = b'{"detail": {"error": "no"}}') -> None:
        """Answer searches with an error from now on."""
        self.reply(SEARCH, status=status, headers={"content-type": "application/json"}, body=body)

    def page(self, path: str, body: bytes, media_type: str = "text/html; charset=utf-8") -> str:
        """Put a page at a path; return its url."""
        self.reply(path, headers={"content-type": media_type}, body=body)
        return self.url(path)


def result(title: str, url: str, content: str, *, date: str | None = None) -> dict[str, Any]:
    """Return one result as Tavily sends it."""
    more = {"published_date": date} if date else {}
    return {"title": title, "url": url, "content": content, "score": 0.9, **more}


def html(title: str, body: str, *, head: str = "") -> bytes:
    """Return a page of HTML."""
    return (
        f"<!doctype html><html><head><title>{title}</title>{head}</head>"
        f"<body><nav><a href='/menu'>Menu</a></nav><article><h1>{title}</h1>{body}</article></body></html>"
    ).encode()


def pdf(text: str, *, password: str | None = None) -> bytes:
    """Return a PDF of one page that says this; without text it is a page of nothing."""
    writer = PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
    )
    content = DecodedStreamObject()
    content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
    page[NameObject("/Contents")] = content
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    return _written(writer)


def _written(writer: PdfWriter) -> bytes:
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()
