"""Brings a database's tables to what the code expects."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import Connection
from sqlalchemy.sql.schema import SchemaItem

from domain.errors import ConfigurationError
from service.store.database import Database
from service.store.tables import metadata

VERSION_TABLE: Final = "signalbox_schema"
"""Named for the product: a shared database may hold another application's `alembic_version`."""


async def migrate(database: Database) -> None:
    """Apply the migrations that are missing, all in one transaction."""
    scripts = await asyncio.to_thread(read_scripts)
    await database.write(upgrade, scripts)


def read_scripts() -> ScriptDirectory:
    """Read the migrations from their files."""
    scripts = ScriptDirectory.from_config(make_config())
    scripts.get_heads()  # reads them now, not where the event loop would wait for it
    return scripts


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
    try:
        with Operations.context(context):
            context.run_migrations()
    except RevisionError as error:
        msg = (
            f"SIGNALBOX_DATABASE_URL names a database of another version of Signalbox ({error}); "
            "install that version or set another SIGNALBOX_DATABASE_URL"
        )
        raise ConfigurationError(msg) from error


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
