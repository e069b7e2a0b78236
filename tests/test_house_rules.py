"""The rules of the house that no linter knows: sizes, names, documents that keep up with code."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final, NamedTuple, get_args

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from domain.events import EventType
from domain.problems import KINDS

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("agents", "domain", "graph", "monitoring", "service", "signalbox", "tools")

MAX_FILE_LINES: Final = 400
MAX_TEST_FILE_LINES: Final = 800
MAX_FUNCTION_LINES: Final = 60

VAGUE_NAMES: Final = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})

FORBIDDEN_WORDS: Final = {
    "crew": "team",
    "job": "run",
    "orchestrator": "supervisor",
    "session": "thread (of runs) or segment (of one run)",
    "swarm": "team",
}
"""What not to call things, and what to call them instead."""

WORD_EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    (
        "service/dispatch/segments.py",
        name,
    ): "procrastinate's own word, in what overrides its methods"
    for name in ("job", "fetch_job", "listen_for_jobs", "finish_job", "retry_job", "delete_job")
}
"""Names that may use a forbidden word: (file, name) to the reason."""

UNSTORED_EVENTS: Final = frozenset({"message.delta", "message.snapshot", "stream.gap"})

SANDBOX_LIBRARIES: Final = frozenset({"pandas", "pyarrow"})
"""What programs for the sandbox import: its own interpreter has them, the service never does."""

SANDBOX_PROGRAMS: Final = frozenset({"tools/table_program.py", "tools/table_reading.py"})

METAPACKAGES: Final = {"httptools": "uvicorn", "pydantic_monty": "pydantic-monty"}
"""Modules that come with a package which only brings others: its name is the one to ask for."""

GENERATED_FOLDERS: Final = frozenset({"build", "data", "node_modules", "__pycache__"})
TEXT_SUFFIXES: Final = frozenset(
    {
        "",
        ".cfg",
        ".example",
        ".ini",
        ".json",
        ".mako",
        ".md",
        ".py",
        ".sh",
        ".toml",
        ".yaml",
        ".yml",
    }
)

# Both put together from halves, so that this file does not break its own rules.
UNLINKED_TODO: Final = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b(?!.*https?://)")
MACHINE_PATH: Final = re.compile(
    r"(?<![\w.~])(?:/ho" r"me/\w|/Us" r"ers/\w|/wo" r"rk/|C:\\Us" r"ers)"
)


class Function(NamedTuple):
    """A function of the product and how long its body is without the docstring."""

    place: str
    lines: int


class Name(NamedTuple):
    """A name the product gives to something, and where."""

    file: str
    line: int
    text: str


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def product_files() -> list[Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted([*files, *ROOT.glob("*.py")])


def test_files() -> list[Path]:
    return sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])


def text_files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        generated = any(part in GENERATED_FOLDERS or part.endswith(".egg-info") for part in parts)
        if path.suffix not in TEXT_SUFFIXES or path.name == ".env" or hidden or generated:
            continue
        if path.is_file():
            yield path


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


test_files.__test__ = False  # type: ignore[attr-defined]  # a list of files, not a test


def test_no_file_is_too_long():
    limits = dict.fromkeys(product_files(), MAX_FILE_LINES)
    limits |= dict.fromkeys(test_files(), MAX_TEST_FILE_LINES)
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    too_long = [
        f"{relative(path)}: {lengths[path]} lines of {limit}; split it by concept"
        for path, limit in limits.items()
        if lengths[path] > limit
    ]
    assert not too_long, "\n".join(too_long)


def functions() -> Iterator[Function]:
    for path in product_files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body
                if ast.get_docstring(node) is not None:
                    body = body[1:]
                if body:
                    lines = (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1
                    yield Function(f"{relative(path)}:{node.lineno} {node.name}", lines)


def test_no_function_is_too_long():
    too_long = [f"{f.place}: {f.lines} lines" for f in functions() if f.lines > MAX_FUNCTION_LINES]
    assert not too_long, "\n".join(too_long)


def test_a_module_is_named_for_what_it_holds():
    vague = [
        relative(path)
        for path in [*product_files(), *test_files()]
        if {path.stem.strip("_"), *path.relative_to(ROOT).parts[:-1]} & VAGUE_NAMES
    ]
    assert not vague, f"name these for what they hold: {vague}"


def names_in(path: Path) -> Iterator[Name]:
    """Yield the names a file makes up: classes, functions, arguments, fields and constants."""
    file = relative(path)
    for node in ast.walk(parsed(path)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield Name(file, node.lineno, node.name)
            case ast.arg():
                yield Name(file, node.lineno, node.arg)
            case ast.AnnAssign(target=ast.Name(id=text)):
                yield Name(file, node.lineno, text)
            case ast.Assign(targets=targets):
                yield from (
                    Name(file, node.lineno, t.id) for t in targets if isinstance(t, ast.Name)
                )


def words_of(name: str) -> set[str]:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in words}


def test_words_of_a_name_are_found():
    assert words_of("JobStore") == {"job", "store"}
    assert words_of("list_sessions") == {"list", "session"}
    assert words_of("HTTPCrew2") == {"http", "crew"}
    assert not words_of("jobless") & set(FORBIDDEN_WORDS)


def test_one_concept_has_one_name():
    names = [name for path in product_files() for name in names_in(path)]
    wrong = [
        f"{name.file}:{name.line} {name.text}: say {FORBIDDEN_WORDS[word]}, not {word}"
        for name in names
        for word in words_of(name.text) & set(FORBIDDEN_WORDS)
        if (name.file, name.text) not in WORD_EXCEPTIONS
    ]
    stale = WORD_EXCEPTIONS.keys() - {(name.file, name.text) for name in names}
    assert not wrong, "\n".join(wrong)
    assert not stale, f"these exceptions are not needed any more: {stale}"


def variables_of_settings() -> set[str]:
    settings = importlib.import_module("service.settings").Settings
    prefix = settings.model_config["env_prefix"]
    return {
        str(field.validation_alias or f"{prefix}{name}").upper()
        for name, field in settings.model_fields.items()
    }


def test_every_setting_is_in_the_example():
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*(?:<NAME>_URL)?)=", text, re.MULTILINE))
    assert shown == variables_of_settings()


def headings(document: Path) -> dict[str, str]:
    """Return the sections of a document by heading of the second level."""
    _, *sections = re.split(r"^## ", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: body for title, _, body in (section.partition("\n") for section in sections)}


def test_every_error_code_is_documented_with_its_status_and_title():
    sections = headings(ROOT / "docs" / "errors.md")
    assert set(sections) == set(KINDS)
    for code, kind in KINDS.items():
        retry = "may be retried" if kind.retryable else "not retryable"
        first = sections[code].strip().splitlines()[0]
        assert first == f"`{kind.status}` · {kind.title} · {retry}", code


def test_every_event_type_is_documented_with_an_example():
    sections = headings(ROOT / "docs" / "events.md")
    assert set(sections) == set(get_args(EventType)) | UNSTORED_EVENTS
    without = [title for title, body in sections.items() if "```json\n{" not in body]
    assert not without


def test_an_open_point_has_a_link():
    open_points = [
        f"{relative(path)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNLINKED_TODO.search(line)
    ]
    assert not open_points, f"add the issue's URL or do it now: {open_points}"


def test_no_file_names_a_path_of_somebodys_machine():
    places = [
        f"{relative(path)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not places


def requirements(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if re.match(r"[a-z]", line)]
    return {canonicalize_name(requirement.name): requirement for requirement in wanted}


def test_what_the_product_imports_is_a_direct_dependency():
    ours = {*PACKAGES, "api", *sys.stdlib_module_names}
    imported = {
        module.partition(".")[0]
        for path in product_files()
        for node in ast.walk(parsed(path))
        for module in modules_of(node)
        if relative(path) not in SANDBOX_PROGRAMS
        or module.partition(".")[0] not in SANDBOX_LIBRARIES
    }
    direct = requirements("requirements.in").keys()
    providers = packages_distributions()
    indirect = {
        module
        for module in imported - ours
        if METAPACKAGES.get(module) not in direct
        and not {canonicalize_name(name) for name in providers.get(module, [])} & direct
    }
    assert not indirect, f"add them to requirements.in: {sorted(indirect)}"


def modules_of(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []


def test_the_pinned_versions_are_those_that_requirements_in_allows():
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", pinned, re.MULTILINE))
    outdated = [
        f"{name} {versions.get(name)} is not {requirement.specifier}: run `make lock`"
        for name, requirement in requirements("requirements.in").items()
        if name not in versions or not requirement.specifier.contains(versions[name])
    ]
    assert not outdated, "\n".join(outdated)
