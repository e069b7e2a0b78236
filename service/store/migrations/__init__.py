"""Brings a database's tables to what the code expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from domain.errors import ConfigurationError
from service.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.sql.schema import SchemaItem

VERSION_TABLE: Final = "signalbox_schema"
"""Named for the product: a shared database may hold another application's `alembic_version`."""


async def migrate(engine: AsyncEngine) -> None:
    """Apply the migrations that are missing, all in one transaction."""
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Apply migrations on a connection whose transaction the caller ends."""
    config = Config()
    config.set_main_option("script_location", "service.store:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        msg = (
            f"SIGNALBOX_DATABASE_URL names a database of another version of Signalbox ({error}); "
            "install that version or set another SIGNALBOX_DATABASE_URL"
        )
        raise ConfigurationError(msg) from error


def options() -> dict[str, Any]:
    """Return how Alembic is configured, the same for migrating and for comparing."""
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
