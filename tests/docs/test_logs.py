"""The page of the log has every action that is written, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from domain.events import EventType
from monitoring.journal import Journal
from monitoring.lines import IDS
from tests.conftest import PACKAGES, ROOT

PAGE: Final = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
SPEAKS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
UNTOLD: Final = frozenset({"message.completed", "usage.updated"})
"""Events of which there is no line: what was said, and what a later line sums up."""


@cache
def trees() -> dict[str, ast.Module]:
    """Return the product's files, parsed."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def parsed() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of the product, with its file."""
    for file, tree in trees().items():
        for node in ast.walk(tree):
            yield file, node


def texts(node: ast.expr | None) -> Iterator[str]:
    """Yield the texts that an expression may be."""
    match node:
        case ast.Constant(value=str(text)) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", text):
            yield text  # what reads like a sentence is none: a form has an `action` too
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)


def actions() -> set[str]:
    """Return every action that is written."""
    found: set[str] = set(Journal().actions)
    for _, node in parsed():
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if list(texts(key)) == ["action"]:
                        found.update(texts(value))
            case ast.Call(
                func=ast.Name(id="_log_fields") | ast.Attribute(attr="_own"), args=[*_, last]
            ):
                found.update(texts(last))
    return found


def test_the_page_has_every_action_and_no_other() -> None:
    table = PAGE.partition("## Actions")[2].partition("\n## ")[0]
    rows = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]
    shown = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(shown) == len(set(shown))
    assert set(shown) == actions()


def test_every_line_of_ours_says_what_its_action_is() -> None:
    """A script looks for that, never for a sentence."""
    silent = [
        f"{file}:{node.lineno}"
        for file, node in parsed()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in SPEAKS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "_log"
        and "extra" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not silent


def test_nobody_speaks_another_way() -> None:
    """One way for all: the standard library's `logging`, under names that begin with ours."""
    names = [
        (file, name)
        for file, node in parsed()
        if isinstance(node, ast.Call) and _is(node.func, "logging", "getLogger")
        for name in map(ast.unparse, node.args)
    ]
    others = {"opentelemetry", "procrastinate", "uvicorn.access"}
    odd = [
        (file, name)
        for file, name in names
        if file not in {"monitoring/logs.py", "monitoring/langsmith.py"}
        and not name.startswith("'signalbox.")
        and name.strip("'") not in others
    ]
    assert not odd
    assert not [file for file, node in parsed() if _is(node, "structlog", "get_logger")]


def _is(node: ast.AST, module: str, name: str) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=found), attr=attribute):
            return (found, attribute) == (module, name)
    return False


def test_every_event_has_a_line_but_what_is_named_here() -> None:
    assert Journal().actions | UNTOLD | {"run.created"} == set(EventType.__args__)  # type: ignore[attr-defined]


def test_every_id_is_on_the_page() -> None:
    assert [name for name in IDS if f"`{name}`" not in PAGE] == []
