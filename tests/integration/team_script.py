"""Scripts for the fake model server: the supervisor's decisions, agents that wait, the final answer."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.fakes.model_script import ModelRequest, Reply, Rule, When

SECONDS: Final = 10.0
"""Bound on every wait of a test."""

ANSWER_PROMPT: Final = "^Write the final answer"


class Arriving:
    """A reply that tells when it was asked for."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._arrived = asyncio.Event()

    def __call__(self, request: ModelRequest) -> Reply:
        """Answer a request of the fake model server."""
        del request
        self._arrived.set()
        return self._reply

    async def wait(self) -> None:
        """Return when the model was asked."""
        async with asyncio.timeout(SECONDS):
            await self._arrived.wait()


def decisions(*assignments: tuple[str, str], task: str = "", gate: str | None = None) -> list[Rule]:
    """Return the rules of a supervisor that gives these assignments, then finishes.

    `task` limits them to runs whose prompt holds that text; `gate` holds the first decision.
    """
    where = f"{task}(?s:.*)" if task else ""
    return [
        Rule(when=When(schema=True, user=f"{where}<results>"), reply=Reply.route(), optional=True),
        Rule(
            when=When(schema=True, user=where or None), reply=Reply.route(*assignments), gate=gate
        ),
    ]


def worker(
    task: str,
    reply: Reply | Arriving,
    *,
    gate: str | None = None,
    gate_after: int = 0,
    times: int | None = None,
) -> Rule:
    """Return the rule of an agent's model call, found by its assignment."""
    when = When(schema=False, user=f"<assignment>\n{task}\n")
    return Rule(when=when, reply=reply, gate=gate, gate_after=gate_after, times=times)


def composer(reply: Reply) -> Rule:
    """Return the rule of the final answer of several agents."""
    return Rule(when=When(schema=False, system=ANSWER_PROMPT), reply=reply)


def solo(
    reply: Reply | Arriving | None = None, *, gate: str | None = None, gate_after: int = 0
) -> list[Rule]:
    """Return the rules of a run in which only the coder works."""
    rule = worker("Do it", reply or Reply(text="Done it."), gate=gate, gate_after=gate_after)
    return [*decisions(("coder", "Do it")), rule]


def unauthorised() -> Rule:
    """Return the rule of a provider that refuses the key."""
    return Rule(reply=Reply.error(401, message="Incorrect API key provided: sk-secret"))
