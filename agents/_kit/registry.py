"""Finds the agents: the modules of this package, and whatever `SIGNALBOX_AGENTS` names."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

import agents
from domain.agent import MAX_TOOLS, TIERS, AgentSpec
from domain.errors import ConfigurationError
from domain.events import SUPERVISOR
from tools.control import ASK_USER

ENTRY_POINT_GROUP: Final = "signalbox.agents"

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MEND: Final = "Mend it, or start its name with an underscore if it is no agent."
_NAME_ONE: Final = "Name a module on the Python path or an existing folder."
_UNINSTALL: Final = "Mend the distribution that has it, or uninstall it."
_RESERVED: Final = frozenset({SUPERVISOR, "ask", "answer", "signalbox"})


class Team:
    """The agents of this service, checked, in a stable order."""

    def __init__(self, specs: Sequence[AgentSpec]) -> None:
        self.specs: Final = tuple(specs)
        self._by_name: Final = {spec.name: spec for spec in specs}
        if not self.routable:
            msg = "No agent can be given work: at least one AgentSpec needs routable=True."
            raise ConfigurationError(msg)

    @property
    def routable(self) -> tuple[AgentSpec, ...]:
        """Return the agents the supervisor may assign work to."""
        return tuple(spec for spec in self.specs if spec.routable)

    def get(self, name: str) -> AgentSpec | None:
        """Return the agent of that name, if there is one."""
        return self._by_name.get(name)


def find_team(outside: Sequence[str] = (), *, tool_names: Iterable[str]) -> Team:
    """Return every agent there is.

    `outside` are modules or packages (`pkg.agents`), folders, or the name of the entry point group
    `signalbox.agents`. Raises `ConfigurationError` with the agent's place and the remedy.
    """
    known = sorted(tool_names)
    specs: dict[str, tuple[AgentSpec, str]] = {}
    for place, spec in _find(outside):
        _check(spec, place, known)
        if spec.name in specs:
            msg = (
                f"Two agents are named {spec.name!r}: {specs[spec.name][1]} and {place}. "
                "Rename one of them."
            )
            raise ConfigurationError(msg)
        specs[spec.name] = (_own_graph(spec), place)
    return Team([spec for spec, _ in specs.values()])


def _find(outside: Sequence[str]) -> Iterator[tuple[str, AgentSpec]]:
    yield from _in_package(agents)
    for name in outside:
        if name == ENTRY_POINT_GROUP:
            yield from _in_entry_points()
        elif Path(name).is_dir():
            yield from _in_folder(Path(name))
        elif "/" in name or name.startswith("."):
            msg = f"SIGNALBOX_AGENTS={name!r} is no folder. Name an existing folder or a module."
            raise ConfigurationError(msg)
        else:
            yield from _in_module(name)


def _in_package(package: ModuleType) -> Iterator[tuple[str, AgentSpec]]:
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        if not info.name.startswith("_"):
            name = f"{package.__name__}.{info.name}"
            spec = importlib.util.find_spec(name)
            file = f"The agent file {spec.origin if spec else name}"
            yield from _exported(_import(name, file, _MEND), required=True)


def _in_module(name: str) -> Iterator[tuple[str, AgentSpec]]:
    module = _import(name, f"SIGNALBOX_AGENTS={name!r}", _NAME_ONE)
    found = list(_exported(module, required=not hasattr(module, "__path__")))
    if hasattr(module, "__path__"):
        found += _in_package(module)
    if not found:
        msg = (
            f"SIGNALBOX_AGENTS={name!r} holds no agent. "
            "Export AGENT = AgentSpec(…) from it or from its modules."
        )
        raise ConfigurationError(msg)
    yield from found


def _in_folder(folder: Path) -> Iterator[tuple[str, AgentSpec]]:
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        name = f"signalbox_outside_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            msg = f"The agent file {path} cannot be imported. Rename it to end in .py."
            raise ConfigurationError(msg)
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise _not_imported(f"The agent file {path}", error, _MEND) from error
        yield from _exported(module, required=True)


def _in_entry_points() -> Iterator[tuple[str, AgentSpec]]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        place = f"The entry point {point.name} = {point.value}"
        try:
            value = point.load()
        except (Exception, SystemExit) as error:
            raise _not_imported(place, error, _UNINSTALL) from error
        if isinstance(value, AgentSpec):
            yield place, value
        elif isinstance(value, ModuleType):
            yield from _exported(value, required=True)
        else:
            msg = (
                f"{place} is a {type(value).__name__}; make it an AgentSpec or a module with AGENT."
            )
            raise ConfigurationError(msg)


def _import(name: str, place: str, remedy: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _not_imported(place, error, remedy) from error


def _not_imported(place: str, error: BaseException, remedy: str) -> ConfigurationError:
    reason = " ".join(repr(error).split())  # some errors have several lines
    return ConfigurationError(f"{place} cannot be imported: {reason}. {remedy}")


def _exported(module: ModuleType, *, required: bool) -> Iterator[tuple[str, AgentSpec]]:
    spec = getattr(module, "AGENT", None)
    place = module.__file__ or module.__name__
    if isinstance(spec, AgentSpec):
        yield place, spec
    elif required:
        what = "has no AGENT" if spec is None else f"has an AGENT that is a {type(spec).__name__}"
        msg = (
            f"{place} {what}. Export AGENT = AgentSpec(…), "
            "or start the file's name with an underscore if it is no agent."
        )
        raise ConfigurationError(msg)


def _check(spec: AgentSpec, place: str, tools: Sequence[str]) -> None:
    """Refuse a spec the graph could not run, naming the remedy."""
    fault = ""
    unknown = [name for name in spec.tools if name not in tools]
    if not _NAME.fullmatch(spec.name) or spec.name in _RESERVED:
        fault = "name: use lower-case letters, digits and _ (at most 40), not a reserved word"
    elif not spec.description.strip():
        fault = "description: write one sentence for the supervisor"
    elif spec.tier not in TIERS:
        fault = f"tier {spec.tier!r}: use one of {', '.join(TIERS)}"
    elif len(set(spec.tools) - {ASK_USER}) > MAX_TOOLS:
        fault = f"{len(spec.tools)} tools: give it at most {MAX_TOOLS}, {ASK_USER} not counted"
    elif unknown:
        fault = f"unknown tools {unknown}: the known ones are {', '.join(tools)}"
    elif spec.graph is None and not spec.prompt.strip():
        fault = "prompt: write a system prompt, or give a compiled graph"
    elif spec.graph is not None and not hasattr(spec.graph, "ainvoke"):
        fault = "graph: pass a compiled LangGraph graph, as StateGraph(…).compile() returns"
    fault = fault or _bad_number(spec) or _bad_hint(spec)
    if fault:
        msg = f"The agent {spec.name!r} of {place} cannot be used: {fault}."
        raise ConfigurationError(msg)


def _bad_number(spec: AgentSpec) -> str:
    if min(spec.max_turns, spec.max_assignments) < 1 or spec.timeout_seconds <= 0:
        return "max_turns, max_assignments and timeout_seconds: use positive numbers"
    if not 0 < spec.budget <= 1:
        return f"budget {spec.budget:g}: give a part of the run's, from above 0 to 1"
    return ""


def _bad_hint(spec: AgentSpec) -> str:
    for hint in spec.hints:
        try:
            re.compile(hint)
        except re.error as error:
            return f"hint {hint!r} is no regular expression ({error})"
    return ""


def _own_graph(spec: AgentSpec) -> AgentSpec:
    """Let an outside graph inherit our checkpointer: with one of its own its steps would be lost to us."""
    if spec.graph is None or getattr(spec.graph, "checkpointer", None) is None:
        return spec
    return replace(spec, graph=spec.graph.copy({"checkpointer": None}))
