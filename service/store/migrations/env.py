"""Serves Alembic's own commands, such as writing a revision. Logging stays as it is."""

from __future__ import annotations

from alembic import context

from service.store.migrations import options

context.configure(connection=context.config.attributes["connection"], **options())
with context.begin_transaction():
    context.run_migrations()
