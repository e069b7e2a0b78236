"""Brings a database's tables to what the code expects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final, Literal

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.sql.schema import SchemaItem

from domain.errors import ConfigurationError
from service.store.database import Database
from service.store.tables import metadata

VERSION_TABLE: Final = "signalbox_schema"
"""Named for the product: a shared database may hold another application's `alembic_version`."""


Standing = Literal["missing", "older", "current", "newer"]
"""How a database's tables compare with those of the code."""

_log = logging.getLogger("signalbox.store")


async def migrate(database: Database) -> None:
    """Apply the migrations that are missing, all in one transaction."""
    scripts = await asyncio.to_thread(read_scripts)
    await database.write(bring_up, scripts)


def read_scripts() -> ScriptDirectory:
    """Read the migrations from their files."""
    scripts = ScriptDirectory.from_config(make_config())
    scripts.get_heads()  # reads them now, not where the event loop would wait for it
    return scripts


def current(connection: Connection) -> str | None:
    """Return the revision of a database's tables, or `None` where there are none."""
    return MigrationContext.configure(connection, opts=options()).get_current_revision()


def standing(connection: Connection, scripts: ScriptDirectory) -> Standing:
    """Return how a database's tables compare with those of the code."""
    found = current(connection)
    if found is None:
        return "missing"
    if found == scripts.get_current_head():
        return "current"
    known = {script.revision for script in scripts.walk_revisions()}
    return "older" if found in known else "newer"


def bring_up(connection: Connection, scripts: ScriptDirectory) -> str:
    """Apply the migrations that are missing; return what was done, as a sentence's end."""
    before = current(connection)
    if standing(connection, scripts) == "newer":
        accept_newer(connection)
        return f"{before} is newer than this version's; left as it is"
    upgrade(connection, scripts)
    after = current(connection)
    if before == after:
        return f"{after} already"
    return f"{after} made" if before is None else f"{before} upgraded to {after}"


def accept_newer(connection: Connection) -> None:
    """Accept tables of a later version that this one can work with, or raise `ConfigurationError`.

    A release first expands the tables and is then rolled out: processes of the version before go on.
    """
    found = current(connection)
    obstacles = list(_obstacles(connection))
    if obstacles:
        msg = (
            f"SIGNALBOX_DATABASE_URL names a database of another version of Signalbox (schema "
            f"{found}: {', '.join(obstacles)}); install that version or set another "
            "SIGNALBOX_DATABASE_URL"
        )
        raise ConfigurationError(msg)
    _log.warning(
        "The database's schema %s is newer than this version of Signalbox, which can work with it.",
        found,
        extra={"action": "schema_newer"},
    )


def _obstacles(connection: Connection) -> Iterator[str]:
    """Yield what keeps this version from using tables that it did not make."""
    look = inspect(connection)
    tables = set(look.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in tables:
            yield f"there is no table {table.name}"
            continue
        found = {column["name"]: column for column in look.get_columns(table.name)}
        yield from (f"there is no {table.name}.{c.name}" for c in table.c if c.name not in found)
        for name, column in found.items():
            if name not in table.c and not column["nullable"] and column["default"] is None:
                yield f"{table.name}.{name} has to be filled"


def upgrade(connection: Connection, scripts: ScriptDirectory, target: str = "head") -> None:
    """Apply migrations up to `target` on a connection whose transaction the caller ends.

    This is what Alembic's `upgrade` does, without its `env.py`, which it would read from the disk.
    """

    def steps(current: tuple[str, ...], _context: MigrationContext) -> list[Any]:
        missing = list(scripts.iterate_revisions(target, current, implicit_base=True))
        return [
            MigrationStep.upgrade_from_script(scripts.revision_map, script)
            for script in reversed(missing)
        ]

    context = MigrationContext.configure(connection, opts={**options(), "fn": steps})
    with Operations.context(context):
        context.run_migrations()


def make_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration; its own commands need the connection to work on."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "service.store:migrations")
    return config


def options() -> dict[str, Any]:
    """Return what migrating and comparing have in common."""
    return {
        "target_metadata": metadata,
        "include_object": _is_ours,
        "render_as_batch": True,  # SQLite alters a table by making it anew
        "version_table": VERSION_TABLE,
    }


def _is_ours(
    item: SchemaItem,
    name: str | None,
    kind: Literal[
        "schema", "table", "column", "index", "unique_constraint", "foreign_key_constraint"
    ],
    reflected: bool,  # noqa: FBT001 - Alembic calls it so
    compare_to: SchemaItem | None,
) -> bool:
    # LangGraph's checkpoints and, with a queue, its tables live in the same database.
    del item, reflected, compare_to
    return kind != "table" or name in metadata.tables
