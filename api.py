"""The ASGI application: `uvicorn api:app`, or `create_app()` with settings of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from domain.errors import ConfigurationError
from service.settings import (
    Settings,
    known_secrets,
    prepare_environment,
    read_settings,
    wants_colour,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; its parts are opened when it starts and closed when it stops.

    Raises `ConfigurationError` in one line where a setting is wrong.
    """
    settings = settings or read_settings()
    prepare_environment()
    # LangGraph reads its safety switch at import, so it is imported only now.
    from monitoring.logs import mask_links  # noqa: PLC0415 - see above
    from service.bootstrap import open_services, product_version  # noqa: PLC0415 - see above
    from service.http.application import make_app  # noqa: PLC0415 - see above
    from service.server import ending_streams  # noqa: PLC0415 - see above

    mask_links()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, warm=True) as services:
            app.state.services = services
            with ending_streams(services):
                yield

    return make_app(product_version(), lifespan)


def _served() -> FastAPI:
    """Return the application of a server; it writes its log lines as ours does, unless it was told another way."""
    settings = read_settings()
    from monitoring.logs import are_configured, configure_logs  # noqa: PLC0415 - only where it is served

    if not are_configured():
        configure_logs(known_secrets(settings), colour=wants_colour())
    return create_app(settings)


def __getattr__(name: str) -> FastAPI:
    """Make `app` on first use, so that importing this module has no side effect."""
    if name == "app":
        try:
            app = globals()["app"] = _served()
        except ConfigurationError as error:
            # Only a server asks for this name: it should stop with the line, not with a traceback.
            raise SystemExit(f"signalbox: {error}") from None
        return app
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
