"""Reads a page in a process of its own: what a stranger wrote may hang a parser, or make it eat all memory.

`python -I page_program.py` takes a line of JSON (`kind`: `html` or `pdf`, `url`, `charset`) and after it
the page on standard input, and writes JSON on standard output. It imports nothing of the service's.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import suppress
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urljoin

MAX_TEXT_CHARS: Final = 400_000
MAX_LINKS: Final = 500
MAX_URL_CHARS: Final = 2_000
MAX_PDF_PAGES: Final = 300
CPU_SECONDS: Final = 15
MEMORY_BYTES: Final = 1024**3


def main() -> None:
    """Read a page from standard input and write what it says to standard output."""
    _limit()
    asked = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    found = _read_pdf(data) if asked["kind"] == "pdf" else _read_html(data, asked)
    found["more"] = len(found["text"]) > MAX_TEXT_CHARS
    found["text"] = found["text"][:MAX_TEXT_CHARS]
    json.dump(found, sys.stdout)


def _limit() -> None:
    try:
        import resource  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    wanted = {
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in wanted.items():
        # macOS knows some of them and refuses others.
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (limit, limit))


class _Links(HTMLParser):
    """Collects where a page leads, and what tells what kind of page it is."""

    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = url
        self.links: dict[str, None] = {}
        self.password = False
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        href = given.get("href")
        if tag == "base" and href:
            with suppress(ValueError):
                self.base = urljoin(self.base, href)
        elif tag in {"a", "area"} and href and len(self.links) < MAX_LINKS:
            with suppress(ValueError):
                url = urljoin(self.base, href.strip()).partition("#")[0]
                if url.startswith(("http://", "https://")) and len(url) <= MAX_URL_CHARS:
                    self.links[url] = None
        elif tag == "input" and (given.get("type") or "").lower() == "password":
            self.password = True
        elif tag == "script":
            self.scripts += 1


def _read_html(data: bytes, asked: dict[str, Any]) -> dict[str, Any]:
    import trafilatura  # noqa: PLC0415 - only what the page needs is loaded

    html: bytes | str = data
    with suppress(LookupError, TypeError):
        html = data.decode(asked["charset"], "replace")
    links = _Links(asked["url"])
    with suppress(Exception):  # Half a page has links, too.
        links.feed(html if isinstance(html, str) else html.decode("utf-8", "replace"))
    document: Any = trafilatura.bare_extraction(
        html, url=asked["url"], with_metadata=True, include_comments=False
    )
    text = (document.text if document else "") or trafilatura.html2txt(html)
    return {
        "title": (document.title if document else "") or "",
        "date": (document.date if document else "") or "",
        "text": text or "",
        "links": list(links.links),
        "password": links.password,
        "scripts": links.scripts,
    }


def _read_pdf(data: bytes) -> dict[str, Any]:
    from pypdf import PdfReader  # noqa: PLC0415 - only what the page needs is loaded

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"text": "", "locked": True}
    texts: list[str] = []
    links: dict[str, None] = {}
    for number, page in enumerate(reader.pages):
        if number == MAX_PDF_PAGES or sum(map(len, texts)) > MAX_TEXT_CHARS:
            break
        texts.append(page.extract_text().strip())
        for url in _pdf_links(page):
            if len(links) < MAX_LINKS:
                links[url] = None
    about: Any = None
    with suppress(Exception):  # What a file says about itself is often broken, and not needed.
        about = reader.metadata
    title, date = "", ""
    with suppress(Exception):
        title = str((about and about.title) or "")
        date = about.creation_date.date().isoformat() if about and about.creation_date else ""
    text = "\n\n".join(filter(None, texts))
    return {"title": title, "date": date, "text": text, "links": list(links)}


def _pdf_links(page: Any) -> list[str]:  # noqa: ANN401 - pypdf's page
    found: list[str] = []
    with suppress(Exception):
        for annotation in page.get("/Annots") or ():
            action: Any = annotation.get_object().get("/A")
            url = str(action.get_object().get("/URI") or "") if action else ""
            if url.startswith(("http://", "https://")) and len(url) <= MAX_URL_CHARS:
                found.append(url)
    return found


if __name__ == "__main__":
    main()
