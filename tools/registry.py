"""Every tool the service has, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from domain.caching import NO_CACHE, WorkCache
from domain.errors import ConfigurationError
from domain.gates import GateRule, When
from domain.problems import Pointer
from domain.run import RunContext
from domain.sandbox import Sandbox
from domain.tool import CallFacts, Effect, Pinned
from tools.collector import Collector
from tools.control import make_ask_user
from tools.fetch import LIMITS as PAGE_LIMITS
from tools.fetch import make_fetch_url
from tools.files import make_list_files, make_read_file, make_write_file
from tools.http import LIMITS, http_facts, http_reads, make_http_request
from tools.knowledge import Knowledge
from tools.net.client import SafeClient
from tools.page_reading import PageReader
from tools.publish import OFF, OutputFolder, make_publish_file, pin_file
from tools.python import make_run_python
from tools.search import make_search_documents
from tools.tables import make_describe_table, tables_off_reason
from tools.web import WebSearch, make_web_search
from tools.workspace import split_path

FILE_SECONDS: Final = 10.0
PUBLISH_SECONDS: Final = 60.0
"""Long enough to copy 64 MiB to a slow disk, twice."""
CODE_SECONDS: Final = 60.0
"""Longer than a program may take: it may have to wait for others to end."""
SEARCH_SECONDS: Final = 130.0
"""The first search builds the index, which may take 120 seconds."""
WEB_SECONDS: Final = 170.0
"""Two tries at the web, then a search of the local documents."""
FETCH_SECONDS: Final = 75.0
"""A page may take 20 s to arrive and 20 s to read, and it may have to wait for others to be read."""
HTTP_SECONDS: Final = 40.0
"""Longer than the tool itself waits: what it knows of the outcome is better than a time-out from outside."""


def _no_facts(args: Mapping[str, Any]) -> CallFacts:
    del args
    return CallFacts()


def _file_facts(args: Mapping[str, Any]) -> CallFacts:
    # As the tool itself reads it: `./a` and `b//c` are judged as the files that they are.
    path = "/".join(split_path(str(args.get("path", ""))))
    return CallFacts(path=path, size=_size(args.get("content")))


def _code_facts(args: Mapping[str, Any]) -> CallFacts:
    return CallFacts(size=_size(args.get("code")))


def _size(value: object) -> int | None:
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else None


def _never(args: Mapping[str, Any]) -> bool:
    del args
    return False


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Nails a call down to what it is about when it is made, so that nothing else is decided about."""

    argument: str
    """The argument it fills in; what a model gives for it counts for nothing."""
    find: Callable[[Mapping[str, Any], RunContext], Awaitable[Pinned]]
    """Finds it out, from the other arguments. Raises `ToolFailedError` where the call makes no sense."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool as a model calls it, and what the service has to know about it."""

    tool: BaseTool
    effect: Effect
    timeout_seconds: float
    off_reason: str | None = None
    """Why the tool refuses every call here; `None` where it works."""
    control: bool = False
    """It steers the run instead of working: a call is a question to a person."""
    facts: Callable[[Mapping[str, Any]], CallFacts] = _no_facts
    """What the gates' rules may ask about a call. Raises `ToolFailedError` where the call makes no sense."""
    has_facts: frozenset[str] = frozenset()
    """The names of those facts that its calls have."""
    reads: Callable[[Mapping[str, Any]], bool] = _never
    """Whether a call of an external tool only reads: nothing is in doubt when it is cut off."""
    check: Callable[[str], Awaitable[Literal["done", "not_done", "unknown"]]] | None = None
    """Asks the target what became of the action with this key; `None` where it cannot be asked."""
    pin: Pin | None = None
    """With it no call runs, and nobody is asked about one, that does not say what exactly it is about."""
    untrusted: bool = True
    """What it answers may hold text that neither the user nor the operator wrote."""
    anywhere: bool = False
    """It reads nothing of the run but its arguments, and changes nothing: an agent's own service may run it."""
    web: bool = False
    """What it answers comes from the web, where it may be another thing tomorrow."""
    vouched: frozenset[str] | None = None
    """Of a tool whose calls may carry what the agent has read to a host that they name: the `host:port`s
    that the operator vouches for. `None` for every other tool."""
    close: Callable[[], Awaitable[None]] | None = None
    """Lets go of what it holds open; `None` where it holds nothing."""
    gates: tuple[GateRule, ...] = ()
    """Its gates where the operator's rules say nothing; a call that no rule fits runs by itself."""

    @property
    def name(self) -> str:
        """Return the name by which agents ask for the tool."""
        return self.tool.name

    def faults(self, args: Mapping[str, Any]) -> list[Pointer]:
        """Return what is wrong with a call's arguments, with a pointer to each."""
        schema = self._schema()
        if schema is None:
            return []
        try:
            schema.model_validate(dict(args))
        except ValidationError as error:
            return [
                Pointer(
                    pointer="".join(f"/{part}" for part in fault["loc"]),
                    detail=str(fault["msg"]).removeprefix("Value error, "),
                )
                for fault in error.errors(include_url=False, include_input=False)
            ]
        return []

    def as_read(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's arguments as the tool takes them, with its defaults; as they are where it has no
        model of them."""
        schema = self._schema()
        if schema is None:
            return dict(args)
        try:
            return schema.model_validate(dict(args)).model_dump(mode="json")
        except ValueError:  # it does not fit, or is no JSON
            return dict(args)

    def surplus(self, args: Mapping[str, Any]) -> list[Pointer]:
        """Return the arguments that the tool does not have."""
        schema = self._schema()
        known = set(args)
        if schema is not None:
            known = {name for name, field in schema.model_fields.items() if not field.exclude}
        detail = f"{self.name} has no such argument"
        return [Pointer(pointer=f"/{n}", detail=detail) for n in args if n not in known]

    def _schema(self) -> type[BaseModel] | None:
        schema = self.tool.args_schema
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return schema
        return None


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

    @property
    def gates(self) -> tuple[GateRule, ...]:
        """Return the rules that the tools bring along."""
        return tuple(rule for tool in self._tools.values() for rule in tool.gates)

    def get(self, name: str) -> Tool:
        """Return the tool of that name; refuse an unknown name with the known ones."""
        if name not in self._tools:
            known = ", ".join(self._tools) or "none"
            message = f"There is no tool {name!r}; the tools are: {known}."
            raise ConfigurationError(message)
        return self._tools[name]

    async def aclose(self) -> None:
        """Let go of what the tools hold open."""
        for tool in self._tools.values():
            if tool.close is not None:
                await tool.close()

    def select(self, names: Sequence[str]) -> list[Tool]:
        """Return the tools of these names, in their order."""
        return [self.get(name) for name in names]


def build_toolbox(
    *,
    knowledge: Knowledge,
    sandbox: Sandbox,
    search: WebSearch | None = None,
    http_allow: Collection[str] = (),
    output_dir: Path | None = None,
    cache: WorkCache | None = None,
) -> Toolbox:
    """Return every tool the service ships.

    `search` asks the web, without it only the local documents are searched; programs run in `sandbox`;
    requests go to public hosts and to the `host:port`s of `http_allow`; files are published to
    `output_dir`; searches and pages are had from `cache`.
    """
    return Toolbox(
        [
            *_researching(knowledge, search or WebSearch(knowledge), http_allow, cache or NO_CACHE),
            *_working(sandbox),
            _publishing(OutputFolder(output_dir) if output_dir else None),
            _requesting(SafeClient(vouched=http_allow, limits=LIMITS)),
            Tool(
                tool=make_ask_user(),
                effect="none",
                timeout_seconds=FILE_SECONDS,
                control=True,
                untrusted=False,
            ),
        ]
    )


def _working(sandbox: Sandbox) -> tuple[Tool, ...]:
    """Return the tools that work in a run's own folder."""
    # One for both: a program may run beside a call that writes a file.
    collector = Collector()
    return (
        Tool(
            tool=make_run_python(sandbox, collector),
            effect="workspace",
            timeout_seconds=CODE_SECONDS,
            off_reason=sandbox.state.off_reason,
            facts=_code_facts,
            has_facts=frozenset({"size"}),
        ),
        Tool(
            tool=make_describe_table(sandbox),
            effect="none",
            timeout_seconds=CODE_SECONDS,
            off_reason=tables_off_reason(sandbox),
            facts=_file_facts,
            has_facts=frozenset({"path"}),
        ),
        Tool(
            tool=make_read_file(),
            effect="none",
            timeout_seconds=FILE_SECONDS,
            facts=_file_facts,
            has_facts=frozenset({"path"}),
        ),
        Tool(
            tool=make_write_file(collector),
            effect="workspace",
            timeout_seconds=FILE_SECONDS,
            facts=_file_facts,
            has_facts=frozenset({"path", "size"}),
            untrusted=False,
        ),
        Tool(tool=make_list_files(), effect="none", timeout_seconds=FILE_SECONDS),
    )


def _researching(
    knowledge: Knowledge, search: WebSearch, vouched: Collection[str], cache: WorkCache
) -> tuple[Tool, ...]:
    client = SafeClient(vouched=vouched, limits=PAGE_LIMITS)
    return (
        Tool(
            tool=make_search_documents(knowledge),
            effect="none",
            timeout_seconds=SEARCH_SECONDS,
            anywhere=True,
        ),
        Tool(
            tool=make_web_search(search, cache),
            effect="none",
            timeout_seconds=WEB_SECONDS,
            anywhere=True,
            web=True,
            close=search.aclose,
        ),
        Tool(
            tool=make_fetch_url(client, PageReader(), cache),
            effect="none",
            timeout_seconds=FETCH_SECONDS,
            anywhere=True,
            web=True,
        ),
    )


def _publishing(folder: OutputFolder | None) -> Tool:
    return Tool(
        tool=make_publish_file(folder),
        effect="external",
        timeout_seconds=PUBLISH_SECONDS,
        off_reason=None if folder else OFF,
        facts=_file_facts,
        has_facts=frozenset({"path"}),
        check=folder.check if folder else None,
        pin=Pin(argument="sha256", find=pin_file),
        untrusted=False,
        gates=(GateRule(tool="publish_file", gate="ask"),),
    )


def _requesting(client: SafeClient) -> Tool:
    return Tool(
        tool=make_http_request(client),
        effect="external",
        timeout_seconds=HTTP_SECONDS,
        facts=lambda args: http_facts(args, client),
        has_facts=frozenset({"method", "host", "path", "size"}),
        reads=http_reads,
        web=True,
        vouched=client.vouched,
        gates=(
            GateRule(tool="http_request", when=When(method=("GET", "HEAD")), gate="auto"),
            GateRule(tool="http_request", gate="ask"),
        ),
    )
