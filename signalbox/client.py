"""`Signalbox` waits for what it asks for, `AsyncSignalbox` awaits it; the operations are the same."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Final, Literal, Self, Unpack

import httpx

from signalbox import runs
from signalbox.approvals import Approvals, AsyncApprovals
from signalbox.artifacts import Artifacts, AsyncArtifacts
from signalbox.bounds import ANSWER_BYTES, CALL_SECONDS, Deadline
from signalbox.connections import (
    SHOWN_KEY,
    AsyncConnections,
    Connections,
    shows_key,
)
from signalbox.conversation import Company, Decide, See, follow
from signalbox.errors import ConfigurationError
from signalbox.flows import Flow
from signalbox.following import IDLE_SECONDS
from signalbox.models import Agent, Health, Info, ModelTier, Run, Spending, SpendingPage, Tool
from signalbox.operations import Async, Sync, listing, operation
from signalbox.options import RunOptions
from signalbox.paging import all_of, give_all
from signalbox.runs import Actions, AsyncActions, AsyncRuns, AsyncThreads, Runs, Threads
from signalbox.sending import Retries, Sender, given
from signalbox.transports import Address, AsyncTransport, Transport

DEFAULT_URL: Final = "http://127.0.0.1:8000"
"""Where `signalbox serve` serves unless it is told otherwise."""


MAX_PORT: Final = 65_535


def _version() -> str:
    try:
        return version("signalbox")
    except PackageNotFoundError:
        return "0"


VERSION: Final = _version()


Dimension = Literal["day", "agent", "model", "key"]


def _spending_query(
    since: date | None, until: date | None, group_by: Sequence[Dimension], limit: int | None
) -> dict[str, object]:
    groups = ",".join(group_by) or None
    return given({"from": since, "to": until, "group_by": groups, "limit": limit})


class ServiceOperations:
    """What can be asked of a server, and the short way to a run that has ended."""

    _sender: Sender

    @operation
    def run(
        self,
        task: str,
        *,
        on_approval: Decide | None = None,
        on_event: See | None = None,
        within: float | None = 3600.0,
        idle: float = IDLE_SECONDS,
        **options: Unpack[RunOptions],
    ) -> Flow[Run]:
        """Create a run, follow it, have its questions decided, and return it when it has ended.

        Raises `RunFailedError` and `RunCancelledError`; a run that is `incomplete` is returned. Where nobody decides,
        or it takes longer than `within` seconds, `WaitExceededError` is raised, and the run goes on.
        """
        deadline = Deadline(within)
        run = yield from runs.create(self._sender, task, options)
        company = Company(
            on_approval=on_approval,
            on_event=on_event,
            within=None if within is None else deadline.left,
            idle=idle,
        )
        return (yield from follow(self._sender, run.id, company))

    @operation
    def follow(
        self,
        run_id: str,
        *,
        on_approval: Decide | None = None,
        on_event: See | None = None,
        within: float | None = 3600.0,
        idle: float = IDLE_SECONDS,
    ) -> Flow[Run]:
        """Do the same with a run that is there."""
        company = Company(on_approval=on_approval, on_event=on_event, within=within, idle=idle)
        return follow(self._sender, run_id, company)

    @operation
    def agents(self) -> Flow[list[Agent]]:
        """Return the team."""
        return all_of(self._sender, "/v1/agents", Agent)

    @operation
    def tools(self) -> Flow[list[Tool]]:
        """Return what agents may call, and which calls ask a person."""
        return all_of(self._sender, "/v1/tools", Tool)

    @operation
    def models(self) -> Flow[list[ModelTier]]:
        """Return which language model does the work of which tier."""
        return all_of(self._sender, "/v1/models", ModelTier)

    @operation
    def info(self) -> Flow[Info]:
        """Return what the server is: its version, engine and features."""
        return self._sender.get("/v1/info", Info)

    @operation
    def health(self) -> Flow[Health]:
        """Return whether the server works, and each part it needs; also where it does not."""
        return self._sender.health()

    @operation
    def usage(
        self,
        *,
        since: date | None = None,
        until: date | None = None,
        group_by: Sequence[Dimension] = (),
    ) -> Flow[SpendingPage]:
        """Return what was used and what it cost in total, with the first groups."""
        query = _spending_query(since, until, group_by, None)
        return self._sender.get("/v1/usage", SpendingPage, query=query)

    @listing
    def spending(
        self,
        *,
        since: date | None = None,
        until: date | None = None,
        group_by: Sequence[Dimension] = (),
        page_size: int | None = None,
    ) -> Flow[Sequence[Spending]]:
        """Go through the groups of the cost ledger."""
        query = _spending_query(since, until, group_by, page_size)
        return give_all(self._sender, "/v1/usage", Spending, query)


class Signalbox(ServiceOperations, Sync):
    """A client of a Signalbox server that waits for what it asks for. Use it as a context manager.

    `base_url` and `api_key` come from `SIGNALBOX_URL` and `SIGNALBOX_API_KEY` where they are not given; `timeout` is
    how many seconds the server may be silent, `call_seconds` how long one call may take altogether, and
    `answer_bytes` how large an answer may be. `http`: a client of httpx of your own, for certificates or proxies; it
    stays yours to close.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        call_seconds: float = CALL_SECONDS,
        answer_bytes: int = ANSWER_BYTES,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        address = _address(
            base_url,
            api_key,
            timeout=timeout,
            call_seconds=call_seconds,
            answer_bytes=answer_bytes,
        )
        self._connections = Connections(address.url, http)
        transport = Transport(self._connections, address)
        sender = _sender(retries, address, call_seconds)
        super().__init__(sender, transport)
        self.base_url: Final = str(address.url)
        self.runs: Final = Runs(sender, transport)
        self.approvals: Final = Approvals(sender, transport)
        self.artifacts: Final = Artifacts(sender, transport)
        self.actions: Final = Actions(sender, transport)
        self.threads: Final = Threads(sender, transport)

    def __repr__(self) -> str:
        return f"Signalbox({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; no run is stopped by that."""
        self._connections.close()


