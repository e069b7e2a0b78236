"""The one shape in which tasks and results reach a model, and the way back for the offline planner.

The task always comes first and changes least, so that a provider's prompt cache can hit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from domain.agent import AgentOutcome
from domain.artifact import InputFile

RESULT_CHARS: Final = 8_000
"""How much of one agent's result a prompt holds; of a longer one, head and tail."""

SUPERVISOR_CHARS: Final = 8_000
"""How much of all results together the supervisor reads: it decides who works next, and answers nothing."""

TOGETHER_CHARS: Final = 24_000
"""How much of all results together any other prompt holds."""

LEAST_CHARS: Final = 200
"""How much of each result is shown at least; where there is not even room for that, the oldest are left out."""

NOTE_CHARS: Final = 60
"""Of the note that stands where a text was cut."""

EARLIER_RESULT_CHARS: Final = 2_000
"""How much of one earlier result an agent of a later round reads: it rides in every checkpoint."""

_RESULT: Final = re.compile(
    r'<result agent="(?P<agent>[^"]*)" round="(?P<round>\d+)" status="(?P<status>\w+)">\n(?P<text>.*?)\n</result>',
    re.DOTALL,
)


_TAG: Final = re.compile(
    r"(^</?(?:earlier|task|files|results?|assignment|check|settled|notes?)\b[^>\n]*>$)",
    re.MULTILINE,
)


class ResultText(NamedTuple):
    """One agent's result as it stands in a prompt."""

    agent: str
    round: int
    status: str
    text: str


class PromptParts(NamedTuple):
    """A prompt taken apart again."""

    task: str
    results: list[ResultText]
    assignment: str
    """Empty in the supervisor's prompts."""
    files: tuple[str, ...] = ()
    """Names of the files that came with the task."""


def head_and_tail(text: str, limit: int) -> str:
    """Return `text`, or its head and tail with a note of how much lies between."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    return f"{text[:head]}\n[… {len(text) - limit} characters left out …]\n{text[-tail:]}"


def shorten_prompt(text: str, limit: int) -> str:
    """Return a prompt within about so many characters: of each long part head and tail, between its tags."""
    parts = _TAG.split(text)
    texts, tags = parts[::2], parts[1::2]
    room = limit - sum(map(len, tags)) - NOTE_CHARS * len(texts)
    most = max(LEAST_CHARS, fair_limit([len(part) for part in texts], limit, room))
    parts[::2] = [head_and_tail(part, most) for part in texts]
    return "".join(parts)


def write_results(
    outcomes: Sequence[AgentOutcome],
    *,
    limit: int = RESULT_CHARS,
    together: int = TOGETHER_CHARS,
) -> str:
    """Return the results block, in the order of the outcomes; a failed one says why.

    `limit` is how much of each result it holds, `together` how much of all of them: short ones stay whole,
    and the others share what is left.
    """
    newest = sorted(range(len(outcomes)), key=lambda place: outcomes[place]["round"])
    shown = [outcomes[place] for place in sorted(newest[-(together // LEAST_CHARS) :])]
    texts = [
        outcome["output"]
        if outcome["error"] is None
        else f"failed ({outcome['error']['code']}): {outcome['error']['detail']}"
        for outcome in shown
    ]
    limit = fair_limit([len(text) for text in texts], limit, together)
    left_out = len(outcomes) - len(shown)
    blocks = [f"[… {left_out} earlier results left out …]"] if left_out else []
    blocks += [
        f'<result agent="{outcome["agent"]}" round="{outcome["round"]}" status="{outcome["status"]}">\n'
        f"{head_and_tail(text, limit)}\n</result>"
        for outcome, text in zip(shown, texts, strict=True)
    ]
    return "\n".join(blocks)


def fair_limit(lengths: Sequence[int], limit: int, together: int) -> int:
    """Return the greatest length, up to `limit`, to which all can be cut so that together they fit."""
    ordered = sorted(min(length, limit) for length in lengths)
    for place, length in enumerate(ordered):
        share = together // (len(ordered) - place)
        if length > share:
            return share
        together -= length
    return limit


def write_prompt(
    task: str,
    *,
    earlier: str = "",
    files: Sequence[InputFile] = (),
    results: str = "",
    assignment: str = "",
) -> str:
    """Return a prompt: the run's task, its files, the results so far, then the agent's own assignment.

    `earlier` is what was asked and answered before on the same thread; it stands in front.
    """
    parts = [f"<earlier>\n{earlier}\n</earlier>"] if earlier else []
    parts.append(f"<task>\n{task}\n</task>")
    if files:
        listed = "\n".join(f"{file['name']} ({file['size']} bytes)" for file in files)
        parts.append(f"<files>\n{listed}\n</files>")
    if results:
        parts.append(f"<results>\n{results}\n</results>")
    if assignment:
        parts.append(f"<assignment>\n{assignment}\n</assignment>")
    return "\n\n".join(parts)


def read_prompt(text: str) -> PromptParts:
    """Take a prompt of `write_prompt` apart."""
    assignment = ""
    if text.startswith("<earlier>\n"):
        text = text.partition("\n</earlier>\n\n")[2]
    start = text.rfind("\n\n<assignment>\n")
    if start >= 0:
        assignment = text[start + len("\n\n<assignment>\n") :].removesuffix("\n</assignment>")
        text = text[:start]
    task, _, rest = text.partition("\n</task>\n\n")
    task = task.removeprefix("<task>\n").removesuffix("\n</task>")
    listed = ""
    if rest.startswith("<files>\n"):
        listed, _, rest = rest.removeprefix("<files>\n").partition("\n</files>")
    results = rest.partition("<results>\n")[2]
    found = [
        ResultText(m["agent"], int(m["round"]), m["status"], m["text"])
        for m in _RESULT.finditer(results)
    ]
    names = tuple(line.rpartition(" (")[0] for line in listed.splitlines())
    return PromptParts(task, found, assignment, names)
