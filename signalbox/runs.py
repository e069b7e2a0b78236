"""Operations on runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Unpack

from signalbox.bounds import Deadline
from signalbox.errors import WaitExceededError
from signalbox.flows import Answer, Flow, Pause, Request, Work
from signalbox.following import IDLE_SECONDS, RunFollower, Wanted
from signalbox.models import (
    Approval,
    Checkpoint,
    Delivery,
    Export,
    Feedback,
    Note,
    Receipt,
    Run,
    StoredEvent,
)
from signalbox.operations import Async, Sync, listing, operation, streaming
from signalbox.options import (
    Budget,
    Decision,
    RunOptions,
    Scalar,
    budget_body,
    read_files,
    run_body,
)
from signalbox.paging import Page, give_all
from signalbox.sending import Sender, path_of, post_request, read_model
from signalbox.streams import Following

LOOK_SECONDS = 25.0
"""How long one request waits for the end of a run."""

GRACE_SECONDS = 10.0
"""How much longer than it was asked to hold a request a server may take for its answer."""

SOONEST_SECONDS = 0.5
"""A server that does not hold requests is not asked more often than that."""

RUNS = "/v1/runs"


def create(sender: Sender, task: str, options: Mapping[str, Any]) -> Flow[Run]:
    """Create a run."""
    body = run_body(task, options)
    files = options.get("files")
    if files is not None:
        body["files"] = yield Work(lambda: read_files(files))
    request = post_request(RUNS, body, options.get("idempotency_key"))
    return (yield from sender.call(request, _created))


def _created(answer: Answer) -> Run:
    run = read_model(answer, Run)
    run._webhook_secret = answer.headers.get("signalbox-webhook-secret")  # noqa: SLF001 - a header, told once
    return run


def get(sender: Sender, run_id: str) -> Flow[Run]:
    """Return a run."""
    return sender.get(path_of("v1", "runs", run_id), Run)


class RunOperations:
    """What can be done with runs."""

    _sender: Sender

    @operation
    def create(self, task: str, **options: Unpack[RunOptions]) -> Flow[Run]:
        """Create a run; it works on whether or not anybody waits."""
        return create(self._sender, task, options)

    @operation
    def get(self, run_id: str) -> Flow[Run]:
        """Return a run, whatever its status."""
        return get(self._sender, run_id)

    @listing
    def list(
        self,
        *,
        status: str | None = None,
        thread_id: str | None = None,
        tag: str | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
    ) -> Flow[Sequence[Run]]:
        """Go through runs, newest first."""
        query = {
            "status": status,
            "thread_id": thread_id,
            "tag": tag,
            "created_after": created_after,
            "limit": page_size,
        }
        return give_all(self._sender, RUNS, Run, query)

    @operation
    def wait(self, run_id: str, *, within: float = 600.0) -> Flow[Run]:
        """Return a run as soon as it has ended or asks a person; look at its `status`.

        Raises `WaitExceededError` after `within` seconds. The run goes on.
        """
        deadline = Deadline(within)
        while True:
            since, most = time.monotonic(), min(LOOK_SECONDS, self._sender.call_seconds / 2)
            seconds = min(most, deadline.left)
            request = Request(
                method="GET",
                path=path_of("v1", "runs", run_id),
                query={"wait": f"{seconds:.3f}"},
                read_seconds=LOOK_SECONDS + GRACE_SECONDS,
            )
            run = yield from self._sender.call(
                request,
                lambda answer: read_model(answer, Run),
                within=deadline.left + GRACE_SECONDS,
            )
            if run.ended or run.status == "requires_action":
                return run
            if deadline.over:
                msg = f"{run_id} has not ended within {within:g} s; it is {run.status}."
                raise WaitExceededError(msg, run_id=run_id, run=run)
            too_soon = SOONEST_SECONDS - (time.monotonic() - since)
            yield Pause(min(max(0.0, too_soon), deadline.left))

    @streaming
    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        types: Sequence[str] | None = None,
        tokens: bool = True,
        idle: float = IDLE_SECONDS,
        within: float | None = None,
    ) -> Following:
        """Follow a run until it ends: each stored event once and in order, over as many connections as it takes.

        `after`: the `seq` of the last event that is known · `types`: patterns such as `run.*` · `tokens`: the
        pieces of messages as they are written · `idle`: seconds of silence after which a connection counts as
        lost · `within`: seconds for all of it; a run that waits for a person may take days.
        Raises `StreamBrokenError` where one connection after the other brings nothing new.
        """
        wanted = Wanted(after=after, types=types, tokens=tokens, idle=idle, within=within)
        follower = RunFollower(self._sender, run_id, wanted)
        return Following(follower.flow(), follower.transcript)

    @listing
    def stored_events(
        self, run_id: str, *, after: int = 0, types: Sequence[str] | None = None
    ) -> Flow[Sequence[StoredEvent]]:
        """Go through the events that are stored now, without waiting for more."""
        query = {"after": after, "types": ",".join(types) if types else None, "limit": 500}
        path = path_of("v1", "runs", run_id, "events")
        return give_all(self._sender, path, StoredEvent, query, cursor="after")

    @operation
    def cancel(
        self, run_id: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Flow[Run]:
        """Stop a run. What its agents have produced and spent stays in the result."""
        path = path_of("v1", "runs", run_id, "cancel")
        return self._sender.post(path, Run, {"reason": reason}, key=idempotency_key)

    @operation
    def retry(
        self, run_id: str, *, budget: Budget | None = None, idempotency_key: str | None = None
    ) -> Flow[Run]:
        """Have a failed or incomplete run go on where it stood."""
        body = {"budget": budget_body(budget) if budget is not None else None}
        path = path_of("v1", "runs", run_id, "retry")
        return self._sender.post(path, Run, body, key=idempotency_key)

    @operation
    def update(
        self,
        run_id: str,
        *,
        metadata: Mapping[str, Scalar] | None = None,
        budget: Budget | None = None,
    ) -> Flow[Run]:
        """Replace a run's metadata, or change its limits; a raised one answers the question about it."""
        limits = budget_body(budget) if budget is not None else None
        body = {"metadata": metadata, "budget": limits}
        request = post_request(path_of("v1", "runs", run_id), body, None, method="PATCH")
        return self._sender.call(request, lambda answer: read_model(answer, Run))

    @operation
    def delete(self, run_id: str) -> Flow[None]:
        """Delete a run that has ended, with every trace of it."""
        request = Request(method="DELETE", path=path_of("v1", "runs", run_id))
        return self._sender.call(request, lambda _: None)

    @operation
    def fork(
        self,
        run_id: str,
        *,
        checkpoint_id: str | None = None,
        task: str | None = None,
        budget: Budget | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Run]:
        """Make a run that begins where another stood: at a checkpoint of its history, or the last possible."""
        limits = budget_body(budget) if budget is not None else None
        body = {"checkpoint_id": checkpoint_id, "task": task, "budget": limits}
        path = path_of("v1", "runs", run_id, "fork")
        return self._sender.post(path, Run, body, key=idempotency_key)

    @listing
    def history(self, run_id: str, *, page_size: int | None = None) -> Flow[Sequence[Checkpoint]]:
        """Go through a run's checkpoints, newest first."""
        path = path_of("v1", "runs", run_id, "history")
        return give_all(self._sender, path, Checkpoint, {"limit": page_size})

    @operation
    def add_note(self, run_id: str, text: str, *, idempotency_key: str | None = None) -> Flow[Note]:
        """Tell a run something that is under way; its next decision reads it."""
        path = path_of("v1", "runs", run_id, "notes")
        return self._sender.post(path, Note, {"text": text}, key=idempotency_key)

    @operation
    def add_feedback(
        self,
        run_id: str,
        key: str,
        *,
        score: bool | float | None = None,
        comment: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Feedback]:
        """Say what you think of a run, under a word such as `helpful`."""
        body = {"key": key, "score": score, "comment": comment}
        path = path_of("v1", "runs", run_id, "feedback")
        return self._sender.post(path, Feedback, body, key=idempotency_key)

    @operation
    def decide(
        self,
        run_id: str,
        decisions: Mapping[str, Decision],
        *,
        idempotency_key: str | None = None,
    ) -> Flow[Sequence[Approval]]:
        """Decide several approvals of a run by their ids: all of them or, where one cannot be, none."""
        bodies = [{"approval_id": id_, **each.body()} for id_, each in decisions.items()]
        path = path_of("v1", "runs", run_id, "decisions")
        page = yield from self._sender.post(
            path, Page[Approval], {"decisions": bodies}, key=idempotency_key
        )
        return page.data

    @operation
    def receipt(self, run_id: str) -> Flow[Receipt]:
        """Return what a run was executed with, what was approved by whom, and what it cost."""
        return self._sender.get(path_of("v1", "runs", run_id, "receipt"), Receipt)

    @operation
    def export(self, run_id: str) -> Flow[Export]:
        """Return everything about a run."""
        return self._sender.get(path_of("v1", "runs", run_id, "export"), Export)

    @operation
    def source(self, run_id: str, sha256: str) -> Flow[str]:
        """Return the text behind a citation."""
        path = path_of("v1", "runs", run_id, "sources", sha256)
        request = Request(method="GET", path=path)
        return self._sender.call(request, lambda answer: answer.content.decode(errors="replace"))

    @listing
    def deliveries(self, run_id: str, *, page_size: int | None = None) -> Flow[Sequence[Delivery]]:
        """Go through the messages to a run's webhooks, newest first."""
        path = path_of("v1", "runs", run_id, "deliveries")
        return give_all(self._sender, path, Delivery, {"limit": page_size})

    @operation
    def redeliver(
        self, run_id: str, delivery_id: str, *, idempotency_key: str | None = None
    ) -> Flow[Delivery]:
        """Send a message to a webhook once more."""
        path = path_of("v1", "runs", run_id, "deliveries", delivery_id, "redeliver")
        return self._sender.post(path, Delivery, key=idempotency_key)


