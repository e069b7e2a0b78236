"""The composition root: picks every implementation, opens it, and closes it in the opposite order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.registry import Team, find_team
from graph.workflow import build_workflow, graph_version
from service.checkpoints import Checkpoints, MemoryCheckpoints, open_sqlite_checkpoints
from service.dispatch.local import LocalDispatcher
from service.executor import Executor
from service.hub import EventHub
from service.ids import SystemClock, UuidIds
from service.runs import RunRules, RunService
from service.services import Services
from service.settings import Settings
from service.store import Database, SqliteDatabase, SqlRunStore, open_store, sqlite_path
from tools.knowledge import Knowledge
from tools.registry import Toolbox, build_toolbox

CODE_OFF = (
    "Running code is refused in production: this version has no sandbox that is a security boundary. "
    "Unset SIGNALBOX_ENV=production on a machine of your own to allow it."
)


def product_version() -> str:
    """Return the version of the installed product."""
    try:
        return version("signalbox")
    except PackageNotFoundError:
        return "0.1.0+source"


def open_toolbox(settings: Settings) -> Toolbox:
    """Return the tools, with code execution off where it would not be safe."""
    knowledge = Knowledge(settings.data_dir.resolve() / "knowledge.db", settings.knowledge_dir)
    off = CODE_OFF if settings.env == "production" else None
    return build_toolbox(knowledge=knowledge, code_off_reason=off)


def open_team(settings: Settings, toolbox: Toolbox) -> Team:
    """Return the agents; raises `ConfigurationError` where one cannot be used."""
    return find_team(settings.agents, tool_names=toolbox.names)


def open_gateway(settings: Settings, team: Team) -> ModelGateway:
    """Return the model gateway with its clients built."""
    key = settings.openai_api_key
    return ModelGateway(
        ModelSettings(
            tiers=settings.tiers,
            variables=settings.tier_variables,
            timeout_seconds=settings.model_timeout,
            max_output_tokens=settings.model_max_output,
            openai_api_key=key.get_secret_value() if key else None,
            openai_base_url=settings.openai_base_url,
        ),
        team.routable,
    )


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open everything a service needs; leaving the context stops runs at a step's end and closes all."""
    async with AsyncExitStack() as stack:
        toolbox = open_toolbox(settings)
        team = open_team(settings, toolbox)
        gateway = open_gateway(settings, team)
        stack.push_async_callback(gateway.aclose)
        store: SqlRunStore = await stack.enter_async_context(open_store(settings.database_url))
        checkpoints = await _open_checkpoints(settings, store.database, stack)
        gateway.settle = checkpoints.settle
        workflow = build_workflow(
            team=team, gateway=gateway, toolbox=toolbox, checkpointer=checkpoints.saver
        )
        version_of_graph = graph_version(team, toolbox)
        hub, clock = EventHub(), SystemClock()
        executor = Executor(
            store=store,
            hub=hub,
            clock=clock,
            workflow=workflow,
            graph_version=version_of_graph,
            workspaces=settings.data_dir.resolve() / "workspaces",
            gateway=gateway,
            checkpoints=checkpoints,
        )
        dispatcher = LocalDispatcher(
            store, executor.execute, max_concurrent=settings.max_concurrent_runs
        )
        runs = RunService(
            store=store,
            hub=hub,
            dispatcher=dispatcher,
            clock=clock,
            ids=UuidIds(),
            team=team,
            rules=RunRules(
                engine=gateway.engine,
                graph_version=version_of_graph,
                max_rounds=settings.max_rounds,
            ),
        )
        await dispatcher.start()
        stack.push_async_callback(dispatcher.stop)
        yield Services(
            settings=settings,
            store=store,
            announce=store.announce,
            hub=hub,
            runs=runs,
            dispatcher=dispatcher,
            team=team,
            gateway=gateway,
            graph_version=version_of_graph,
            version=product_version(),
        )


async def _open_checkpoints(
    settings: Settings, database: Database, stack: AsyncExitStack
) -> Checkpoints:
    path = sqlite_path(settings.database_url)
    if path is None or not isinstance(database, SqliteDatabase):
        return MemoryCheckpoints()
    return await stack.enter_async_context(open_sqlite_checkpoints(path, database))
