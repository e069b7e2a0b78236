"""Reads docstrings from source files without importing them."""

from __future__ import annotations

import ast
import inspect
import warnings
from pathlib import Path
from typing import Final, NamedTuple

MAX_SOURCE_BYTES: Final = 400_000
MAX_NAMES: Final = 40


class Docstring(NamedTuple):
    """What a module, or one of its classes or functions, says about itself."""

    name: str
    """Empty for the module itself."""
    exported: bool
    """Whether the module lists the name in `__all__`."""
    text: str


def read_docstrings(path: Path, *, minimum: int) -> list[Docstring]:
    """Return the module's docstring and those of its public classes and functions."""
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            return []
        with warnings.catch_warnings():
            # Other people's invalid escape sequences.
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError):
        return []
    exported = _exported(tree)
    found = [Docstring("", exported=True, text=_describe_module(tree, exported))]
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = _describe(node)
            if not node.name.startswith("_") and len(text) >= minimum:
                found.append(Docstring(node.name, node.name in exported, text))
    return [one for one in found if one.text]


def _describe(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    own = ast.get_docstring(node) or ""
    if not isinstance(node, ast.ClassDef) or not own:
        return inspect.cleandoc(own)
    methods = [
        f"{member.name}: {documented.split(chr(10), 1)[0]}"
        for member in node.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
        and not member.name.startswith("_")
        and (documented := ast.get_docstring(member))
    ]
    return "\n\n".join([inspect.cleandoc(own), *methods])


def _describe_module(tree: ast.Module, exported: set[str]) -> str:
    own = ast.get_docstring(tree) or ""
    # Modules written in C say little in their Python part; their names still tell what they do.
    named = [name for name in sorted(exported) if not name.isupper() and name[0] != "_"][:MAX_NAMES]
    return f"{own}\n\nIt provides {', '.join(named)}." if own and named else own


def _exported(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.List | ast.Tuple)
            and any(
                isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
            )
        ):
            constants = [one for one in node.value.elts if isinstance(one, ast.Constant)]
            return {str(one.value) for one in constants}
    return set()
