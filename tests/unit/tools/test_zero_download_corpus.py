"""What can be answered with nothing but an installation of Python and the packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.knowledge import Knowledge


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the module's first search builds the index, once for all tests."""
    return tmp_path_factory.mktemp("index") / "index.db"


@pytest.fixture
def knowledge(index_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Knowledge:
    # A service may be started in any folder, with anything in it.
    (tmp_path / "tools.py").write_text("raise SystemExit('wrong tools')")
    (tmp_path / "sqlite3.py").write_text("raise SystemExit('wrong sqlite3')")
    monkeypatch.chdir(tmp_path)
    return Knowledge(index_path, None)


@pytest.mark.parametrize(
    "query",
    ["context manager python", "what a context manager is in Python", "what is a context manager"],
)
async def test_the_reference_explains_what_a_context_manager_is(
    query: str, knowledge: Knowledge
) -> None:
    first = (await knowledge.search(query))[0]
    assert first.source == "https://docs.python.org/3/reference/datamodel.html#context-managers"
    assert first.snippet.startswith("A *context manager* is an object that defines the runtime")
    assert len(first.snippet) <= 700
    assert first.snippet.endswith((".", "…"))


@pytest.mark.thorough  # whichever process runs one of them builds the index first
@pytest.mark.parametrize(
    ("query", "source"),
    [
        ("How do I read a CSV file in Python?", "https://docs.python.org/3/library/csv.html"),
        ("yield in generators", "https://docs.python.org/3/reference/simple_stmts.html#yield"),
    ],
)
async def test_python_questions_are_answered_from_its_documentation(
    query: str, source: str, knowledge: Knowledge
) -> None:
    assert (await knowledge.search(query))[0].source == source


@pytest.mark.thorough
@pytest.mark.parametrize("query", ["LangGraph StateGraph", "What is LangGraph?"])
async def test_an_installed_package_is_answered_from_its_own_documents(
    query: str, knowledge: Knowledge
) -> None:
    first = (await knowledge.search(query))[0]
    assert "langgraph" in first.title.lower()
    assert first.source.startswith("https://")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "query", ["capital of Australia", "What is the capital of Australia?", "president of France"]
)
async def test_what_no_document_answers_finds_nothing(query: str, knowledge: Knowledge) -> None:
    assert await knowledge.search(query) == []
