"""`signalbox db`: the tables of the database."""

from __future__ import annotations

from service.settings import Settings
from service.store.engine import shown_url
from service.store.upgrading import needed, upgrade_store


async def upgrade(settings: Settings) -> list[str]:
    """Bring the database to what this version expects; return what was done, in lines."""
    return [shown_url(settings.database_url), *await upgrade_store(settings.database_url)]


async def check(settings: Settings) -> tuple[bool, str]:
    """Return whether the database is what this version expects, and a line that says so."""
    missing = await needed(settings.database_url)
    shown = shown_url(settings.database_url)
    if missing:
        return False, f"{shown}: run `signalbox db upgrade` (for {', '.join(missing)})"
    return True, f"{shown}: nothing to upgrade"
