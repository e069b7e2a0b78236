"""What the documents name exists: commands, routes, settings, tests, files, links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Final

import click
import pytest
from fastapi.routing import APIRoute

from service.agent_settings import is_agent_url
from service.cli import cli
from service.commands.env_example import render_env_example
from service.http.application import ROUTERS
from service.http.pages import is_page
from service.settings import Settings
from service.store.links import PATH
from tests.conftest import ROOT
from tests.docs.markdown import ALL, README, Document

MAX_README_LINES: Final = 200
MAX_RECORD_LINES: Final = 35
MAX_ARCHITECTURE_LINES: Final = 120

EXAMPLES: Final = frozenset(
    {
        "agents/translator.py",
        "tools/departures.py",
        *(f"my_agents/{name}.py" for name in ("glossary", "echo", "greeter")),
    }
)
"""Files that a reader makes."""

OF_LIBRARIES: Final = frozenset({"LANGGRAPH_STRICT_MSGPACK", "ANTHROPIC_API_KEY", "SIGNALBOX_URL"})
"""Variables that libraries read themselves; the last one is our client's."""

_SETTING: Final = re.compile(
    r"\b(?:SIGNALBOX|OPENAI|TAVILY|LANGSMITH|LANGGRAPH|ANTHROPIC)_[A-Z_]*[A-Z]\b(_\*)?"
)
_ROUTE: Final = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}.-]+)")
_TEST: Final = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))")
_FILE: Final = re.compile(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|md|yml|toml|txt|in|ini|example)")

documents = pytest.mark.parametrize("document", ALL, ids=lambda d: d.name)


@cache
def routes() -> set[str]:
    """Return `METHOD /path/{}` of every route but those of pages, which nobody looks up."""
    return {
        f"{method} {bare(route.path_format)}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        and not route.path.startswith(PATH)
        and not is_page(route.path)
        for method in route.methods or ()
    }


# Not the package, the service (with another command in it) or the namespace of that name.
_COMMAND: Final = (
    r"(?:^|(?<!from)(?<!--namespace)[ /])signalbox (?!signalbox |python )([a-z]+)(?: ([a-z]+))?"
)


def bare(path: str) -> str:
    """Return a path without the names of its parameters."""
    return re.sub(r"\{\w+\}", "{}", path).rstrip("/") or "/"


@cache
def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))


def variables() -> set[str]:
    return {
        str(field.validation_alias or f"SIGNALBOX_{name}").upper()
        for name, field in Settings.model_fields.items()
    }


@documents
def test_every_make_target_exists(document: Document) -> None:
    named = {m[1] for line in document.code for m in re.finditer(r"\bmake ([a-z][a-z-]*)", line)}
    assert named <= make_targets()


def within(group: click.Group, name: str) -> click.Command | None:
    """Return a command of a group; that of agents has one for each of their names."""
    return group.get_command(click.Context(group), name)


@documents
def test_every_subcommand_exists(document: Document) -> None:
    for line in document.code:
        for match in re.finditer(_COMMAND, line):
            command = cli.commands[match[1]]
            if isinstance(command, click.Group) and (
                match[2] or not command.invoke_without_command
            ):
                assert within(command, match[2]), line


@documents
def test_every_option_of_a_subcommand_exists(document: Document) -> None:
    for line in document.code:
        match = re.search(rf"{_COMMAND}.*? (--[a-z-]+)", line)
        if match:
            command = cli.commands[match[1]]
            if isinstance(command, click.Group) and match[2]:
                found = within(command, match[2])
                assert found, line
                command = found
            options = {o for p in command.params for o in [*p.opts, *p.secondary_opts]}
            assert match[3] in options, line


@documents
def test_every_route_exists(document: Document) -> None:
    named = {f"{m[1]} {bare(m[2])}" for line in document.code for m in _ROUTE.finditer(line)}
    named |= {f"{curl.method} {bare(curl.path)}" for curl in document.curls}
    assert named <= routes()


def test_the_readme_lists_every_route() -> None:
    assert routes() <= {
        f"{m[1]} {bare(m[2])}" for span in README.spans for m in _ROUTE.finditer(span)
    }


@documents
def test_every_setting_exists(document: Document) -> None:
    for match in _SETTING.finditer(document.text):
        name = match[0]
        if name.endswith("_*"):
            assert any(known.startswith(name[:-1]) for known in variables()), name
        else:
            assert name in variables() | OF_LIBRARIES or is_agent_url(name), name


def tests_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


tests_of.__test__ = False  # type: ignore[attr-defined]  # what tests a file has, not a test


@documents
def test_every_test_that_shows_a_promise_exists(document: Document) -> None:
    for file, name in _TEST.findall(document.text):
        assert name in tests_of(file), f"{file}::{name}"


def test_every_promise_of_the_readme_names_a_test() -> None:
    section = README.text.partition("## What it promises")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 7
    assert all(_TEST.search(row) for row in rows), rows


def files_named(document: Document) -> Iterator[str]:
    for span in document.spans:
        yield from _FILE.findall(span.partition("::")[0])


@documents
def test_every_file_exists(document: Document) -> None:
    named = {name for name in files_named(document) if "<" not in name} - EXAMPLES
    assert not {name for name in named if not (ROOT / name).is_file()}


@documents
def test_every_link_of_the_repository_leads_somewhere(document: Document) -> None:
    for link in document.links:
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (document.path.parent / place).resolve() if place else document.path
        assert target.exists(), link
        if anchor:
            assert anchor in Document(target).anchors, link


def test_the_documents_keep_to_their_length() -> None:
    limits = {README.name: MAX_README_LINES, "docs/architecture.md": MAX_ARCHITECTURE_LINES}
    for document in ALL:
        limit = limits.get(document.name)
        if document.name.startswith("docs/decisions/"):
            limit = MAX_RECORD_LINES
        length = len(document.text.splitlines())
        assert limit is None or length <= limit, f"{document.name}: {length} lines of {limit}"


def test_every_decision_is_numbered_and_listed() -> None:
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    index = Document(ROOT / "docs" / "decisions" / "README.md")
    assert index.links == records
    assert [name[:4] for name in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    for name in records:
        title = Document(ROOT / "docs" / "decisions" / name).text.partition("\n")[0]
        assert f"[{title.removeprefix('# ')}]({name})" in index.text


def test_the_example_of_settings_is_made_from_them() -> None:
    """`make env-example` writes it."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == render_env_example()
