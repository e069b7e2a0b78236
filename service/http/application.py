"""Puts routes, errors and the edge together."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from starlette.types import Lifespan

from service.http import (
    about,
    approvals,
    artifacts,
    deliveries,
    events,
    exports,
    feedback,
    forks,
    links,
    metrics,
    notes,
    pages,
    runs,
    short,
    sign_in,
    sources,
    spending,
    threads,
)
from service.http.door import Door
from service.http.edge import Edge
from service.http.errors import add_error_handlers
from service.http.openai_chat import routes as openai_chat
from service.http.openai_responses import routes as openai_responses
from service.http.openapi import finish
from service.services import Services

ROUTERS: Final = (
    runs.router,
    threads.router,
    exports.router,
    feedback.router,
    forks.router,
    events.router,
    artifacts.router,
    sources.router,
    notes.router,
    approvals.router,
    deliveries.router,
    spending.router,
    about.router,
    metrics.router,
    short.router,
    links.router,
    openai_chat.router,
    openai_responses.router,
    sign_in.router,
    pages.router,
)

DESCRIPTION: Final = "A team of AI agents behind one REST API."


def open_app(services: Services) -> FastAPI:
    """Return the application over services that are open already."""
    app = make_app(services.version)
    app.state.services = services
    return app


def make_app(version: str, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Return the application with its routes, errors and edge."""
    app = FastAPI(
        title="Signalbox",
        description=DESCRIPTION,
        version=version,
        lifespan=lifespan,
        # A redirect would be an answer without a problem, and loses the body of a POST with many clients.
        redirect_slashes=False,
        # Ours leave paths and queries out, which may hold secrets: see `service/http/tracing.py`.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(Door)
    app.add_middleware(Edge)  # the last one added is the outermost
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = finish(
                plain(), [route for router in ROUTERS for route in router.routes]
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