class AsyncSignalbox(ServiceOperations, Async):
    """The same, awaited, on asyncio's loop."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        call_seconds: float = CALL_SECONDS,
        answer_bytes: int = ANSWER_BYTES,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        address = _address(
            base_url,
            api_key,
            timeout=timeout,
            call_seconds=call_seconds,
            answer_bytes=answer_bytes,
        )
        self._connections = AsyncConnections(address.url, http)
        transport = AsyncTransport(self._connections, address)
        sender = _sender(retries, address, call_seconds)
        super().__init__(sender, transport)
        self.base_url: Final = str(address.url)
        self.runs: Final = AsyncRuns(sender, transport)
        self.approvals: Final = AsyncApprovals(sender, transport)
        self.artifacts: Final = AsyncArtifacts(sender, transport)
        self.actions: Final = AsyncActions(sender, transport)
        self.threads: Final = AsyncThreads(sender, transport)

    def __repr__(self) -> str:
        return f"AsyncSignalbox({self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections; no run is stopped by that."""
        await self._connections.aclose()


def _sender(retries: Retries | None, address: Address, call_seconds: float) -> Sender:
    return Sender(
        retries or Retries(),
        place=str(address.url),
        call_seconds=call_seconds,
        answer_bytes=address.answer_bytes,
    )


def _address(
    base_url: str | None,
    api_key: str | None,
    *,
    timeout: float,
    call_seconds: float,
    answer_bytes: int,
) -> Address:
    """Return where the server is; raises `ConfigurationError`, which never shows a key."""
    text = base_url or os.environ.get("SIGNALBOX_URL") or DEFAULT_URL
    key = api_key if api_key is not None else os.environ.get("SIGNALBOX_API_KEY")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        msg = f"The server's address cannot be read ({error}). One looks like {DEFAULT_URL}."
        raise ConfigurationError(msg) from None
    if url.userinfo:
        msg = "The server's address has a name or password in it. A key is passed as api_key."
        raise ConfigurationError(msg)
    if (
        url.scheme not in {"http", "https"}
        or not url.host
        or url.query
        or url.fragment
        or (url.port or 0) > MAX_PORT
    ):
        msg = f"{text!r} is no address of a server; one looks like {DEFAULT_URL}."
        raise ConfigurationError(msg)
    if not (call_seconds > 0 and answer_bytes > 0):
        msg = "call_seconds and answer_bytes are positive numbers."
        raise ConfigurationError(msg)
    headers = {
        "user-agent": f"signalbox-python/{VERSION}",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",  # what is packed otherwise may be of any size
    }
    if key:
        if not (key.isascii() and key.isprintable() and " " not in key):
            msg = "The API key has characters that no key has: it is visible ASCII."
            raise ConfigurationError(msg)
        headers["authorization"] = f"Bearer {key}"
        if shows_key(url):
            warnings.warn(SHOWN_KEY.format(url), UserWarning, stacklevel=3)
    return Address(
        url,
        headers=headers,
        timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
        answer_bytes=answer_bytes,
    )
