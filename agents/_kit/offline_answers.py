"""The sentences of the offline planner, and the composition of several results into one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agents._kit.prompts import ResultText

REMEDY: Final = "Set OPENAI_API_KEY, or OPENAI_BASE_URL to any OpenAI-compatible server."

NEEDS_MODEL: Final = (
    "I am the offline planner (no language model is configured). I can run Python code you paste, "
    "compute statistics and arithmetic, also of tables that come with a task, draw charts, write a few "
    f"well-known functions and search the local documents; this task needs a model. {REMEDY}"
)

QUOTE_CHARS: Final = 6_000
"""How much of a program's output an answer repeats."""


def explain_limit(what: str) -> str:
    """Return the sentence that says what only a model could have done."""
    return f"Not done: {what}. That needs a language model, and none is configured. {REMEDY}"


def explain_missing(what: str, library: str) -> str:
    """Return the sentence that says what the sandbox of this server lacks for something."""
    return (
        f"Not done: {what}. That needs {library}, which programs cannot import on this server: its "
        "sandbox does not have it (see SIGNALBOX_SANDBOX)."
    )


def explain_unread(part: str) -> str:
    """Return the sentence that says which part of a list of numbers was not understood."""
    return (
        f'Not computed: I did not understand "{part}". The offline planner computes only plain '
        f"lists of numbers.\n\n{NEEDS_MODEL}"
    )


def last_line(text: str) -> str:
    """Return the last line that says something: there an error names itself."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it gave no reason"


def why_failed(text: str) -> str:
    """Return the line of a program's report that says why it failed.

    The tool says it first, and lists files at the end; what a sandbox refuses is one sentence.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines and lines[0].startswith("The program "):
        return lines[0][:500]
    told = [
        line
        for line in lines
        if not line.startswith(("Files kept for", "Files not kept", "Files in the"))
    ]
    return last_line("\n".join(told))


def fence(text: str, language: str = "") -> str:
    """Return text as a fenced block; the fence is longer than any inside."""
    body = text.strip("\n")
    if len(body) > QUOTE_CHARS:
        body = f"{body[:QUOTE_CHARS]}\n[… {len(body) - QUOTE_CHARS} characters left out …]"
    mark = "```"
    while mark in body:
        mark += "`"
    return f"{mark}{language}\n{body}\n{mark}"


def compose_answer(results: Sequence[ResultText]) -> str:
    """Return one answer made of every result: nothing added, nothing reworded, failures named."""
    parts = [
        f"**{result.agent}**\n\n{result.text}" for result in results if result.status == "completed"
    ]
    parts += [
        f"**Missing:** {result.agent} {result.text}"
        for result in results
        if result.status != "completed"
    ]
    return "\n\n".join(parts)
