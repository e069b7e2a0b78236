"""The documents of installed packages: their READMEs and the docstrings of their public classes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageMetadata
from pathlib import Path, PurePosixPath
from typing import Final

from tools.chunks import Chunk, cut_document
from tools.docstrings import read_docstrings

MAX_README_CHARS: Final = 25_000
MAX_SOURCES: Final = 60
"""Source files read of one package, those nearest to its root first."""

MIN_DOCSTRING: Final = 250
"""Shorter docstrings of packages seldom explain anything on their own."""

README_WEIGHT: Final = 0.7
DOCSTRING_WEIGHT: Final = 0.8
"""A README is written to explain; a docstring reminds those who know."""

_LINKS: Final = ("documentation", "docs", "homepage", "home", "source", "repository", "github")
_PRIVATE: Final = frozenset({"tests", "test", "testing", "vendor", "examples", "benchmarks"})


def package_chunks() -> Iterator[Chunk]:
    """Yield the pieces of every installed package's own documents, each package once."""
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        name = _field(distribution.metadata, "Name")
        if name and name.lower() not in seen:
            seen.add(name.lower())
            yield from _readme_chunks(name, distribution.metadata)
            yield from _docstring_chunks(name, distribution)


def _readme_chunks(name: str, metadata: PackageMetadata) -> Iterator[Chunk]:
    body = _field(metadata, "Description")
    # Very long READMEs end with years of release notes.
    text = f"{_field(metadata, 'Summary')}\n\n{body[:MAX_README_CHARS]}"
    yield from cut_document(
        f"{name} README", _project_url(name, metadata), text, weight=README_WEIGHT
    )


def _docstring_chunks(name: str, distribution: Distribution) -> Iterator[Chunk]:
    source = _project_url(name, distribution.metadata)
    for path in _public_sources(distribution):
        module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for one in read_docstrings(
            Path(str(distribution.locate_file(path))), minimum=MIN_DOCSTRING
        ):
            title = f"{module}.{one.name} ({name})" if one.name else f"{module} ({name})"
            if len(one.text) >= MIN_DOCSTRING:
                yield from cut_document(title, source, one.text, weight=DOCSTRING_WEIGHT)


def _public_sources(distribution: Distribution) -> Sequence[PurePosixPath]:
    public = [path for path in distribution.files or () if _is_public(path)]
    return sorted(public, key=lambda path: (len(path.parts), str(path)))[:MAX_SOURCES]


def _is_public(path: PurePosixPath) -> bool:
    if path.suffix != ".py" or ".." in path.parts:
        return False
    parts = path.with_suffix("").parts
    folders = parts[:-1] if parts[-1] == "__init__" else parts
    return not any(part.startswith("_") or part.lower() in _PRIVATE for part in folders)


def _project_url(name: str, metadata: PackageMetadata) -> str:
    links: dict[str, str] = {}
    for entry in metadata.get_all("Project-URL") or []:
        label, _, url = str(entry).partition(",")
        links[label.strip().lower()] = url.strip()
    candidates = [links.get(label) for label in _LINKS]
    found = next((url for url in [*candidates, _field(metadata, "Home-page")] if url), None)
    return found if found and found.startswith("http") else f"pypi:{name}"


def _field(metadata: PackageMetadata, name: str) -> str:
    # Asking for a field that is not there is deprecated from Python 3.12 on.
    return str(metadata[name]) if name in metadata else ""
