"""Collects the documents of the index; started as a process of its own, so standard library only.

`python -m tools.corpus --index FILE --fingerprint TEXT [--folder FOLDER]` writes an index file.
Without a folder the documents are those every installation has: the Python reference that `pydoc`
shows, the docstrings of the standard library, and the packages that are installed.
"""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tools.chunks import Chunk, cut_document
from tools.index import write_index
from tools.installed import package_chunks
from tools.pydocs import library_chunks, topic_chunks

MAX_FILES: Final = 5_000
MAX_FILE_BYTES: Final = 1024**2
MAX_TITLE_CHARS: Final = 100
_ENDINGS: Final = (".md", ".rst", ".txt")


class Document(NamedTuple):
    """A file of the knowledge folder."""

    path: Path
    name: str
    """The path below the folder, with `/`."""
    size: int
    modified_ns: int


def folder_documents(folder: Path) -> list[Document]:
    """Return the documents below a folder; hidden files and links that lead out are left out."""
    found: list[Document] = []
    root = folder.resolve()
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            document = _document(root, Path(parent, name))
            if document is not None:
                found.append(document)
            if len(found) >= MAX_FILES:
                return found
    return found


def _document(root: Path, path: Path) -> Document | None:
    if path.name.startswith(".") or not path.name.lower().endswith(_ENDINGS):
        return None
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except (OSError, RuntimeError):
        return None
    inside = real.is_relative_to(root)
    if not inside or not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        return None
    name = path.relative_to(root).as_posix()
    return Document(real, name, status.st_size, status.st_mtime_ns)


def folder_chunks(folder: Path) -> Iterator[Chunk]:
    """Yield the pieces of an operator's own documents."""
    for document in folder_documents(folder):
        try:
            data = document.path.read_bytes()[:MAX_FILE_BYTES]
        except OSError:
            # Gone since it was listed; the next fingerprint will differ.
            continue
        if b"\0" not in data:
            text = data.decode("utf-8", "replace")
            yield from cut_document(_title(text, document), document.name, text)


def _title(text: str, document: Document) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip(" #=*-~")), "")
    is_heading = document.path.suffix.lower() != ".txt" and len(first) <= MAX_TITLE_CHARS
    return first.strip("#*_` ") if is_heading else document.path.stem.replace("-", " ")


def python_chunks() -> Iterator[Chunk]:
    """Yield the pieces of the documents that every installation has."""
    yield from topic_chunks()
    yield from library_chunks()
    yield from package_chunks()


def main() -> None:
    """Write an index file from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.corpus", description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="a new file to write")
    parser.add_argument("--fingerprint", required=True, help="what the index is built from")
    parser.add_argument("--folder", type=Path, help="documents to index instead of Python's")
    arguments = parser.parse_args()
    # The service answers requests on the same processors meanwhile.
    os.nice(5)
    chunks = folder_chunks(arguments.folder) if arguments.folder else python_chunks()
    write_index(arguments.index, chunks, arguments.fingerprint)


if __name__ == "__main__":
    main()
