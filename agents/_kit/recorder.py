"""Writes down what comes from outside while a run is made: answers, results, and what they were asked with."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage, messages_to_dict

from agents._kit.acting import Ran
from agents._kit.cleaning import clean_text, clean_value
from agents._kit.delays import told_delay
from agents._kit.faults import (
    explain,
    is_final,
    is_overflow,
    is_transient,
    may_be_billed,
    status_of,
)
from agents._kit.outcomes import AssignmentContext
from agents._kit.stream import taking_pieces
from agents._kit.tape import LIVE, Asked, Invoke, Used, digest, digests, spot
from domain.errors import ToolFailedError
from domain.recording import MAX_BYTES, CallLine, Fault, PinLine, ToolLine
from domain.run import RunContext
from domain.secrets import Scrubber
from domain.tool import Pinned
from tools.sources import read_text

FAULT_CHARS: Final = 4_000
"""Of what an error says: enough for how large a window is."""


class Recorder:
    """`agents._kit.tape.Tape` that writes down what passes it. Nothing of it holds a secret that is known."""

    def __init__(self, scrubber: Scrubber, *, most_bytes: int = MAX_BYTES) -> None:
        self._scrubber: Final = scrubber
        self._most: Final = most_bytes
        self._lines: Final[dict[str, list[CallLine | ToolLine | PinLine]]] = {}
        self._numbers: Final[Counter[tuple[str, str, str]]] = Counter()
        self._sizes: Final[Counter[str]] = Counter()
        self._only: str | None = None

    def keep_only(self, run_id: str) -> None:
        """Write down nothing more of other runs, and forget what there is of them: they were left by others."""
        self._only = run_id
        for other in [each for each in self._lines if each != run_id]:
            del self._lines[other]

    def lines(self, run_id: str) -> list[CallLine | ToolLine | PinLine] | None:
        """Return what was written down of a run, in the order in which it ended; `None` where it is too much."""
        if self._sizes[run_id] > self._most:
            return None
        return self._lines.get(run_id, [])

    async def call(self, asked: Asked, model: BaseChatModel, invoke: Invoke) -> AIMessage:
        """Return a model's answer."""
        message: AIMessage | None = None
        fault: Fault | None = None
        with taking_pieces() as pieces:
            try:
                message = await LIVE.call(asked, model, invoke)
            except Exception as error:
                fault = fault_of(error)
                raise
            finally:
                self._keep_call(asked, pieces, message, fault)
        return message

    async def tool(self, used: Used, run: Callable[[], Awaitable[Ran]]) -> Ran:
        """Return what came of a tool's call."""
        ran = await LIVE.tool(used, run)
        message = self._scrubber.scrub_value(_dump(ran.message))
        texts = await asyncio.to_thread(_texts, ran.message, used.sources)
        line = ToolLine(
            at=used.call_id,
            number=self._number(used.context.run_id, "tool", used.call_id),
            tool=used.name,
            digest=digest(used.args, self._scrubber),
            message=message,
            took=ran.took,
            texts={name: self._scrubber.scrub(clean_text(text)) for name, text in texts.items()},
        )
        self._keep(used.context.run_id, line)
        return ran

    async def wait(self, seconds: float) -> None:
        """Wait so many seconds."""
        await LIVE.wait(seconds)

    async def pin(
        self,
        name: str,
        args: Mapping[str, Any],
        context: RunContext,
        find: Callable[[Mapping[str, Any], RunContext], Awaitable[Pinned]],
    ) -> Pinned:
        """Return what a call is about; raises as the tool does."""
        found: Pinned | None = None
        refusal: str | None = None
        try:
            found = await find(args, context)
        except ToolFailedError as error:
            refusal = self._scrubber.scrub(error.detail)
            raise
        finally:
            at = pin_spot(name, context)
            if found or refusal is not None:
                line = PinLine(
                    at=at,
                    number=self._number(context.run_id, "pin", at),
                    digest=digest(args, self._scrubber),
                    value=found.value if found else None,
                    about=self._scrubber.scrub(found.about) if found else None,
                    refusal=refusal,
                )
                self._keep(context.run_id, line)
        return found

    def _keep_call(
        self, asked: Asked, pieces: list[str], message: AIMessage | None, fault: Fault | None
    ) -> None:
        run_id, at = asked.request.run_id, spot(asked.request)
        scrub = self._scrubber.scrub_value
        line = CallLine(
            at=at,
            number=self._number(run_id, "call", at),
            agent=asked.request.agent,
            model=asked.model_name,
            digests=digests(asked, self._scrubber),
            pieces=_scrubbed(pieces, self._scrubber),
            message=scrub(_dump(message)) if message else None,
            fault=fault and Fault.model_validate(scrub(fault.model_dump())),
        )
        self._keep(run_id, line)

    def _number(self, run_id: str, kind: str, at: str) -> int:
        self._numbers[run_id, kind, at] += 1
        return self._numbers[run_id, kind, at]

    def _keep(self, run_id: str, line: CallLine | ToolLine | PinLine) -> None:
        if self._only not in {None, run_id}:
            return
        lines = self._lines.setdefault(run_id, [])
        self._sizes[run_id] += len(line.model_dump_json())
        if self._sizes[run_id] > self._most:
            lines.clear()  # it will not be written: no use in keeping it
        else:
            lines.append(line)


def pin_spot(name: str, context: RunContext) -> str:
    """Return where in a run a call is nailed down."""
    work = context.assignment if isinstance(context, AssignmentContext) else None
    return f"{work['round']}|{work['path']}|{name}" if work else name


def _scrubbed(pieces: list[str], scrubber: Scrubber) -> tuple[str, ...]:
    """Return pieces of a text without the secrets of the whole: one may lie over several of them."""
    pieces = [clean_text(piece) for piece in pieces]
    whole = "".join(pieces)
    scrubbed = scrubber.scrub(whole)
    return tuple(pieces) if scrubbed == whole else (scrubbed,)


def _dump(message: AIMessage | ToolMessage) -> dict[str, Any]:
    """Return a message as JSON has it, whatever its provider put into it."""
    dumped: dict[str, Any] = clean_value(messages_to_dict([message])[0])
    return dict(clean_value(json.loads(json.dumps(dumped, default=str))))


def _texts(message: ToolMessage, folder: Path) -> dict[str, str]:
    """Return what a call has kept of the sources that it names. Blocks."""
    left = message.artifact if isinstance(message.artifact, dict) else {}
    hashes = {str(c.get("sha256", "")) for c in left.get("citations", []) if isinstance(c, dict)}
    found = {sha256: read_text(folder, sha256) for sha256 in sorted(hashes - {""})}
    return {sha256: text for sha256, text in found.items() if text is not None}


def fault_of(error: Exception) -> Fault:
    """Return how a model call has failed, as far as it matters to whoever made it."""
    provider = not is_final(error)
    return Fault(
        name=type(error).__name__,
        said=clean_text(explain(error)),
        text=clean_text(str(error)[:FAULT_CHARS]),
        status=status_of(error),
        retry_after=told_delay(error),
        provider=provider,
        transient=provider and is_transient(error),
        billed=may_be_billed(error),
        overflow=is_overflow(error),
    )
