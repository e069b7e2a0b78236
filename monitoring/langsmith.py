"""Sends what runs do to LangSmith, as trees: one root for each run, its segments below it.

LangSmith's own client would send too, but from threads that a process waits for at its end, with a line for each
failure, and with whatever a prompt happens to hold. So it only puts the requests together here: they wait in our
queue, are sent from our thread, and every body passes `Mask` on its way out.
"""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, cast
from uuid import UUID

import langsmith
from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.env import get_runtime_environment
from langchain_core.tracers.langchain import LangChainTracer
from langsmith.utils import (
    LangSmithAPIError,
    LangSmithConnectionError,
    LangSmithError,
    LangSmithRequestTimeout,
    LangSmithWarning,
)

from domain.secrets import forms_of
from monitoring.background import Background
from monitoring.logs import Seldom

CLOSE_SECONDS: Final = 1.5
"""How long what waits is still sent when the process ends."""

TIMEOUT_MS: Final = (2_000, 5_000)
"""How long LangSmith may take to be connected to, and to answer."""

SAY_AGAIN_SECONDS: Final = 600.0

LOOK_AGAIN_SECONDS: Final = (1.0, 60.0)
"""How soon the project is looked for again: LangSmith makes it with the first trace."""

SHORTEST_SECRET: Final = 8
"""What is shorter is no key but a stand-in for one, such as `none`, and is part of other words."""

_KEY: Final = re.compile(rb"sbx_[A-Za-z0-9_-]{43}")
_PLAIN: Final = (str, int, float)
_TOLD: Final = frozenset({"agents", "usage_metadata"})
_NO_ANSWER: Final = (LangSmithAPIError, LangSmithConnectionError, LangSmithRequestTimeout)
_NOISY: Final = ("langsmith", "langchain_core.tracers.langchain")

_log = logging.getLogger("signalbox.langsmith")


@dataclass(frozen=True, kw_only=True)
class LangSmithAccess:
    """Where traces are sent, and what of them."""

    key: str
    endpoint: str
    project: str
    workspace_id: str | None = None
    hide_inputs: bool = False
    hide_outputs: bool = False
    secrets: Collection[str] = ()
    """What must not be sent, whatever it is part of."""

    @property
    def hides(self) -> bool:
        """Return whether something of what is told is hidden."""
        return self.hide_inputs or self.hide_outputs


class Root(NamedTuple):
    """The root of a run's tree: its id and its place are known from the run's id alone, in every process."""

    id: UUID
    began: datetime

    @classmethod
    def of(cls, run_id: str) -> Root:
        """Return the root of a run, `run_` and a UUIDv7."""
        id_ = UUID(run_id.partition("_")[2])
        return cls(id_, datetime.fromtimestamp((id_.int >> 80) / 1000, UTC))

    @property
    def place(self) -> str:
        """Return what LangSmith calls its dotted order."""
        return f"{self.began:%Y%m%dT%H%M%S%f}Z{self.id}"


class Item(NamedTuple):
    """What is to be sent."""

    kind: Literal["post", "patch", "feedback"]
    body: dict[str, Any]


class Mask:
    """Takes what is secret out of a body, and leaves as many characters: the lengths in it stay true."""

    def __init__(self, secrets: Collection[str]) -> None:
        known = {
            secret for secret in secrets if len(secret) >= SHORTEST_SECRET and secret.isprintable()
        }
        forms = {form.encode() for secret in known for form in forms_of(secret)}
        # The longest first: one may be part of another.
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, body: bytes) -> bytes:
        """Return the body without secrets, and without anything that looks like a key of ours."""
        for form in self._forms:
            if form in body:
                body = body.replace(form, b"*" * len(form))
        return _KEY.sub(lambda found: b"*" * len(found[0]), body) if b"sbx_" in body else body