class Runs(RunOperations, Sync):
    """Runs, waited for."""


class AsyncRuns(RunOperations, Async):
    """Runs, awaited."""


class ActionOperations:
    """What can be done with actions."""

    _sender: Sender

    @operation
    def resolve(
        self,
        action_id: str,
        outcome: Literal["done", "not_done"],
        *,
        result: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Run]:
        """Say whether an action that is in doubt took effect. Nothing is carried out by this."""
        path = path_of("v1", "actions", action_id, "resolution")
        body = {"outcome": outcome, "result": result}
        return self._sender.post(path, Run, body, key=idempotency_key)


class Actions(ActionOperations, Sync):
    """Actions, waited for."""


class AsyncActions(ActionOperations, Async):
    """Actions, awaited."""


class ThreadOperations:
    """What can be done with threads."""

    _sender: Sender

    @listing
    def runs(self, thread_id: str, *, page_size: int | None = None) -> Flow[Sequence[Run]]:
        """Go through the runs of a thread, oldest first."""
        path = path_of("v1", "threads", thread_id)
        return give_all(self._sender, path, Run, {"limit": page_size})

    @operation
    def delete(self, thread_id: str) -> Flow[None]:
        """Delete all runs of a thread; none where one has not ended."""
        request = Request(method="DELETE", path=path_of("v1", "threads", thread_id))
        return self._sender.call(request, lambda _: None)


class Threads(ThreadOperations, Sync):
    """Threads, waited for."""


class AsyncThreads(ThreadOperations, Async):
    """Threads, awaited."""
