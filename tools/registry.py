"""Every tool the service has, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from langchain_core.tools import BaseTool

from domain.errors import ConfigurationError
from domain.tool import Effect
from tools.files import make_list_files, make_read_file, make_write_file
from tools.knowledge import Knowledge
from tools.python import make_run_python
from tools.search import make_search_documents

FILE_SECONDS: Final = 10.0
CODE_SECONDS: Final = 20.0
SEARCH_SECONDS: Final = 130.0
"""The first search builds the index, which may take 120 seconds."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool as a model calls it, and what the service has to know about it."""

    tool: BaseTool
    effect: Effect
    timeout_seconds: float
    off_reason: str | None = None
    """Why the tool refuses every call here; `None` where it works."""

    @property
    def name(self) -> str:
        """Return the name by which agents ask for the tool."""
        return self.tool.name


class Toolbox:
    """The tools of one service."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                message = f"Two tools are named {tool.name!r}; rename one of them."
                raise ConfigurationError(message)
            self._tools[tool.name] = tool

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all tools, in the order they were given."""
        return tuple(self._tools)

    def get(self, name: str) -> Tool:
        """Return the tool of that name; refuse an unknown name with the known ones."""
        if name not in self._tools:
            known = ", ".join(self._tools) or "none"
            message = f"There is no tool {name!r}; the tools are: {known}."
            raise ConfigurationError(message)
        return self._tools[name]

    def select(self, names: Sequence[str]) -> list[Tool]:
        """Return the tools of these names, in their order."""
        return [self.get(name) for name in names]


def build_toolbox(*, knowledge: Knowledge, code_off_reason: str | None) -> Toolbox:
    """Return every tool the service ships; with `code_off_reason` programs are not run."""
    return Toolbox(
        [
            Tool(
                tool=make_search_documents(knowledge),
                effect="none",
                timeout_seconds=SEARCH_SECONDS,
            ),
            Tool(
                tool=make_run_python(off_reason=code_off_reason),
                effect="workspace",
                timeout_seconds=CODE_SECONDS,
                off_reason=code_off_reason,
            ),
            Tool(tool=make_read_file(), effect="none", timeout_seconds=FILE_SECONDS),
            Tool(tool=make_write_file(), effect="workspace", timeout_seconds=FILE_SECONDS),
            Tool(tool=make_list_files(), effect="none", timeout_seconds=FILE_SECONDS),
        ]
    )
