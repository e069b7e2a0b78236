"""What the doctor finds about the database, and what is in it about keys."""

from __future__ import annotations

from typing import NamedTuple

from domain.addresses import shown_url
from domain.caller import ApiKey
from domain.errors import ConfigurationError, DatabaseInUseError
from service.commands.findings import Finding, fail, ok, warn
from service.endpoints import is_loopback
from service.ids import SystemClock
from service.settings import Settings
from service.store import Database, open_store
from service.store.api_keys import SqlKeyStore
from service.store.beside import open_beside
from service.store.facts import DatabaseFacts, facts_of, receivers_of

UPGRADE = "Run `signalbox db upgrade` with the settings of the server."


class Stored(NamedTuple):
    """What was found, and who receives webhooks."""

    findings: list[Finding]
    receivers: list[str]


async def database(settings: Settings) -> Stored:
    """Open the database as a server does, and look at it; beside a server that has it, only look."""
    try:
        return await _open(settings)
    except ConfigurationError as error:
        fix = "Mend SIGNALBOX_DATABASE_URL, or start the server that it names."
        return Stored(
            [fail("database", str(error), UPGRADE if "upgrade" in str(error) else fix)], []
        )


async def _open(settings: Settings) -> Stored:
    url = shown_url(settings.database_url)
    try:
        # The store alone: a whole service would report other faults as the database's, and would
        # take up the runs that are unfinished there.
        async with open_store(settings.database_url, owner="shared") as store:
            await store.ping()
            return await _look(store.database, settings, f"{url} takes writes")
    except DatabaseInUseError as error:
        async with open_beside(settings.database_url) as beside:
            return await _look(beside, settings, f"{url} is some server's now: {error}")


async def _look(database: Database, settings: Settings, state: str) -> Stored:
    facts = await facts_of(database)
    keys = await SqlKeyStore(database).all()
    findings = [_tables(facts, state), _keys(keys, settings)]
    return Stored(findings, await receivers_of(database))


def _tables(facts: DatabaseFacts, state: str) -> Finding:
    text = f"{state}; {facts.server}, {facts.bytes / 1024**2:.1f} MiB, tables {facts.revision}"
    if facts.revision == facts.newest:
        return ok("database", text)
    return warn("database", f"{text}, this product has {facts.newest}", UPGRADE)


def _keys(keys: list[ApiKey], settings: Settings) -> Finding:
    now = SystemClock().now()
    good = [key for key in keys if key.stands(now)]
    revoked = sum(key.revoked_at is not None for key in keys)
    expired = len(keys) - len(good) - revoked
    counted = f"{len(good)} good, {expired} expired, {revoked} revoked"
    if good:
        named = ", ".join(f"{key.name} ({key.prefix}…)" for key in good[:10])
        return ok("keys", f"{counted}; {named}")
    fix = "Run `signalbox keys create --name NAME`."
    if keys:
        return warn("keys", f"{counted}: nobody is served", fix)
    if settings.oidc is None and settings.env == "production":
        return warn("keys", "none, and in production nobody is served without one", fix)
    if settings.oidc is None and not is_loopback(settings.host):
        text = f"none: only this machine is served, though the server listens on {settings.host}"
        return warn("keys", text, fix)
    if settings.oidc is not None:
        return ok("keys", "none: who has a token is served")
    return ok("keys", "none: only this machine is served")
