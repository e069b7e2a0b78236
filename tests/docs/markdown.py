"""Takes a Markdown document apart: fenced blocks, code, links, headings."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import ROOT

DOCUMENTS: Final = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
)

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: what is before it, its language and its text."""

    before: str
    language: str
    text: str


class Curl(NamedTuple):
    """One curl command: method, path without its query, the whole URL, headers and body."""

    method: str
    path: str
    url: str
    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True)
class Document:
    """A document of the repository."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        text = self.text
        return [Block(text[: m.start()].strip(), m[1], m[2]) for m in _FENCE.finditer(text)]

    @property
    def prose(self) -> str:
        """Return the text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def spans(self) -> list[str]:
        """Return what stands in backticks in the prose."""
        return _SPAN.findall(self.prose)

    @property
    def code(self) -> list[str]:
        """Return every line of code: spans of the prose and lines of the blocks."""
        return [*self.spans, *(line for b in self.blocks for line in b.text.splitlines())]

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as a forge makes them."""
        words = (re.sub(r"[^\w\- ]", "", h.lower()) for h in _HEADING.findall(self.prose))
        return {heading.replace(" ", "-") for heading in words}

    def file_block(self, file: str) -> str:
        """Return the Python block that is shown as a file: its name is the last path before it."""
        for block in self.blocks:
            paths = re.findall(r"`([\w/]+\.py)`", block.before)
            if block.language == "python" and paths and paths[-1] == file:
                return block.text
        message = f"{self.name} shows no file {file}"
        raise LookupError(message)

    @property
    def curls(self) -> list[Curl]:
        lines = [line for block in self.blocks for line in block.text.splitlines()]
        return [read_curl(line) for line in lines if line.startswith("curl ")]


def read_curl(line: str) -> Curl:
    """Parse a curl command."""
    words = shlex.split(line)
    headers: dict[str, str] = {}
    body = None
    method = url = ""
    rest = iter(words[1:])
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(rest)
        elif word == "-X":
            method = next(rest)
        elif not word.startswith("-"):
            url = word.partition("localhost:8000")[2]
    path = re.sub(r"(?:run|apr|act)_[^/?]+", "{id}", url.partition("?")[0])
    return Curl(method or ("POST" if body else "GET"), path, url, headers, body)


README: Final = Document(ROOT / "README.md")
ALL: Final = [Document(path) for path in DOCUMENTS]