class _Client(langsmith.Client):
    """LangSmith's client without its queues and threads; what is secret leaves every body on its way out."""

    def __init__(self, access: LangSmithAccess) -> None:
        self._mask = Mask([*access.secrets, access.key])
        self.fault: Exception | None = None
        """What became of the last attempt to send parts of runs, of which the library only tells."""
        super().__init__(
            access.endpoint,
            api_key=access.key,
            workspace_id=access.workspace_id or "",
            timeout_ms=TIMEOUT_MS,
            auto_batch_tracing=False,
            hide_inputs=access.hide_inputs,
            hide_outputs=access.hide_outputs,
            hide_metadata=False,
            # It would have git asked for a revision, and sends what the environment has of its settings.
            omit_traced_runtime_info=True,
            tracing_mode="langsmith",
            tracing_sampling_rate=1.0,  # which runs are traced was decided before
            tracing_error_callback=self._note,
            disable_prompt_cache=True,
        )

    def request_with_retries(
        self, /, *args: Any, request_kwargs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:  # noqa: ANN401 - a response of the library that the library sends with
        """Send a request, with every secret taken out of its body; raises what the library does."""
        sent = dict(request_kwargs or {})
        body = sent.get("data")
        if body is not None:
            whole = body if isinstance(body, bytes) else body.to_bytes()
            sent["data"] = self._mask(whole)
        sent.pop("timeout", None)
        return super().request_with_retries(*args, request_kwargs=sent, **kwargs)

    def _note(self, error: Exception) -> None:
        self.fault = error


class _Teller:
    """What a tracer takes for a client: everything told goes to `put`, and nothing of it waits.

    `metadata` is that of every part, and wins: LangGraph calls a run of ours a thread. What else the library
    looks for it finds at the client."""

    def __init__(
        self,
        client: _Client,
        access: LangSmithAccess,
        put: Callable[[Item], None],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._hides = access.hides
        self._hidden = [
            name
            for name, hides in (("inputs", access.hide_inputs), ("outputs", access.hide_outputs))
            if hides
        ]
        self._client = client
        self._put = put
        self._metadata = metadata or {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has there
        return getattr(self._client, name)

    def create_run(self, **body: Any) -> None:
        """Take the beginning of a part of a run."""
        self._put(Item("post", self._body(body)))

    def update_run(self, run_id: UUID, **body: Any) -> None:
        """Take the end of a part of a run."""
        self._put(Item("patch", self._body({"id": run_id, **body})))

    def _body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return what is told; what is hidden is not even held."""
        # A name with an underscore is no part of it: it says where else to send it, with the keys for that.
        told = {k: v for k, v in body.items() if v is not None and not k.startswith("_")}
        extra = dict(told.get("extra") or {})
        metadata = {**extra.pop("metadata", {}), **self._metadata}
        if self._hides:
            told |= {name: {} for name in self._hidden if name in told}
            if "error" in told:
                # A message, and the lines of a traceback, repeat what was given and answered.
                told["error"] = re.split(r"[^\w-]", str(told["error"]), maxsplit=1)[0]
            told.pop("events", None)
            # Options of a call have the schemas that were asked for.
            extra = {}
            metadata = {k: v for k, v in metadata.items() if k in _TOLD or isinstance(v, _PLAIN)}
        told["extra"] = {**extra, "metadata": metadata}
        return told


class LangSmith:
    """LangSmith as this process knows it. Nothing here waits for it but `aclose`, and that not for long."""

    def __init__(self, access: LangSmithAccess) -> None:
        self._access = access
        self._queue = Background("langsmith", self._send, self._failed)
        self._client = _Client(access)
        self._teller = _Teller(self._client, access, self._queue.put)
        self._seldom = Seldom(SAY_AGAIN_SECONDS)
        self._project: langsmith.schemas.TracerSessionResult | None = None
        self._look_again, _ = LOOK_AGAIN_SECONDS
        for name in _NOISY:
            # It has a line for each batch that fails; ours comes once in ten minutes.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # It wants to be told the project of each piece of feedback, which a key may not be allowed to ask for.
        warnings.filterwarnings("ignore", category=LangSmithWarning)

    def start(self) -> None:
        """Begin to send."""
        get_runtime_environment()  # it reads files the first time, and is told with every part of a run
        self._queue.start()

    async def aclose(self) -> None:
        """Send what waits, for a moment."""
        dropped = await asyncio.to_thread(self._queue.stop, CLOSE_SECONDS)
        if dropped:
            fields = {"action": "langsmith_dropped"}
            _log.warning("%d parts of traces were not sent to LangSmith.", dropped, extra=fields)

    def url(self, root: Root) -> str | None:
        """Return where people see a trace, once that is known."""
        project = self._project
        return f"{project.url}/r/{root.id}?poll=true" if project else None

    def callbacks(
        self, root: Root, *, tags: Sequence[str], metadata: Mapping[str, Any]
    ) -> AsyncCallbackManager | None:
        """Return what tells of a segment below a root; `None` while LangSmith is away: whoever tells of everything
        takes his time, and it would be dropped.

        Tags and metadata are the tracer's own, so they are in no config, and in no checkpoint.
        """
        if self._queue.is_full or self._queue.is_away:
            return None
        teller = cast(
            "langsmith.Client", _Teller(self._client, self._access, self._queue.put, metadata)
        )
        tracer = LangChainTracer(project_name=self._access.project, client=teller, tags=list(tags))
        tracer.order_map[root.id] = (root.id, root.place)
        return AsyncCallbackManager(
            handlers=[tracer], inheritable_handlers=[tracer], parent_run_id=root.id
        )

    def begin(self, root: Root, **fields: Any) -> None:
        """Tell that a run has begun."""
        self._teller.create_run(run_type="chain", **self._of(root), **fields)

    def end(self, root: Root, **fields: Any) -> None:
        """Tell how a run has ended, with all that `begin` has told: that may have been lost."""
        self._teller.update_run(run_type="chain", run_id=root.id, **self._of(root), **fields)

    def _of(self, root: Root) -> dict[str, Any]:
        return {
            "id": root.id,
            "trace_id": root.id,
            "dotted_order": root.place,
            "start_time": root.began,
            "session_name": self._access.project,
        }

    def judge(self, root: Root, **fields: Any) -> None:
        """Pass on what somebody thinks of a run; where something is hidden, without the comment: it may repeat it."""
        if self._access.hides:
            fields["comment"] = None
        self._queue.put(Item("feedback", {"run_id": root.id, "trace_id": root.id, **fields}))

    # What follows runs in the thread.

    def _send(self, items: list[Item]) -> float | None:
        parts = [item for item in items if item.kind != "feedback"]
        if parts:
            self._send_parts(parts)
            self._look_again, _ = LOOK_AGAIN_SECONDS  # now there should be a project soon
            items[:] = [item for item in items if item.kind == "feedback"]
        if self._project is None or not parts + items:
            self._look_up()  # also to see whether LangSmith is back
        while items:
            place = self._project.id if self._project else None
            self._client.create_feedback(session_id=place, stop_after_attempt=1, **items[0].body)
            del items[0]
        if self._project:
            return None
        again = self._look_again
        self._look_again = min(again * 2, LOOK_AGAIN_SECONDS[1])
        return again

    def _send_parts(self, parts: Sequence[Item]) -> None:
        # Copies: the library completes them in place, and they may have to be sent again.
        found: dict[str, list[dict[str, Any]]] = {"post": [], "patch": []}
        for kind, body in parts:
            found[kind].append({**body, "extra": dict(body["extra"])})
        self._client.fault = None
        self._client.multipart_ingest(create=found["post"], update=found["patch"])
        if self._client.fault is not None:
            raise self._client.fault

    def _look_up(self) -> None:
        """Ask for the ids that its pages are found under; a project that is not there yet, or a key that may not
        ask, is no failure. Raises where LangSmith does not answer."""
        try:
            self._project = self._client.read_project(project_name=self._access.project)
        except _NO_ANSWER:
            raise
        except LangSmithError:
            return

    def _failed(self, error: Exception) -> None:
        # Without the message: the library's repeats the address, and the ends of the key.
        if self._seldom.is_due(type(error).__name__):
            _log.warning(
                "LangSmith does not take traces (%s). Runs go on; what it does not take is dropped.",
                type(error).__name__,
                extra={"action": "langsmith_unreachable"},
            )
