"""An agent that works in a service of its own: its models are called there, and the tools that need no run.

The node keeps all else: the conversation, gates and ledger, files, events, and what may be spent. So a service
that is lost takes nothing with it, and another one goes on with what the node has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt import ToolRuntime

from agents._kit.candidates import Chain, OpenCandidate, Request
from agents._kit.chains import Candidate
from agents._kit.cleaning import plain_text
from agents._kit.faults import made_again
from agents._kit.instances import Instances, OnSaid, RemoteError, remote_error
from agents._kit.recorder import FAULT_CHARS
from agents._kit.remote_wire import (
    About,
    Answered,
    Call,
    Failed,
    Last,
    Model,
    Order,
    Refused,
    Result,
    Said,
    Token,
    agent_version,
    dump_messages,
    read_answer,
)
from agents._kit.stream import TokenRelay
from agents._kit.tape import spot
from domain.agent import AgentSpec, Citation, Tier
from domain.errors import RunFailedError, ToolFailedError
from domain.recording import Fault
from domain.run import RunContext
from domain.usage import Rates
from tools.openable import may_open, note_urls, read_url
from tools.registry import Tool
from tools.sources import keep_text

ABOUT_SECONDS: Final = 10.0
"""For how long what a service says of itself is taken as it was."""
TOOL_TRIES: Final = 3
"""Instances that one tool call is given to where they break off: such a tool changes nothing."""

NAME_CHARS: Final = 60
SAID_CHARS: Final = 1_000
"""Of what a service says has gone wrong."""
MOST_NUMBER: Final = 1_000
"""Of a source among those of one tool call; far more than any tool finds."""
CITED_CHARS: Final = 2_000
"""Of each thing that is said of a source; a url may be so long."""
CHARS_PER_TOKEN: Final = 200
SPARE_CHARS: Final = 10_000
"""A text is not passed on beyond the most that so many tokens can be."""


class RemoteAgent:
    """The service of one agent, as the node sees it."""

    def __init__(
        self, spec: AgentSpec, instances: Instances, relay: TokenRelay, *, call_seconds: float
    ) -> None:
        self.spec: Final = spec
        self.version: Final = agent_version(spec)
        self.instances: Final = instances
        self.call_seconds: Final = call_seconds
        self.relay: Final = relay
        self.price_of: Callable[[str], Rates | None] = lambda _: None
        """Looks up what a model costs, which may take its time when it is first asked for."""
        self.trace: Callable[[str], str | None] = lambda _: None
        """Returns the `traceparent` of what is asked for a run."""
        self.seconds_left: Callable[[str], float | None] = lambda _: None
        """Returns the running time that a run has left; `None` where it has no limit."""
        self._about: About | None = None
        self._looked = 0.0
        self._chains: dict[Tier, Chain] = {}
        instances.unfit = self._refused

    async def aclose(self) -> None:
        """Close the connections."""
        await self.instances.aclose()

    def chain(self, tier: Tier) -> Chain | None:
        """Return the service's models of a tier; `None` where it has not told of them yet."""
        return self._chains.get(tier)

    async def prepare(self) -> None:
        """Hear what the service says of itself; raises `RunFailedError` where none answers, or not as this agent."""
        now = asyncio.get_running_loop().time()
        if self._about and now - self._looked < ABOUT_SECONDS:
            return
        try:
            about = await self.instances.about()
        except RemoteError as error:
            raise RunFailedError(error.fault.said, code="agents-failed") from error
        if about != self._about:
            await self._take(about)
        self._looked = now

    def _refused(self, about: About) -> str | None:
        name = self.spec.name
        if about.agent != name:
            return f"The service of the agent {name} is that of another one. Mend {self.instances.variable}."
        if about.version != self.version:
            return (
                f"The service of the agent {name} has it in another version ({about.version[:40]!r}, here "
                f"{self.version!r}): its prompt, tools or graph differ. Bring both to the same release."
            )
        return None

    async def _take(self, about: About) -> None:
        models = {each.model for chain in about.chains.values() for each in chain}
        for model in sorted(models):
            await asyncio.to_thread(self.price_of, model)
        self._chains = {
            tier: Chain(tier, tuple(RemoteCandidate(self, each) for each in chain))
            for tier, chain in about.chains.items()
            if chain
        }
        self._about = about

    def order(self, **what: Any) -> Order:
        """Return an order to the service."""
        return Order(agent=self.spec.name, version=self.version, **what)

    async def do(self, order: Order, on_said: OnSaid, *, seconds: float) -> Last:
        """Have an order done; raises as what was done there has failed, or as the service has."""
        left = self.seconds_left(order.run_id)
        seconds = seconds if left is None else min(seconds, left)
        try:
            last = await self.instances.do(
                order, on_said, seconds=seconds, trace=self.trace(order.run_id)
            )
        except RemoteError as error:
            if error.fault.status is not None:
                self._looked = 0.0  # what it said of itself may hold no more
            raise
        if isinstance(last, Failed):
            raise made_again(_bounded(last.fault))
        return last

    def unfit(self) -> RemoteError:
        """Return what is said of an answer that is none to what was asked."""
        said = f"The service of the agent {self.spec.name} answered with what is no answer of an agent."
        return remote_error(said, transient=True, sent=True)

    def tools(self, chosen: Sequence[Tool]) -> list[BaseTool]:
        """Return the tools with those run at the service that may be."""
        return [self._there(tool) if tool.anywhere else tool.tool for tool in chosen]

    def _there(self, tool: Tool) -> BaseTool:
        here = tool.tool
        if not isinstance(here, StructuredTool) or here.coroutine is None:
            return here
        run_here = here.coroutine

        async def run(runtime: ToolRuntime[RunContext, Any], **args: Any) -> Any:  # noqa: ANN401 - as the tool itself
            if runtime.context.action_id:  # a person has let it run: here, under the ledger
                return await run_here(runtime=runtime, **args)
            return await self._run_tool(tool, args, runtime.context)

        return StructuredTool.from_function(
            coroutine=run,
            name=here.name,
            description=here.description,
            args_schema=here.args_schema,
            response_format="content_and_artifact",
        )

    async def _run_tool(
        self, tool: Tool, args: dict[str, Any], context: RunContext
    ) -> tuple[str, dict[str, Any]]:
        links = await asyncio.to_thread(_openable, args, context)
        order = self.order(
            do="tool",
            run_id=context.run_id,
            task=context.task,
            call=Call(name=tool.name, args=args),
            links=links,
        )
        last = await self._tool_answer(order, tool.timeout_seconds)
        if isinstance(last, Refused):
            raise ToolFailedError(last.detail)
        if not isinstance(last, Result) or not all(map(_is_numbered, last.citations)):
            raise ToolFailedError(self.unfit().fault.said)
        return await asyncio.to_thread(_keep, last, context)

    async def _tool_answer(self, order: Order, seconds: float) -> Last:
        """Return what came of a tool's order; one that broke off is given to another instance."""
        for left in reversed(range(TOOL_TRIES)):
            try:
                return await self.do(order, _nothing, seconds=seconds)
            except RemoteError as error:
                if not (left and error.fault.transient):
                    raise ToolFailedError(error.fault.said) from error
        raise AssertionError


