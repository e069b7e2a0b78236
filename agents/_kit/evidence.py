"""Keeps what an agent's tools answered, so that its result can be checked against it later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import AnyMessage, ToolMessage

from agents._kit.grounding.check import Evidence
from domain.agent import AgentOutcome, EvidenceRef
from tools.sources import keep_text, read_text

KEPT: Final = "kept"
"""Where a message says under which hashes its text and its program lie."""

_RUN: Final = "run_python"
_CODE: Final = "code"


async def keep_evidence(message: ToolMessage, args: dict[str, Any], folder: Path) -> None:
    """Keep what a call answered, and the program that it ran; what cannot be kept, the check names."""
    code = args.get(_CODE) if message.name == _RUN else None
    refs = await asyncio.to_thread(_keep, folder, message.text, code)
    message.additional_kwargs[KEPT] = refs


async def keep_foreign(messages: Iterable[AnyMessage], folder: Path) -> None:
    """Keep what the tools of an outside graph answered: nobody saw them being called."""
    for message in messages:
        if isinstance(message, ToolMessage) and KEPT not in message.additional_kwargs:
            await keep_evidence(message, {}, folder)


def read_evidence(messages: Iterable[AnyMessage]) -> list[EvidenceRef]:
    """Return where the texts of a conversation lie, each once."""
    refs = [
        ref
        for message in messages
        if isinstance(message, ToolMessage)
        for ref in message.additional_kwargs.get(KEPT, [])
    ]
    return [ref for number, ref in enumerate(refs) if ref not in refs[:number]]


def load_evidence(
    outcome: AgentOutcome, folder: Path, *, given: str, results: Sequence[str]
) -> Evidence | None:
    """Return what a result rests on; `None` where a part of it is not to be had. Blocks.

    `given` is what the agent was told, `results` what others had found by then.
    """
    if "evidence" not in outcome:  # a version made it that kept nothing
        return None
    outputs: list[str] = []
    programs: list[str] = []
    for ref in outcome["evidence"]:
        text = read_text(folder, ref["sha256"]) if ref["sha256"] else None
        if text is None:
            return None
        (programs if ref["kind"] == "program" else outputs).append(text)
    pages: dict[int, str] = {}
    for citation in outcome["citations"]:
        page = read_text(folder, citation.get("sha256", ""))
        if page is not None:
            pages[citation["number"]] = page
    return Evidence(
        outputs=outputs,
        programs=programs,
        given=given,
        results="\n\n".join(results),
        citations=outcome["citations"],
        pages=pages,
    )


def _keep(folder: Path, text: str, code: object) -> list[EvidenceRef]:
    refs = [EvidenceRef(kind="output", sha256=keep_text(folder, text) or "")]
    if isinstance(code, str) and code:
        refs.append(EvidenceRef(kind="program", sha256=keep_text(folder, code) or ""))
    return refs
