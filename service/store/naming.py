"""How a statement names the run that it is about: by its id, and by the tenant whose it is."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam

from domain.caller import HOSTED_TENANT
from domain.ports import RunRef
from service.store.tables import runs

THE_RUN: Final = (runs.c.id == bindparam("run"), runs.c.tenant_id == bindparam("tenant"))

OURS: Final = runs.c.tenant_id != HOSTED_TENANT
"""Whether a run is executed by the processes of the service, and not by LangGraph's own server."""


def named(ref: RunRef) -> dict[str, Any]:
    """Return the parameters of `THE_RUN`."""
    return {"run": ref.run_id, "tenant": ref.tenant_id}
