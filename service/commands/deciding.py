"""Decides what a run of the command line asks: on the terminal, or as the command was told."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import shlex
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final, Literal

import httpx

from service.commands.asking import at_terminal
from service.commands.client import api_of, fetched
from service.commands.progress import Progress
from signalbox import Approval, Decision, ProblemError

Approve = Literal["ask", "auto", "deny"]
"""`ask` the person at the terminal; without one it is said how to decide · `auto` approve every call, but
spend no more than was said, and leave to a person what is asked although nobody was to be · `deny` reject
every call."""

NOBODY: Final = "Nobody is at the terminal to answer. Decide by yourself, and say what you assumed."


LONGEST_LINE: Final = 4_096
"""A terminal takes no longer one."""

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether a question is still open while nobody types."""


class Person:
    """Whoever sits at the terminal; questions come one after the other."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        progress: Progress,
        *,
        approve: Approve,
        insists: bool = False,
    ) -> None:
        self._client = client
        self._api = api_of(client)
        self._progress = progress
        self._approve = approve
        self._insists = insists
        """What is asked is for a person, whatever the command was told."""
        self._waits = False
        self._left: set[str] = set()
        """What nobody here decides."""
        self.stuck = asyncio.Event()
        self._questions: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1_000)
        self._closed: set[str] = set()

    def note(self, event: dict[str, Any]) -> None:
        """Take up what an event asks, or let go of what somebody else has decided."""
        type_ = event["type"]
        if type_ == "approval.requested":
            self._questions.put_nowait(event["data"]["approval"])
        elif type_ in {"approval.resolved", "approval.expired"}:
            self._closed.add(event["data"]["approval"]["id"])
        elif type_ == "run.requires_action":
            self._waits = True
        elif type_ in {"run.started", "run.resumed"}:
            self._waits = False
        self._look()

    def _look(self) -> None:
        """See whether the run waits for somebody else."""
        if self._waits and self._left - self._closed:
            self.stuck.set()

    async def decide_forever(self) -> None:
        """Decide one question after the other, until cancelled."""
        while True:
            approval = await self._questions.get()
            if approval["id"] not in self._closed:
                await self.decide(approval)

    async def decide(self, asked: dict[str, Any]) -> bool:
        """Decide one question; return whether it is decided."""
        path = f"/v1/approvals/{asked['id']}"
        # The event has long arguments cut; whoever decides has to see the whole call.
        approval: dict[str, Any] = await fetched(self._client.get(path), Approval)
        decision = self._decision_told(approval) or await self._ask(approval)
        while decision is not None:
            said = Decision(**decision, args_digest=approval["args_digest"])
            try:
                await self._api.approvals.decide(approval["id"], said)
            except ProblemError as error:
                self._progress.insist(f"{error.problem.title}: {error.detail}")
                again = error.status == 422 and (self._approve == "ask" or self._insists)  # noqa: PLR2004 - it can be mended
                decision = await self._ask(approval) if again else None
            else:
                return True
        self._left.add(approval["id"])
        self._look()
        return False

    def _decision_told(self, approval: dict[str, Any]) -> dict[str, Any] | None:
        if self._approve == "ask":
            return None
        if approval["type"] == "input":
            return {"type": "respond", "message": NOBODY}
        if approval["type"] == "budget":
            # To approve calls is not to spend more than was said.
            return {"type": "reject"}
        if self._approve == "deny":
            return {"type": "reject"}
        return None if self._insists else {"type": "approve"}

    async def _ask(self, approval: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the person says; `None` where nobody is there, or has decided elsewhere."""
        self._progress.insist(f"{approval['id']}: {approval['description']}")
        if approval["type"] == "action":
            for part in readable(approval["action"]["args"]):
                self._progress.insist(f"  {part}")
        by_curl = f"to decide: {_by_curl(self._client, approval)}"
        if not at_terminal():
            self._progress.insist(by_curl)
            return None
        with self._progress.asking():
            try:
                return await self._typed(approval)
            except EOFError:
                self._progress.insist(by_curl)
                return None

    async def _typed(self, approval: dict[str, Any]) -> dict[str, Any] | None:
        """Return the decision that is typed; raises `EOFError` where the terminal is closed."""
        question, budget = approval["type"] == "input", approval["type"] == "budget"
        prompt = "type your answer" if question else "approve? type y, or n and a reason"
        if budget:
            prompt = "spend more? type y for twice as much, or n to finish with what there is"
        while (line := await self._read(approval, prompt)) is not None:
            word, _, rest = line.partition(" ")
            if question and line:
                return {"type": "respond", "message": line}
            if budget and word.lower() in {"y", "yes"}:
                name, args = approval["action"]["name"], approval["action"]["args"]
                return {"type": "edit", "edited_action": {"name": name, "args": _twice(args)}}
            if not question and word.lower() in {"y", "yes"}:
                return {"type": "approve"}
            if not question and word.lower() in {"n", "no"}:
                return {"type": "reject", **({"message": rest.strip()} if rest.strip() else {})}
        return None

    async def _read(self, approval: dict[str, Any], prompt: str) -> str | None:
        """Return a line of the terminal; `None` where the question is no longer open.

        Raises `EOFError` where the terminal is closed.

        Not `input()` in a thread: it would keep the command from ending until somebody presses Enter.
        """
        # What was typed before the question was shown is no answer to it.
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        self._progress.insist(prompt)  # a line of its own: agents go on talking
        ready, typed = asyncio.Event(), b""
        loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
        loop.add_reader(terminal, ready.set)
        try:
            while not typed.endswith(b"\n"):
                if approval["id"] in self._closed:
                    return None
                with suppress(TimeoutError):
                    await asyncio.wait_for(ready.wait(), LOOK_SECONDS)
                ready.clear()
                if _is_there(terminal, begun=bool(typed)):
                    # Not `readline()`: where Ctrl-D ends a part of a line it waits for the rest, and Ctrl-C with it.
                    piece = os.read(terminal, LONGEST_LINE)
                    if not piece:
                        raise EOFError
                    typed += piece
        finally:
            loop.remove_reader(terminal)
        return typed.decode(errors="replace").strip()


