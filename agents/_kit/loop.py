"""One agent as a function: an assignment in, an outcome out; its steps, tokens and calls on the stream."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Final, cast

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, StreamWriter

from agents._kit.cleaning import clean_message
from agents._kit.faults import finish_reason
from agents._kit.models import ModelGateway, count_tokens
from agents._kit.outcomes import (
    AssignmentContext,
    bounded_args,
    make_record,
    message_data,
    read_citations,
    read_turns,
    tool_ended,
    work_context,
)
from agents._kit.prompts import write_prompt
from agents._kit.stream import StreamOwner, count_turns, owned
from domain.agent import (
    AgentOutcome,
    AgentSpec,
    Assignment,
    TokenCount,
)
from domain.errors import ModelAnswerError, ToolFailedError, TurnLimitError
from domain.run import RunContext
from tools.limits import cut_result
from tools.registry import Toolbox

MAX_TOOL_CALLS: Final = 24
"""Tool calls one assignment may make; a model in a loop is told to answer."""

SOURCES_PER_CALL: Final = 20
"""More sources than any search returns: the room for numbers that each call of a turn gets."""


class _Steps(AgentMiddleware[Any, AssignmentContext, Any]):
    """Bounds an agent's model and tool calls and puts each of them on the stream.

    Only wrapping hooks: every before/after hook would add a node, and with it a checkpoint.
    """

    def __init__(self, spec: AgentSpec, gateway: ModelGateway, toolbox: Toolbox) -> None:
        super().__init__()
        self._spec = spec
        self._gateway = gateway
        self._toolbox = toolbox

    async def awrap_model_call(
        self,
        request: ModelRequest[AssignmentContext],
        handler: Callable[[ModelRequest[AssignmentContext]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Call the model through the gateway; announce the message before and after."""
        context = request.runtime.context
        write = context.write
        turn = count_turns(request.state["messages"])
        if turn >= self._spec.max_turns:
            msg = f"The agent did not answer within {self._spec.max_turns} model calls."
            raise TurnLimitError(msg)
        message_id = context.message_id(turn)
        responses: list[ModelResponse[Any]] = []

        async def invoke() -> AIMessage:
            responses.append(await handler(request))
            return cast("AIMessage", responses[-1].result[0])

        def on_retry(reason: str, delay: float, number: int) -> None:
            data = {"reason": reason, "delay_seconds": delay, "try": number}
            write(context.draft("agent.retrying", data, f"{turn}~{number}~{context.attempt}"))

        message = await self._gateway.call(invoke, run_id=context.run_id, on_retry=on_retry)
        work = context.assignment
        key = f"{work['round']}|{work['path']}|{turn}|{context.attempt}"
        spec, run_id = self._spec, context.run_id
        write(self._gateway.book(key, spec.name, spec.tier, message, run_id=run_id))
        write(context.draft("message.completed", message_data(message_id, message), str(turn)))
        return replace(responses[-1], result=[message, *responses[-1].result[1:]])

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Run one tool call within its time; a failure becomes a sentence for the model."""
        context = cast("AssignmentContext", request.runtime.context)
        write = context.write
        turn, position = _locate(request)
        call_id, call = context.call_id(turn, position), f"{turn}.{position}"
        name = request.tool_call["name"]
        args = bounded_args(request.tool_call["args"])
        write(context.draft("tool.started", {"call_id": call_id, "tool": name, "args": args}, call))
        started = perf_counter()
        message = await self._run_tool(request, handler)
        if not isinstance(message, ToolMessage):
            return message
        # Kept with the message so that the events can be made again from the checkpoint alone.
        message.additional_kwargs["duration_ms"] = round((perf_counter() - started) * 1000)
        record = make_record(call_id, name, args, message)
        write(context.draft(*tool_ended(record, call)))
        return message

    async def _run_tool(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        name, call_id = request.tool_call["name"], request.tool_call["id"]
        # The calls before this turn, and those of this turn that stand before this one.
        made = (
            sum(isinstance(m, ToolMessage) for m in request.state["messages"]) + _locate(request)[1]
        )
        # A model may invent a name: LangChain answers it with the list of the real ones.
        seconds = self._toolbox.get(name).timeout_seconds if name in self._toolbox.names else None
        try:
            if made >= MAX_TOOL_CALLS:
                msg = f"All {MAX_TOOL_CALLS} tool calls are used. Answer with what you have."
                raise ToolFailedError(msg)  # noqa: TRY301 - every refusal takes the same way
            async with asyncio.timeout(seconds):
                message = await handler(request)
        except ToolFailedError as error:
            message = ToolMessage(error.detail, tool_call_id=call_id, name=name, status="error")
        except TimeoutError:
            text = f"The tool {name} did not end within its time. Ask for less."
            message = ToolMessage(text, tool_call_id=call_id, name=name, status="error")
        except GraphBubbleUp:
            raise
        except Exception as error:  # noqa: BLE001 - a tool's fault must not end the agent
            text = f"The tool {name} failed ({type(error).__name__}). Try another way."
            message = ToolMessage(text, tool_call_id=call_id, name=name, status="error")
        if isinstance(message, ToolMessage) and isinstance(message.content, str):
            message.content = cut_result(message.content)
            _number_citations(message, request)
        return message


class AgentLoop:
    """Runs one agent: LangChain's loop, or the compiled graph the spec brings."""

    def __init__(self, spec: AgentSpec, gateway: ModelGateway, toolbox: Toolbox) -> None:
        self.spec: Final = spec
        self._gateway: Final = gateway
        self._graph: Final[Any] = spec.graph or create_agent(
            gateway.talking(spec.tier),
            [tool.tool for tool in toolbox.select(spec.tools)],
            system_prompt=spec.prompt,
            middleware=[_Steps(spec, gateway, toolbox)],
            context_schema=AssignmentContext,
            name=spec.name,
        )

    async def __call__(
        self,
        assignment: Assignment,
        *,
        task: str,
        results: str,
        context: RunContext,
        config: RunnableConfig,
        write: StreamWriter,
    ) -> AgentOutcome:
        """Work on an assignment; raises where the agent fails for good."""
        work = work_context(context, assignment, write)
        data = {
            "task": assignment["task"],
            "model": self._gateway.name(self.spec.tier),
            "tier": self.spec.tier,
        }
        write(work.draft("agent.started", data))
        message_id = f"{assignment['round']}.{assignment['path']}"
        if self.spec.graph:
            # Somebody else's graph reads the last message, and expects plain words there.
            about = write_prompt(task, earlier=context.earlier, results=results)
            asked = [
                HumanMessage(about, id=f"{message_id}.about"),
                HumanMessage(assignment["task"], id=f"{message_id}.task"),
            ]
        else:
            prompt = write_prompt(
                task, earlier=context.earlier, results=results, assignment=assignment["task"]
            )
            # A stable id: the same input after a crash continues, it is not added a second time.
            asked = [HumanMessage(prompt, id=message_id)]
        answer = await self._graph.ainvoke(
            {"messages": asked},
            {**self._owned(config, work), "recursion_limit": 2 * self.spec.max_turns + 5},
            **({} if self.spec.graph else {"context": work}),
        )
        messages = answer["messages"]
        if self.spec.graph:
            # Its model calls did not pass the gateway, which cleans what it returns.
            messages = [clean_message(m) if isinstance(m, AIMessage) else m for m in messages]
            self._book_outside_calls(work, messages)
        return self._outcome(work, messages)

    def _book_outside_calls(self, work: AssignmentContext, messages: Sequence[AnyMessage]) -> None:
        """Book the calls that an outside graph's messages tell of: nobody saw them being made."""
        assignment = work.assignment
        told = [m for m in messages if isinstance(m, AIMessage) and m.usage_metadata]
        for turn, message in enumerate(told):
            key = f"{assignment['round']}|{assignment['path']}|{turn}|{work.attempt}"
            call = self._gateway.book(
                key, self.spec.name, self.spec.tier, message, run_id=work.run_id
            )
            work.write(call)

    def _owned(self, config: RunnableConfig, work: AssignmentContext) -> RunnableConfig:
        """Return the config under which the agent's tokens are its own."""
        outside = self.spec.graph is not None
        owner = StreamOwner(
            run_id=work.run_id,
            agent=self.spec.name,
            prefix=work.message_id(""),
            numbering="own" if outside else "turn",
        )
        if outside:
            # Our models bring the relay; an outside graph has models of its own.
            relay: RunnableConfig = {"callbacks": [self._gateway.relay]}
            config = merge_configs(config, relay)
        return owned(config, owner)

    def _outcome(self, work: AssignmentContext, messages: Sequence[AnyMessage]) -> AgentOutcome:
        answers = [m for m in messages if isinstance(m, AIMessage)]
        if not answers or not answers[-1].text.strip():
            msg = "The agent ended without an answer."
            raise ModelAnswerError(msg)
        output = answers[-1].text.strip()
        if finish_reason(answers[-1]) in {"length", "max_tokens"}:
            output += f"\n\n[cut off at the limit of {self._gateway.max_output_tokens} tokens]"
        usage = self._usage(answers)
        return AgentOutcome(
            **work.assignment,
            status="completed",
            output=output,
            error=None,
            citations=read_citations(messages, output),
            turns=read_turns(work, messages, foreign=bool(self.spec.graph)),
            usage=usage,
            model=self._gateway.name(self.spec.tier),
            tier=self.spec.tier,
        )

    def _usage(self, answers: Sequence[AIMessage]) -> TokenCount:
        counts = [
            count_tokens(m, fallback_model=self._gateway.name(self.spec.tier)) for m in answers
        ]
        return TokenCount(
            input_tokens=sum(c["input_tokens"] for c in counts),
            output_tokens=sum(c["output_tokens"] for c in counts),
            cached_tokens=sum(c["cached_tokens"] for c in counts),
            calls=len(counts),
            model=counts[-1]["model"],
        )


