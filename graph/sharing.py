"""Has an assignment done once for several runs, where nothing but its outcome came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from math import ceil
from typing import Any, Final

from langgraph.types import StreamWriter

from agents._kit.faults import LENGTH
from agents._kit.models import ModelGateway
from agents._kit.prompts import write_prompt
from domain.agent import AgentOutcome, AgentSpec, Assignment, TokenCount, Whence
from domain.approval import PausedWork
from domain.caching import Had, Piece, Work, WorkCache
from domain.events import EventDraft
from domain.run import RunContext
from domain.usage import cached_call, plain
from graph.answer import is_in_vain
from graph.state import AgentInput
from tools.fingerprint import fingerprint
from tools.openable import note_urls
from tools.registry import Toolbox
from tools.sources import take_texts

_KEPT: Final = ("output", "citations", "evidence")
"""What is kept of an outcome: its turns are events of the run that they were made in."""

AgentWork = Callable[[], Awaitable[AgentOutcome | PausedWork]]


class Sharing:
    """Gives an assignment the outcome of the same one in another run.

    The same is: the same words to the same agent, with the same models and tools, and the same files in
    the folder. What did more than answer is done anew: files that were written, actions, questions.
    """

    def __init__(self, cache: WorkCache, gateway: ModelGateway, toolbox: Toolbox) -> None:
        self._cache = cache
        self._gateway = gateway
        self._toolbox = toolbox

    async def outcome(
        self,
        spec: AgentSpec,
        state: AgentInput,
        context: RunContext,
        *,
        write: StreamWriter,
        work: AgentWork,
    ) -> AgentOutcome | PausedWork:
        """Return what an assignment comes to, by work or from another run."""
        # What a graph from outside does besides answering nobody can tell.
        if context.cache_seconds is None or state.get("paused") or spec.graph is not None:
            return await work()
        before = await asyncio.to_thread(fingerprint, context.workspace)
        if before is None:
            return await work()
        done: list[AgentOutcome | PausedWork] = []
        clock = asyncio.get_running_loop().time

        async def compute() -> Work:
            began = clock()
            outcome = await work()
            done.append(outcome)
            if "asks" in outcome:
                return Work({}, keep=False)
            keep = self._may_be_kept(outcome)
            keep = keep and await asyncio.to_thread(fingerprint, context.workspace) == before
            web = self._used_web(outcome)
            # A page may have been read at the beginning, and may have been as old then.
            age = _oldest(outcome) + ceil(clock() - began) if web else 0
            return Work(self._kept(outcome), keep=keep, web=web, age=age)

        piece = self._piece(spec, state, context, before)
        had = await self._cache.cached(context, piece, compute)
        if done:
            return done[0]
        return await self._adopt(spec, state["assignment"], context, had, write) or await work()

    def _piece(self, spec: AgentSpec, state: AgentInput, context: RunContext, before: str) -> Piece:
        assignment = state["assignment"]
        prompt = write_prompt(
            state["task"],
            earlier=context.earlier,
            files=context.files,
            results=state["results"],
            assignment=assignment["task"],
        )
        about = {
            "agent": spec.name,
            "prompt": prompt,
            "tier": self._gateway.get_model_for_task(assignment, spec).tier,
            "approvals": context.approval_mode,
            "workspace": before,
        }
        return Piece(kind="assignment", about=about)

    def _may_be_kept(self, outcome: AgentOutcome) -> bool:
        calls = [call for turn in outcome["turns"] for call in turn["calls"]]
        tools = [self._toolbox.get(c["tool"]) for c in calls if c["tool"] in self._toolbox.names]
        return (
            outcome["status"] == "completed"
            and not is_in_vain(outcome)
            and not any(t["finish_reason"] in LENGTH for t in outcome["turns"])
            and not any(call.get("artifacts") or call.get("doubt") for call in calls)
            and not any(t.effect == "external" or t.control or t.off_reason for t in tools)
        )

    def _used_web(self, outcome: AgentOutcome) -> bool:
        names = {call["tool"] for turn in outcome["turns"] for call in turn["calls"]}
        return any(name in self._toolbox.names and self._toolbox.get(name).web for name in names)

    def _kept(self, outcome: AgentOutcome) -> dict[str, Any]:
        cost = self._cost(outcome)
        kept: dict[str, Any] = {name: outcome.get(name, []) for name in _KEPT}
        return {
            **kept,
            "model": outcome["model"],
            "cost_usd": None if cost is None else plain(cost),
        }

    def _cost(self, outcome: AgentOutcome) -> Decimal | None:
        """Return what an outcome cost; `None` where nobody knows."""
        used = outcome["usage"]
        metered = used["input_tokens"] > 0
        # What nobody has metered is known to cost nothing only where the model is free.
        read = used["input_tokens"] if metered else 1_000_000
        price = self._gateway.cost(
            outcome["model"], read, used["output_tokens"], used["cached_tokens"]
        )
        return price if metered or price == 0 else None

    async def _adopt(
        self,
        spec: AgentSpec,
        assignment: Assignment,
        context: RunContext,
        had: Had,
        write: StreamWriter,
    ) -> AgentOutcome | None:
        """Return another run's outcome as this one's, and tell of it; `None` where its texts are gone."""
        value = had.value
        hashes = {each["sha256"] for each in value["evidence"] if each["sha256"]}
        hashes |= {each["sha256"] for each in value["citations"] if each.get("sha256")}
        theirs = context.sources.parent / str(had.run_id)
        if hashes and not await asyncio.to_thread(take_texts, context.sources, theirs, hashes):
            return None
        # A later agent may open what this one cites.
        urls = [each["source"] for each in value["citations"]]
        await asyncio.to_thread(note_urls, context.sources, urls)
        tier = self._gateway.get_model_for_task(assignment, spec).tier
        saved = None if value["cost_usd"] is None else Decimal(value["cost_usd"])
        place: Any = {"agent": spec.name, "path": assignment["path"], "round": assignment["round"]}
        started = {"task": assignment["task"], "model": value["model"], "tier": tier}
        hit = {"kind": "assignment", **(had.whence or {}), "saved_cost_usd": value["cost_usd"]}
        write(EventDraft(type="agent.started", data=started, **place))
        write(EventDraft(type="cache.hit", data=hit, **place))
        key = f"{assignment['round']}|{assignment['path']}|cache"
        booked = cached_call(key, spec.name, value["model"], tier, saved)
        write(booked)
        usage = TokenCount(
            input_tokens=0,
            output_tokens=0,
            cached_tokens=0,
            calls=0,
            model=value["model"],
            tier=tier,
        )
        return AgentOutcome(
            agent=spec.name,
            path=assignment["path"],
            round=assignment["round"],
            task=assignment["task"],
            status="completed",
            output=value["output"],
            error=None,
            citations=value["citations"],
            turns=[],
            usage=usage,
            model=value["model"],
            tier=tier,
            evidence=value["evidence"],
            fleeting=had.web,
            reused=Whence(run_id=str(had.run_id), age=had.age),
        )


def _oldest(outcome: AgentOutcome) -> int:
    """Return how many seconds old the oldest is that the tools had from others."""
    calls = [call for turn in outcome["turns"] for call in turn["calls"]]
    return max((call["reused"]["age"] + 1 for call in calls if "reused" in call), default=0)
