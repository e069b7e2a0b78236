"""Speaks to a running server: where it is, which key it wants, and what its refusals mean in a sentence."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

import signalbox
from domain.addresses import shown_url
from domain.errors import ConfigurationError, RunFailedError
from service.commands.exits import ServerAwayError, TooLateError
from service.commands.progress import say
from service.settings import Settings
from signalbox import AsyncSignalbox, Retries
from signalbox.bounds import CALL_SECONDS
from signalbox.connections import NO_PROXY, SHOWN_KEY, bad_proxy, options_for, shows_key
from signalbox.models import Model, Run

TIMEOUT: Final = httpx.Timeout(10.0, read=60.0)
"""The server pings every ten seconds, so a silent minute means that it is gone."""

ATTEMPTS: Final = 3
"""How often a request is sent that nobody answers."""

GONE: Final = 410

Show = Callable[[dict[str, Any]], None]


@asynccontextmanager
async def client_of(settings: Settings, url: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a server: the one named, or the one that these settings would start on this machine.

    Raises `ConfigurationError` for an address or key that cannot be, `ServerAwayError` where nobody answers.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else None
    async with connected(url or _own_url(settings), key) as client:
        yield client


@asynccontextmanager
async def connected(url: str, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the server at an address; raises as `client_of` does."""
    base_url = url.rstrip("/")
    try:
        async with _client(base_url, key) as client:
            yield client
    except signalbox.ConfigurationError as error:
        raise ConfigurationError(str(error)) from error
    except httpx.HTTPError as error:
        raise _away(base_url, str(error) or type(error).__name__) from error
    except signalbox.ServerUnreachableError as error:
        raise _away(base_url, str(error.__cause__ or error)) from error
    except signalbox.StreamBrokenError as error:
        raise ServerAwayError(str(error)) from error
    except signalbox.ProblemError as error:
        raise refusal(error) from error
    except signalbox.SignalboxError as error:
        raise RunFailedError(str(error)) from error


def _client(base_url: str, key: str | None) -> httpx.AsyncClient:
    headers = authorised(key)
    try:
        options = options_for(httpx.URL(base_url))
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise _no_address(base_url) from error
    try:
        client = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT, **options)
    except NO_PROXY as error:
        raise ConfigurationError(str(bad_proxy(error))) from error
    try:
        api_of(client)  # says what is no address
    except signalbox.ConfigurationError as error:
        raise _no_address(base_url) from error
    if key and shows_key(client.base_url):
        say(SHOWN_KEY.format(shown_url(base_url)))
    return client


def _no_address(base_url: str) -> ConfigurationError:
    shown = shown_url(base_url)
    msg = f"{shown!r} (--server, or SIGNALBOX_URL) is no address of a server; one looks like http://127.0.0.1:8080"
    return ConfigurationError(msg)


def _away(base_url: str, why: str) -> ServerAwayError:
    return ServerAwayError(
        f"The server at {shown_url(base_url)} cannot be reached ({why}). Start one with `signalbox serve`, "
        "or say with --server where it is."
    )


def authorised(key: str | None) -> dict[str, str]:
    """Return the headers that show a key; raises `ConfigurationError` for what can be none."""
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError("SIGNALBOX_API_KEY: a key has visible ASCII characters only.")
    return {"authorization": f"Bearer {key}"}


def _own_url(settings: Settings) -> str:
    host = settings.host if settings.host not in {"0.0.0.0", "::", ""} else "127.0.0.1"  # noqa: S104 - read, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def fetched(answer: Awaitable[httpx.Response], kind: type[Model] = Run) -> dict[str, Any]:
    """Return the document of an answer, which is of a kind; raises `RunFailedError` with what a refusal says."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            response = await answer
    except TimeoutError:
        raise ServerAwayError(f"The server's answer was not whole in {CALL_SECONDS:g} s.") from None
    if not response.is_success:
        raise refused(response)
    try:
        document: dict[str, Any] = response.json()
        read = kind.model_validate(document)
    except (ValueError, RecursionError):
        raise no_signalbox(response) from None
    # An older server leaves out what it does not know; what is there is shown as it came.
    return {**read.model_dump(mode="json"), **document}


def no_signalbox(response: httpx.Response) -> RunFailedError:
    """Return what is raised where something else answers."""
    msg = f"What answers at {response.url.netloc.decode()} is no Signalbox; --server says where one is."
    return RunFailedError(msg)


def refused(response: httpx.Response) -> RunFailedError:
    """Return what a refusal says, whose body has been read."""
    try:
        problem: dict[str, Any] = response.json()
        return RunFailedError(_sentence(problem["title"], problem["detail"], problem["code"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return RunFailedError(f"The server answered HTTP {response.status_code}.")


def refusal(error: signalbox.ProblemError) -> RunFailedError:
    """Return what the Python client was refused with."""
    said = _sentence(error.problem.title, error.detail, error.code)
    return TooLateError(said) if error.status == GONE else RunFailedError(said)


def _sentence(title: str, detail: str, code: str) -> str:
    remedy = " SIGNALBOX_API_KEY names yours." if code == "unauthenticated" else ""
    return f"{title}: {detail}{remedy}"


def api_of(client: httpx.AsyncClient) -> AsyncSignalbox:
    """Return the Python client over the connections of another, whose key goes along."""
    return AsyncSignalbox(
        str(client.base_url), api_key="", retries=Retries(attempts=ATTEMPTS), http=client
    )


async def created(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """Create the run that a body asks for; return it. However often it has to be sent, one run is made."""
    options = {name: value for name, value in body.items() if name != "task"}
    if "approvals" in options:
        options["approvals"] = options["approvals"].get("mode")
    if "files" in options:
        options["files"] = {
            each["name"]: base64.b64decode(each["content_base64"]) for each in options["files"]
        }
    run = await api_of(client).runs.create(body["task"], **options)
    return run.model_dump(mode="json")


async def read_to_end(client: httpx.AsyncClient, run_id: str, show: Show) -> dict[str, Any]:
    """Show a run's events as they come until it has ended; return it. A stream that breaks off is taken up
    again behind the last event."""
    async with api_of(client).runs.events(run_id) as events:
        async for event in events:
            try:
                show(event.model_dump(mode="json", exclude_unset=True))
            except (KeyError, TypeError, AttributeError) as error:
                msg = f"An event {event.type[:80]!r} has not what it should have. Is it a Signalbox of this version?"
                raise RunFailedError(msg) from error
    return await fetched(client.get(f"/v1/runs/{run_id}"))