def _locate(request: ToolCallRequest) -> tuple[int, int]:
    """Return the turn and the position of a call: stable, unlike the provider's call ids."""
    turns = [m for m in request.state["messages"] if isinstance(m, AIMessage)]
    for turn in range(len(turns) - 1, -1, -1):
        for position, call in enumerate(turns[turn].tool_calls):
            if call["id"] == request.tool_call["id"]:
                return turn, position
    return max(len(turns) - 1, 0), 0


def _number_citations(message: ToolMessage, request: ToolCallRequest) -> None:
    """Shift a search result's [n] marks past those the agent has seen: one number, one source.

    Calls of one turn run side by side, so each gets a range of its own by its position.
    """
    own = (message.artifact or {}).get("citations") if isinstance(message.artifact, dict) else None
    if not own or not isinstance(message.content, str):
        return
    seen = [
        citation["number"]
        for earlier in request.state["messages"]
        if isinstance(earlier, ToolMessage) and isinstance(earlier.artifact, dict)
        for citation in earlier.artifact.get("citations", [])
    ]
    _, position = _locate(request)
    offset = max(seen, default=0) + position * SOURCES_PER_CALL
    if offset:
        message.content = re.sub(
            r"^\[(\d{1,6})\]",
            lambda m: f"[{int(m[1]) + offset}]",
            message.content,
            flags=re.MULTILINE,
        )
        shifted = [{**citation, "number": citation["number"] + offset} for citation in own]
        message.artifact = {**message.artifact, "citations": shifted}
