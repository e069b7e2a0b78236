"""Typical runs, scripted: what their model calls send and say, counted as a provider counts."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.fakes.model_script import ModelRequest, Reply, Rule, TokenUsage, When, make_route
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product, running

CHARS_A_TOKEN: Final = 4
CACHED_FROM: Final = 1024
"""Shorter beginnings that two prompts share are not cached, and longer ones in steps of 128 tokens."""
CACHED_STEP: Final = 128

FIVE_ROUNDS: Final = "five rounds, one answer"
LONG_REPORT: Final = "four assignments over a report of fifteen thousand characters"

SUBJECTS: Final = ("tower", "lamp", "keepers", "granite", "fog", "storms", "boats", "wrecks")
THREE: Final = ("tower", "lamp", "keepers")
"""The subjects of work that is divided in one way or another."""
SENTENCE: Final = (
    "The {subject} of the lighthouse had been planned with care, and whoever looked after it wrote down "
    "what was done, by whom and with what, so that those who came later could tell why it is as it is. "
)
DATA: Final = "month,visitors\n" + "\n".join(f"month {n},{1000 + 37 * n}" for n in range(24)) + "\n"


def answer(subject: str, sentences: int = 4) -> str:
    return SENTENCE.format(subject=subject) * sentences


REPORT: Final = "".join(f"## The {s}\n\n{answer(s, 9)}\n\n" for s in SUBJECTS)
"""Some fifteen thousand characters: what a page on the web or a few pages of paper hold."""

FILES: Final = {"visitors.csv": DATA, "report.md": REPORT}


@dataclass(frozen=True, kw_only=True)
class TypicalRun:
    """A task, and who does what in which round."""

    name: str
    task: str
    rounds: Sequence[Sequence[tuple[str, str]]]


def search(subject: str) -> Reply:
    return Reply.calls(("search_documents", {"query": f"{subject} of the lighthouse"}))


def read(path: str) -> Reply:
    return Reply.calls(("read_file", {"path": path}))


def steps(agent: str, subject: str) -> list[Reply]:
    """Return what an agent says, call after call."""
    if subject == "report":
        return [Reply.calls(("list_files", {})), read("report.md"), Reply(text=answer(subject))]
    if subject == "everything":
        seen = [search(each + more) for each in THREE for more in ("", " keepers")]
        return [*seen, Reply(text=answer("lighthouse", 12))]
    program = Reply.calls(("write_file", {"path": f"{subject}.py", "content": answer(subject, 5)}))
    return {
        "researcher": [search(subject), search(f"{subject} keepers"), Reply(text=answer(subject))],
        "analyst": [
            Reply.calls(("list_files", {})),
            read("visitors.csv"),
            Reply(text=answer(subject, 3)),
        ],
        "coder": [program, read(f"{subject}.py"), Reply(text=answer(subject))],
    }[agent]


RUNS: Final = (
    TypicalRun(
        name="one question, one agent",
        task="What do the documents say about the tower of the lighthouse?",
        rounds=[[("researcher", "Find out about the tower")]],
    ),
    TypicalRun(
        name="two agents at once, one answer",
        task="How did the number of visitors develop, and what do the documents say about the lamp?",
        rounds=[[("researcher", "Find out about the lamp"), ("analyst", "Describe the visitors")]],
    ),
    TypicalRun(
        name=FIVE_ROUNDS,
        task="Write a small guide to the lighthouse, with a program that prints the opening hours.",
        rounds=[
            [("researcher", "Find out about the tower")],
            [("analyst", "Describe the visitors")],
            [("researcher", "Find out about the lamp")],
            [("coder", "Write the program for the hours")],
            [("analyst", "Describe the best months")],
        ],
    ),
    TypicalRun(
        name=LONG_REPORT,
        task="What does the report say, where do the documents differ from it, and what follows?",
        rounds=[
            [
                ("researcher", "Find out about the tower"),
                ("analyst", "Describe the whole report"),
                ("coder", "Draft a guide from the report"),
            ],
            [("coder", "Mend the guide with the report")],
        ],
    ),
)


@dataclass
class Meter:
    """Counts what a provider would bill: all of a prompt, and how much of it was sent before."""

    sent: list[str] = field(default_factory=list)

    def read(self, request: ModelRequest) -> tuple[int, int]:
        """Return the tokens of a prompt, and those of them that are cached."""
        prompt = prompt_text(request)
        shared = max((common(prompt, other) for other in self.sent), default=0) // CHARS_A_TOKEN
        self.sent.append(prompt)
        cached = shared // CACHED_STEP * CACHED_STEP if shared >= CACHED_FROM else 0
        return len(prompt) // CHARS_A_TOKEN, cached

    def bill(self, request: ModelRequest, reply: Reply) -> Reply:
        """Return the reply with the tokens it costs."""
        given, cached = self.read(request)
        said = len(reply.text) + sum(
            len(json.dumps(c.args)) + len(c.name) for c in reply.tool_calls
        )
        return replace(reply, usage=TokenUsage(given, max(1, said // CHARS_A_TOKEN), cached))


def prompt_text(request: ModelRequest) -> str:
    """Return what a model reads, in the order in which it reads: tools and schema, then the messages."""
    body = request.body
    parts = [body.get("tools"), body.get("response_format"), *body["messages"]]
    return "\n".join(json.dumps(part, ensure_ascii=False) for part in parts if part)


def common(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle)
    return low


def script(run: TypicalRun, meter: Meter) -> list[Rule]:
    """Return the rules that make the models behave as the run says."""

    def decide(request: ModelRequest) -> Reply:
        results = request.user.count("<result ")
        done = 0
        for number, assignments in enumerate(run.rounds):
            if done == results:
                reason = f"Step {number + 1} needs what the steps before it have found, and nothing else."
                last = number == len(run.rounds) - 1
                route = {**make_route(assignments, reason), **({"last": True} if last else {})}
                return meter.bill(request, Reply.json(route))
            done += len(assignments)
        msg = "nothing is left to decide"
        raise AssertionError(msg)

    def judge(request: ModelRequest) -> Reply:
        criteria = [
            {"criterion": f"It covers what the task says about {subject}.", "met": True, "why": ""}
            for subject in SUBJECTS[:3]
        ]
        rest: dict[str, Any] = {"disagreements": [], "reasons": [], "fixes": []}
        return meter.bill(request, Reply.json({"criteria": criteria, "verdict": "accept", **rest}))

    def compose(request: ModelRequest) -> Reply:
        return meter.bill(request, Reply(text="".join(answer(s, 2) for s in SUBJECTS[:3])))

    def work(request: ModelRequest) -> Reply:
        assignment = request.user.rpartition("<assignment>\n")[2].removesuffix("\n</assignment>")
        agent = next(a for r in run.rounds for a, task in r if task == assignment)
        turn = sum(message["role"] == "assistant" for message in request.body["messages"])
        return meter.bill(request, steps(agent, assignment.split()[-1])[turn])

    return [
        Rule(when=When(schema=True, system="^You supervise"), reply=decide),
        Rule(when=When(schema=True, system="^You check"), reply=judge),
        Rule(when=When(schema=False, system="^Write the final answer"), reply=compose),
        Rule(when=When(schema=False), reply=work),
    ]


async def carry_out(run: TypicalRun, folder: Path) -> tuple[dict[str, Any], FakeModelServer]:
    """Carry out a run in an empty folder; return it, and the server that has all of its requests."""
    documents = folder / "documents"
    documents.mkdir(parents=True)
    for subject in SUBJECTS:
        text = f"# The {subject} of the lighthouse\n\n{answer(subject, 12)}\n"
        (documents / f"{subject}.md").write_text(text)
    async with (
        FakeModelServer(*script(run, Meter())) as models,
        running(
            folder / "data",
            knowledge_dir=documents,
            search_keyless=False,
            sandbox="off",
            OPENAI_BASE_URL=models.base_url,
        ) as product,
    ):
        return await _finished(product, run), models


async def _finished(product: Product, run: TypicalRun) -> dict[str, Any]:
    files = [
        {"name": name, "content_base64": base64.b64encode(text.encode()).decode()}
        for name, text in FILES.items()
    ]
    ended = await product.finished(run.task, files=files)
    assert ended["status"] == "completed", ended
    assert ended["degraded"] == [], ended["degraded"]
    assert ended["rounds"] == len(run.rounds), ended["rounds"]
    return ended