def _bounded(fault: Fault) -> Fault:
    """Return a fault as it may be shown: what it is called and said to be comes from elsewhere."""
    name = re.sub(r"\W", "", fault.name, flags=re.ASCII)[:NAME_CHARS]
    said, text = plain_text(fault.said[:SAID_CHARS]), plain_text(fault.text[:FAULT_CHARS])
    return fault.model_copy(update={"name": name or "Error", "said": said, "text": text})


def _openable(args: dict[str, Any], context: RunContext) -> list[str]:
    """Return those arguments that are urls which the run may open. Blocks."""
    found = []
    for value in args.values():
        with suppress(ToolFailedError):
            if isinstance(value, str) and "://" in value:
                target = read_url(value)
                if may_open(target, context.task, context.sources):
                    found.append(str(target.url))
    return found


def _keep(result: Result, context: RunContext) -> tuple[str, dict[str, Any]]:
    """Keep what a tool's answer rests on where the run's sources are; return the answer. Blocks."""
    kept = {keep_text(context.sources, text) for text in result.texts.values()}
    note_urls(context.sources, result.links)
    shown = [_shown(citation) for citation in result.citations]
    citations = [
        c if c.get("sha256", "") in {*kept, ""} else {k: v for k, v in c.items() if k != "sha256"}
        for c in shown
    ]
    return result.text, {"citations": citations}


def _is_numbered(citation: Citation) -> bool:
    return 0 < citation["number"] <= MOST_NUMBER


def _shown(citation: Citation) -> Citation:
    """Return a source with what is said of it as long as our own tools say it at most."""
    cut = {name: value[:CITED_CHARS] for name, value in citation.items() if isinstance(value, str)}
    return cast("Citation", {**citation, **cut})


async def _nothing(said: Said) -> None:
    del said


class RemoteCandidate(OpenCandidate):
    """A model that the service of an agent has."""

    def __init__(self, remote: RemoteAgent, told: Model) -> None:
        candidate = Candidate(
            model=told.model,
            max_tokens=told.max_tokens,
            context=told.context,
            json_schema=told.json_schema,
            tools=told.tools,
        )
        idle = RemoteModel(remote=remote, order=remote.order(do="answer", run_id=""))
        super().__init__(
            candidate,
            talking=idle,
            deciding=idle,
            max_tokens=told.max_tokens,
            provider=f"the service of {remote.spec.name}",
        )
        self._remote = remote

    def model_for(self, request: Request, max_tokens: int) -> BaseChatModel:
        """Return its client for a request, answering with at most so many tokens."""
        words = self.in_words(request)
        order = self._remote.order(
            do="answer",
            run_id=request.run_id,
            at=spot(request),
            tier=request.tier,
            model=self.name,
            max_tokens=max_tokens,
            # Not streamed in words: who follows the run would read the JSON of tool calls.
            streamed=request.streamed and not words,
            words=words,
        )
        return RemoteModel(remote=self._remote, order=order, callbacks=[self._remote.relay])


class RemoteModel(BaseChatModel):
    """One call of a model at the service of an agent."""

    remote: Any
    order: Any

    @property
    def _llm_type(self) -> str:
        return "signalbox-remote"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        """Return the model with tools offered."""
        del kwargs
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("The service of an agent is asked asynchronously.")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del stop
        remote: RemoteAgent = self.remote
        # The service has the prompt itself, of the same version.
        said: Any = [m for m in messages if not isinstance(m, SystemMessage)]
        order: Order = self.order.model_copy(
            update={"messages": dump_messages(said), "tools": kwargs.get("tools", [])}
        )

        room = CHARS_PER_TOKEN * order.max_tokens + SPARE_CHARS

        async def on_said(token: Said) -> None:
            nonlocal room
            if not isinstance(token, Token):
                return
            room -= len(token.text)
            if room < 0:
                raise remote.unfit()
            if run_manager and token.text:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=token.text))
                await run_manager.on_llm_new_token(token.text, chunk=chunk)

        last = await remote.do(order, on_said, seconds=remote.call_seconds)
        if not isinstance(last, Answered):
            raise remote.unfit()
        try:
            message = read_answer(last.message)
        except (ValueError, TypeError, AttributeError) as error:
            raise remote.unfit() from error
        return ChatResult(generations=[ChatGeneration(message=message)])