def _is_there(terminal: int, *, begun: bool) -> bool:
    """Return whether a read would not wait: after a part of a line a terminal may say so of nothing."""
    if begun:
        count = fcntl.ioctl(terminal, termios.FIONREAD, bytes(4))
        return int.from_bytes(count, sys.byteorder) > 0
    return bool(select.select([terminal], [], [], 0)[0])


def _twice(limits: dict[str, Any]) -> dict[str, Any]:
    """Return limits that are twice as high; what is no amount stays."""
    twice: dict[str, Any] = {}
    for name, value in limits.items():
        if isinstance(value, dict):
            twice[name] = _twice(value)
        elif isinstance(value, int):
            twice[name] = 2 * value
        else:
            twice[name] = str(2 * Decimal(value)) if name == "max_cost_usd" else value
    return twice


def readable(args: dict[str, Any]) -> Iterator[str]:
    """Yield a call's arguments as lines; a program with its own."""
    for name, value in args.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        # Nothing else begins a line of a program: a comment would seem to end where it does not.
        first, *rest = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        yield f"{name}: {first}" if not rest else f"{name}:"
        yield from (f"  {line}" for line in ([first, *rest] if rest else ()))


def _by_curl(client: httpx.AsyncClient, approval: dict[str, Any]) -> str:
    kind = approval["type"]
    body: dict[str, Any] = {"type": "approve"}
    if kind == "input":
        body = {"type": "respond", "message": "…"}
    elif kind == "budget":
        name, args = approval["action"]["name"], approval["action"]["args"]
        body = {"type": "edit", "edited_action": {"name": name, "args": _twice(args)}}
    url = f"{str(client.base_url).rstrip('/')}/v1/approvals/{approval['id']}/decision"
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl {shlex.quote(url)} -H 'content-type: application/json' -d {data}"
