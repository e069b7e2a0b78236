"""One agent as a function: an assignment in, an outcome out; its steps, tokens and calls on the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Final, Literal, cast

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    ToolMessage,
    messages_from_dict,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, StreamWriter

from agents._kit.acting import Acting, Ran
from agents._kit.bounds import tools_bytes
from agents._kit.cleaning import clean_message
from agents._kit.evidence import keep_evidence, keep_foreign, read_evidence
from agents._kit.faults import LENGTH, finish_reason
from agents._kit.holding import held_turn, hold, hold_unsaid, pause, unhold
from agents._kit.local_ledger import LocalLedger
from agents._kit.metering import add_tokens, answered_by
from agents._kit.models import ModelGateway, Request
from agents._kit.numbering import number_citations
from agents._kit.offering import offered_tools, possible_tools
from agents._kit.outcomes import (
    AssignmentContext,
    bounded_args,
    ended_events,
    make_record,
    message_data,
    read_citations,
    read_turns,
    work_context,
)
from agents._kit.outside import OutsideCalls, OutsideHandler, counting, outside_calls
from agents._kit.placing import locate, made_before
from agents._kit.prompts import write_prompt
from agents._kit.remote_graph import remote_graph
from agents._kit.stream import StreamOwner, count_turns, owned
from agents._kit.tape import Used
from domain.agent import (
    AgentOutcome,
    AgentSpec,
    Assignment,
)
from domain.approval import PausedWork
from domain.budget import budget_ask
from domain.errors import (
    BudgetReachedError,
    EffectUnknownError,
    ModelAnswerError,
    OwnershipLostError,
    StoreUnavailableError,
    ToolFailedError,
    TurnLimitError,
)
from domain.ledger import ActionLedger
from domain.run import RunContext
from tools.gates import Gates
from tools.limits import cut_result
from tools.registry import Toolbox

MAX_TOOL_CALLS: Final = 24
"""Tool calls one assignment may make; a model in a loop is told to answer."""


class _Steps(AgentMiddleware[Any, AssignmentContext, Any]):
    """Bounds an agent's model and tool calls and puts each of them on the stream.

    Only wrapping hooks: every before/after hook would add a node, and with it a checkpoint.
    """

    def __init__(
        self,
        spec: AgentSpec,
        gateway: ModelGateway,
        toolbox: Toolbox,
        acting: Acting,
        forms: Mapping[str, dict[str, Any]],
    ) -> None:
        super().__init__()
        self._spec = spec
        self._gateway = gateway
        self._toolbox = toolbox
        self._acting = acting
        self._forms = forms
        """What a model is told of each tool."""
        self._sizes = {name: tools_bytes([form]) for name, form in forms.items()}
        """The most tokens that this can be."""
        self._repeatable = {n for n in toolbox.names if toolbox.get(n).effect != "external"}

    async def awrap_model_call(
        self,
        request: ModelRequest[AssignmentContext],
        handler: Callable[[ModelRequest[AssignmentContext]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Call the model through the gateway; announce the message before and after."""
        context = request.runtime.context
        write = context.write
        before = request.state["messages"]
        turn = count_turns(before)
        if context.held is not None and turn == held_turn(context.held):
            return ModelResponse(result=[unhold(context.held)])
        if turn >= self._spec.max_turns:
            msg = f"The agent did not answer within {self._spec.max_turns} model calls."
            raise TurnLimitError(msg)
        message_id = context.message_id(turn)
        responses: list[ModelResponse[Any]] = []
        work = context.assignment
        wanted = (context.task, work["task"])
        offered = offered_tools(self._spec.tools, self._toolbox.names, *wanted)
        request = request.override(
            tools=[tool for tool in request.tools if getattr(tool, "name", "") in offered]
        )

        async def invoke(model: BaseChatModel, sent: list[AnyMessage]) -> AIMessage:
            view = request.override(model=model, messages=sent[-len(request.messages) :])
            responses.append(await handler(view))
            return cast("AIMessage", responses[-1].result[0])

        def on_retry(reason: str, delay: float, number: int) -> None:
            data = {"reason": reason, "delay_seconds": delay, "try": number}
            write(context.draft("agent.retrying", data, f"{turn}~{number}~{context.attempt}"))

        asked = Request(
            run_id=context.run_id,
            attempt=context.attempt,
            agent=self._spec.name,
            tier=self._gateway.get_model_for_task(work, self._spec).tier,
            round=work["round"],
            key=f"{work['round']}|{work['path']}|{turn}|{context.attempt}",
            messages=[*filter(None, [request.system_message]), *request.messages],
            about=sum(self._sizes.get(name, 0) for name in offered),
            tools=[self._forms[name] for name in offered if name in self._forms],
            repeatable=self._repeatable,
        )
        try:
            message = await self._gateway.call(asked, invoke, on_retry=on_retry, write=write)
        except BudgetReachedError as error:
            if not error.asks:
                raise
            return ModelResponse(result=[hold_unsaid(turn, budget_ask(error, context.run_id))])
        write(context.draft("message.completed", message_data(message_id, message), str(turn)))
        room = MAX_TOOL_CALLS - sum(isinstance(m, ToolMessage) for m in before)
        message, about = await self._acting.pin(message, room=room, context=context)
        asks = self._acting.asks(
            message.tool_calls, turn, room=room, context=context, messages=before, about=about
        )
        if asks:
            message = hold(message, turn, asks)
        return replace(responses[-1], result=[message, *responses[-1].result[1:]])

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Run one tool call within its time; a failure becomes a sentence for the model."""
        context = cast("AssignmentContext", request.runtime.context)
        write = context.write
        turn, position = locate(request)
        call_id, call = context.call_id(turn, position), f"{turn}.{position}"
        name = request.tool_call["name"]
        edited = context.decisions.get(call, {}).get("edited_action")
        given = edited["args"] if edited else request.tool_call["args"]
        args = bounded_args(given)
        write(context.draft("tool.started", {"call_id": call_id, "tool": name, "args": args}, call))
        started = perf_counter()

        async def run(given: ToolCallRequest) -> Ran:
            used = Used(call_id, name, given.tool_call["args"], context)
            return await self._gateway.tape.tool(used, lambda: self._run_tool(given, handler))

        if made_before(request) >= MAX_TOOL_CALLS:
            text = f"All {MAX_TOOL_CALLS} tool calls are used. Answer with what you have."
            message = _failed(request, text)
        else:
            message = await self._acting.answer(request, call, context, run)
        await keep_evidence(message, given, context.sources)
        # Kept with the message so that the events can be made again from the checkpoint alone.
        message.additional_kwargs["duration_ms"] = round((perf_counter() - started) * 1000)
        record = make_record(call_id, name, args, message)
        for event in ended_events(record, call):
            write(context.draft(*event))
        return message

    async def _run_tool(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> Ran:
        name = request.tool_call["name"]
        # A model may invent a name: LangChain answers it with the list of the real ones.
        seconds = self._toolbox.get(name).timeout_seconds if name in self._toolbox.names else None
        took: Literal["done", "failed", "in_doubt"] = "in_doubt"
        try:
            async with asyncio.timeout(seconds):
                answer = await handler(request)
            if not isinstance(answer, ToolMessage):
                msg = f"The tool {name} steers the graph, which a tool of an agent may not."
                raise ToolFailedError(msg)  # noqa: TRY301 - every refusal takes the same way
            message = answer
            took = "failed" if message.status == "error" else "done"
        except ToolFailedError as error:
            message, took = _failed(request, error.detail), "failed"
        except EffectUnknownError as error:
            message = _failed(request, error.detail)
        except TimeoutError:
            message = _failed(
                request, f"The tool {name} did not end within its time. Ask for less."
            )
        except (GraphBubbleUp, OwnershipLostError, StoreUnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - a tool's fault must not end the agent
            text = f"The tool {name} failed ({type(error).__name__}). Try another way."
            message = _failed(request, text)
        if isinstance(message.content, str):
            message.content = cut_result(message.content)
            number_citations(message, request.state["messages"], position=locate(request)[1])
        return Ran(message, took)


def _failed(request: ToolCallRequest, text: str) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error")


class AgentLoop:
    """Runs one agent: LangChain's loop, or the compiled graph the spec brings."""

    def __init__(
        self,
        spec: AgentSpec,
        gateway: ModelGateway,
        toolbox: Toolbox,
        *,
        gates: Gates | None = None,
        ledger: ActionLedger | None = None,
    ) -> None:
        self.spec: Final = spec
        self._gateway: Final = gateway
        tools = possible_tools(spec.tools, toolbox.names)
        acting = Acting(
            toolbox, gates or Gates(toolbox.gates), ledger or LocalLedger(), tools=tools
        )
        chosen = toolbox.select(tools)
        forms = {tool.name: convert_to_openai_tool(tool.tool) for tool in chosen}
        self._remote: Final = gateway.remotes.get(spec.name)
        theirs = remote_graph(self._remote) if self._remote and spec.graph else spec.graph
        self._graph: Final[Any] = theirs or create_agent(
            gateway.talking(spec.tier),
            self._remote.tools(chosen) if self._remote else [tool.tool for tool in chosen],
            system_prompt=spec.prompt,
            middleware=[_Steps(spec, gateway, toolbox, acting, forms)],
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
        paused: PausedWork | None = None,
        decisions: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> AgentOutcome | PausedWork:
        """Work on an assignment, or go on with one that has waited for decisions (by approval id).

        Returns its outcome, or with what it waits now. Raises where the agent fails for good.
        """
        if self._remote:
            await self._remote.prepare()
        if paused:
            asked, work = self._go_on(paused, decisions or {}, context, write)
        else:
            work = work_context(context, assignment, write)
            asked = self._begin(work, task=task, results=results)
        calls = outside_calls(self._gateway.book, self.spec, work) if self.spec.graph else None
        with counting(calls):
            answer = await self._graph.ainvoke(
                {"messages": asked},
                {
                    **self._owned(config, work, calls),
                    "recursion_limit": 2 * self.spec.max_turns + 5,
                },
                **({} if self.spec.graph else {"context": work}),
            )
            messages = answer["messages"]
            if calls:
                # Its model calls did not pass the gateway, which cleans what it returns.
                messages = [clean_message(m) if isinstance(m, AIMessage) else m for m in messages]
                calls.read(messages)
        if calls:
            await keep_foreign(messages, context.sources)
            return self._outcome(work, messages)
        return pause(assignment, messages) or self._outcome(work, messages)

    def _begin(self, work: AssignmentContext, *, task: str, results: str) -> list[AnyMessage]:
        assignment = work.assignment
        chain = self._gateway.get_model_for_task(assignment, self.spec)
        data = {"task": assignment["task"], "model": chain.name, "tier": chain.tier}
        work.write(work.draft("agent.started", data))
        message_id = f"{assignment['round']}.{assignment['path']}"
        if self.spec.graph:
            # Somebody else's graph reads the last message, and expects plain words there.
            about = write_prompt(task, earlier=work.earlier, files=work.files, results=results)
            return [
                HumanMessage(about, id=f"{message_id}.about"),
                HumanMessage(assignment["task"], id=f"{message_id}.task"),
            ]
        prompt = write_prompt(
            task,
            earlier=work.earlier,
            files=work.files,
            results=results,
            assignment=assignment["task"],
        )
        # A stable id: the same input after a crash continues, it is not added a second time.
        return [HumanMessage(prompt, id=message_id)]

    def _go_on(
        self,
        paused: PausedWork,
        decisions: Mapping[str, Mapping[str, Any]],
        context: RunContext,
        write: StreamWriter,
    ) -> tuple[list[AnyMessage], AssignmentContext]:
        before = cast("list[AnyMessage]", messages_from_dict(paused["messages"]))
        held = None if paused.get("unsaid") else before.pop()
        decided = {a["call"]: decisions[a["id"]] for a in paused["asks"] if a["id"] in decisions}
        more = {"decisions": decided, "held": held}
        return before, work_context(context, paused["assignment"], write, **more)

    def _owned(
        self, config: RunnableConfig, work: AssignmentContext, calls: OutsideCalls | None
    ) -> RunnableConfig:
        """Return the config under which the agent's tokens are its own."""
        owner = StreamOwner(
            run_id=work.run_id,
            agent=self.spec.name,
            prefix=work.message_id(""),
            numbering="own" if calls else "turn",
        )
        if calls:
            # Our models bring the relay; an outside graph has models of its own.
            heard: RunnableConfig = {"callbacks": [self._gateway.relay, OutsideHandler(calls)]}
            config = merge_configs(config, heard)
        return owned(config, owner)

    def _outcome(self, work: AssignmentContext, messages: Sequence[AnyMessage]) -> AgentOutcome:
        answers = [m for m in messages if isinstance(m, AIMessage)]
        if not answers or not answers[-1].text.strip():
            msg = "The agent ended without an answer."
            raise ModelAnswerError(msg)
        output = answers[-1].text.strip()
        answered = answered_by(answers[-1])
        if finish_reason(answers[-1]) in LENGTH:
            # Without a figure: the answer's own are checked, and this one no tool has yielded.
            output += "\n\n[cut off at the limit of tokens for one answer]"
        outside = self.spec.graph is not None
        chain = self._gateway.get_model_for_task(work.assignment, self.spec)
        model = answered["model"] if answered else chain.name
        return AgentOutcome(
            agent=work.assignment["agent"],
            task=work.assignment["task"],
            path=work.assignment["path"],
            round=work.assignment["round"],
            tier=chain.tier,
            status="completed",
            output=output,
            error=None,
            citations=read_citations(messages, output),
            turns=read_turns(work, messages, foreign=outside),
            usage=add_tokens(answers, fallback_model=chain.name),
            model=model,
            evidence=read_evidence(messages),
            opaque=outside and not any(isinstance(m, ToolMessage) for m in messages),
        )
