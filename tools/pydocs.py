"""Python's own documents: the reference topics of `pydoc` and the standard library's docstrings."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

from tools.chunks import Chunk, cut_document
from tools.docstrings import Docstring, read_docstrings

DOCS: Final = "https://docs.python.org/3/"
MIN_DOCSTRING: Final = 40
MAX_DEPTH: Final = 3
REFERENCE_WEIGHT: Final = 1.7
"""The language's own explanation of a thing comes before any package that uses it."""

LIBRARY_WEIGHT: Final = 1.1
"""Python's own documents come before what a package says of the same thing."""

_PAGES: Final[dict[str, str]] = {
    "reference/simple_stmts.html": (
        "assert assignment augassign break continue del global import nonlocal pass raise return "
        "yield"
    ),
    "reference/compound_stmts.html": "async class compound else for function if try while with",
    "reference/expressions.html": (
        "atom-identifiers atom-literals attribute-references await binary bitwise booleans calls "
        "comparisons conversions dict exprlists in lambda lists operator-summary power shifting "
        "slicings subscriptions unary"
    ),
    "reference/datamodel.html": (
        "attribute-access callable-types context-managers customization numeric-types objects "
        "sequence-types specialnames types"
    ),
    "reference/executionmodel.html": "dynamic-features exceptions execmodel naming",
    "reference/lexical_analysis.html": (
        "floating id-classes identifiers imaginary integers numbers strings"
    ),
    "library/string.html": "formatstrings",
    "library/pdb.html": "debugger",
    "library/stdtypes.html": (
        "bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects "
        "specialattrs string-methods truth typesfunctions typesmapping typesmethods typesmodules "
        "typesseq typesseq-mutable"
    ),
}
"""Which page of the documentation has which labels."""

_WITHOUT_DOCS: Final = frozenset(
    {"antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo"}
)
_OWN_PAGE: Final = frozenset(
    {
        *("collections.abc", "concurrent.futures", "email.charset", "email.encoders"),
        *("email.errors", "email.generator", "email.header", "email.headerregistry"),
        *("email.message", "email.mime", "email.parser", "email.policy", "email.utils"),
        *("html.entities", "html.parser", "http.client", "http.cookiejar", "http.cookies"),
        *("http.server", "importlib.metadata", "importlib.resources", "logging.config"),
        *("logging.handlers", "multiprocessing.shared_memory", "tkinter.colorchooser"),
        *("tkinter.dnd", "tkinter.font", "tkinter.messagebox", "tkinter.scrolledtext"),
        *("tkinter.ttk", "unittest.mock", "urllib.error", "urllib.parse", "urllib.request"),
        *("urllib.robotparser", "xml.dom.minidom", "xml.dom.pulldom", "xml.sax.handler"),
        *("xml.sax.saxutils", "xml.sax.xmlreader", "xmlrpc.client", "xmlrpc.server"),
    }
)
"""Modules of packages that the documentation gives a page of their own."""


def topic_chunks() -> Iterator[Chunk]:
    """Yield the pieces of the language reference."""
    pages = {topic: page for page, names in _PAGES.items() for topic in names.split()}
    for topic, text in topics.items():
        heading, _, body = text.strip().partition("\n")
        page = pages.get(topic)
        source = f"{DOCS}{page}#{topic}" if page else f"pydoc:{topic}"
        yield from cut_document(
            f"{heading.strip()} (Python reference)", source, body, weight=REFERENCE_WEIGHT
        )


def library_chunks() -> Iterator[Chunk]:
    """Yield the docstrings of the standard library's public modules."""
    root = Path(sysconfig.get_path("stdlib"))
    for name in sorted(sys.stdlib_module_names - _WITHOUT_DOCS):
        if not name.startswith("_"):
            for module, path in _module_files(root, name):
                yield from _module_chunks(module, path)


def _module_files(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    package = root / name
    if (root / f"{name}.py").is_file():
        yield name, root / f"{name}.py"
    elif (package / "__init__.py").is_file():
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            private = any(part.startswith("_") or part in {"test", "tests"} for part in parts)
            if not private and len(parts) <= MAX_DEPTH:
                yield ".".join(parts), path


def _module_chunks(module: str, path: Path) -> Iterator[Chunk]:
    for one in read_docstrings(path, minimum=MIN_DOCSTRING):
        full_name = f"{module}.{one.name}" if one.name else f"{module} module"
        title = f"{full_name} (Python standard library)"
        yield from cut_document(
            title, _library_source(module, one), one.text, weight=LIBRARY_WEIGHT
        )


def _library_source(module: str, one: Docstring) -> str:
    page = module if module in _OWN_PAGE else module.partition(".")[0]
    if module == "xml.etree.ElementTree":
        page = "xml.etree.elementtree"
    documented = one.name and one.exported and page == module
    anchor = f"#{module}.{one.name}" if documented else ""
    return f"{DOCS}library/{page}.html{anchor}"
