"""`signalbox db`: the tables of the database."""

from __future__ import annotations

from typing import Any, NamedTuple

from domain.addresses import shown_url
from service.settings import Settings
from service.store.upgrading import needed, upgrade_store


async def upgrade(settings: Settings) -> list[str]:
    """Bring the database to what this version expects; return what was done, in lines."""
    return [shown_url(settings.database_url), *await upgrade_store(settings.database_url)]


class Checked(NamedTuple):
    """Whether a database is what this version expects."""

    database: str
    missing: list[str]
    """What it would be upgraded for."""

    def line(self) -> str:
        """Return it in a line."""
        if self.missing:
            return f"{self.database}: run `signalbox db upgrade` (for {', '.join(self.missing)})"
        return f"{self.database}: nothing to upgrade"

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"ok": not self.missing, "database": self.database, "missing": self.missing}


async def check(settings: Settings) -> Checked:
    """Look whether the database is what this version expects."""
    missing = await needed(settings.database_url)
    return Checked(shown_url(settings.database_url), list(missing))
