"""Stands between an agent and its tools: what asks a person first, and what must not happen twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from agents._kit.cleaning import plain_text
from agents._kit.exposure import before_last_turn, exposure_of
from agents._kit.outcomes import IN_DOUBT, AssignmentContext, artifacts_of
from domain.approval import NOT_IN_TIME, Ask, Verb, action_id, ask_id, digest_of
from domain.errors import OwnershipLostError, StoreUnavailableError, ToolFailedError
from domain.ledger import ActionCall, ActionLedger
from domain.ports import RunRef
from domain.tool import Pinned
from tools.control import ASK_USER
from tools.decisions import action_schema, answer_schema
from tools.gates import Exposure, Gates, Ruling, misunderstanding
from tools.limits import cut_result
from tools.registry import Tool, Toolbox

ARGS: Final = "args"
"""Where a message keeps the arguments that a person put in the place of its call's."""

_CHECK_SECONDS: Final = 20.0
"""How long a target may take to say what became of an action."""

_LOST: Final = (
    "The answer was lost when the server stopped. The call only reads, so nothing is in doubt: make it "
    "again if you need it."
)
_UNCERTAIN: Final = (
    "It is not known whether this call took effect. Do not make it again: a person will settle it. Say "
    "so in your answer."
)
_UNTOLD: Final = "The call took effect, but what it answered was lost when the server stopped."
_NOT_APPROVED: Final = (
    "The call was not made: it needs a person's approval as it stands now. Make it again to ask."
)
_NOT_PINNED: Final = (
    "The call was not made: what it is about was not there when you asked for it. Make it again."
)

_MADE_BEFORE: Final = "the run that this one was forked from has made this very call"


class Ran(NamedTuple):
    """What came of running a tool."""

    message: ToolMessage
    took: Literal["done", "failed", "in_doubt"]
    """Whether it took effect."""


Run = Callable[[ToolCallRequest], Awaitable[Ran]]


class Acting:
    """Puts every tool call past the gates, and those that change the world through the ledger."""

    def __init__(
        self, toolbox: Toolbox, gates: Gates, ledger: ActionLedger, *, tools: Collection[str]
    ) -> None:
        self._toolbox = toolbox
        self._tools = frozenset(tools)
        """Those of the agent: what it was not offered asks nobody and is in no ledger."""
        self._gates = gates
        self._ledger = ledger

    async def pin(
        self, message: AIMessage, *, room: int, context: AssignmentContext
    ) -> tuple[AIMessage, dict[int, str]]:
        """Nail a turn's calls down to what they are about, of `room` that may still be made.

        Returns the message with them, and by their positions what to tell the person who is asked."""
        calls: list[ToolCall] = []
        about: dict[int, str] = {}
        for position, call in enumerate(message.tool_calls):
            tool = self._find(call["name"])
            if tool is not None and tool.pin is not None:
                args = {n: v for n, v in call["args"].items() if n != tool.pin.argument}
                found = await _pinned(tool, args, context) if position < room else ""
                if isinstance(found, Pinned):
                    args[tool.pin.argument] = found.value
                    about[position] = found.about
                call = {**call, "args": args}  # noqa: PLW2901 - the same call, nailed down
            calls.append(call)
        changed = calls != message.tool_calls
        return (message.model_copy(update={"tool_calls": calls}) if changed else message), about

    def asks(
        self,
        calls: Sequence[ToolCall],
        turn: int,
        *,
        room: int,
        context: AssignmentContext,
        messages: Sequence[AnyMessage],
        about: Mapping[int, str] | None = None,
    ) -> list[Ask]:
        """Return the questions that a turn's calls put to a person; `room` calls may still be made.

        `messages` is the conversation before the turn."""
        asks: list[Ask] = []
        exposure = exposure_of(messages, context, self._toolbox)
        for position, call in enumerate(calls[: max(room, 0)]):
            tool = self._find(call["name"])
            # What is refused anyway, or not to be understood, asks nobody.
            if tool is None or tool.off_reason or misunderstanding(tool, call["args"]):
                continue
            if tool.pin is not None and tool.pin.argument not in call["args"]:
                continue
            ruling = self._judge(tool, call["args"], context, exposure)
            if ruling.gate == "ask":
                ask = _ask(tool, call["args"], f"{turn}.{position}", ruling, context)
                if about and position in about:
                    ask["description"] += f": {about[position]}"
                asks.append(ask)
        return asks

    async def answer(
        self, request: ToolCallRequest, call: str, context: AssignmentContext, run: Run
    ) -> ToolMessage:
        """Return the result of a call: of running it, or of what a person said in its place."""
        tool = self._find(request.tool_call["name"])
        if tool is None:
            return (await run(request)).message
        decision = context.decisions.get(call, {})
        verb: Verb | None = decision.get("type")
        if verb in {"reject", "respond"}:
            return _said(request, verb, decision.get("message"))
        note = ""
        if verb == "edit":
            args = decision["edited_action"]["args"]
            request = request.override(tool_call={**request.tool_call, "args": args})
            note = f"(A person changed the arguments to {json.dumps(args, ensure_ascii=False)})\n"
        message = await self._run(tool, request, call, context, run)
        if note:
            message.additional_kwargs[ARGS] = request.tool_call["args"]
            message.content = cut_result(note + message.text)
        return message

    def _find(self, name: str) -> Tool | None:
        return self._toolbox.get(name) if name in self._tools else None

    def _judge(
        self, tool: Tool, args: Mapping[str, Any], context: AssignmentContext, exposure: Exposure
    ) -> Ruling:
        ruling = self._gates.judge(
            tool,
            args,
            mode=context.approval_mode,
            remembered=context.remembered,
            exposure=exposure,
        )
        if ruling.gate == "auto" and _made_before(tool, args, context):
            return ruling._replace(gate="ask", mandatory=True, why=_MADE_BEFORE)
        return ruling

    async def _run(
        self, tool: Tool, request: ToolCallRequest, call: str, context: AssignmentContext, run: Run
    ) -> ToolMessage:
        args = request.tool_call["args"]
        wrong = misunderstanding(tool, args)
        if wrong:
            if tool.effect == "none" and not tool.control:
                return (await run(request)).message  # it says in its own words what is wrong
            # The same question that decided whether to ask: nothing runs that could not be judged.
            return _refusal(request, wrong)
        if tool.off_reason and call not in context.decisions:
            return (await run(request)).message  # it says why, and nothing happens
        if tool.pin is not None and tool.pin.argument not in args:
            found = await _pinned(tool, args, context)
            return _refusal(request, found if isinstance(found, str) else _NOT_PINNED)
        before = before_last_turn(request.state.get("messages", []))
        exposure = exposure_of(before, context, self._toolbox)
        ruling = self._judge(tool, args, context, exposure)
        if ruling.gate == "deny":
            why = ruling.why and f" {ruling.why}"
            return _refusal(
                request, f"The policy of this server denies this call of {tool.name}.{why}"
            )
        if ruling.gate == "ask" and call not in context.decisions and not tool.off_reason:
            return _refusal(request, _NOT_APPROVED)
        # What a person has let happen must not happen twice either, whatever it changes.
        if tool.effect == "external" or call in context.decisions:
            return await self._act(tool, request, call, context, run)
        return (await run(request)).message

    async def _act(
        self, tool: Tool, request: ToolCallRequest, call: str, context: AssignmentContext, run: Run
    ) -> ToolMessage:
        """Carry out a call that changes the world, at most once."""
        action = _action(tool, request, call, context)
        standing = await self._ledger.start(action)
        if standing.found == "refused":
            return _refusal(request, _NOT_APPROVED)
        if standing.found == "ended":
            if standing.status == "in_doubt":
                return self._doubt(request, action, context, standing.result)
            message = _result(request, standing.result, failed=standing.status == "failed")
            message.artifact = {"artifacts": list(standing.artifacts)}
            return message
        if standing.found == "left":
            left = await self._take_up(tool, request, action, context)
            if left is not None:
                return left
        named: Any = replace(context, action_id=action_id(action.id))
        keyed = replace(request, runtime=replace(request.runtime, context=named))
        try:
            ran = await run(keyed)
        except asyncio.CancelledError:
            # Stopped from outside, in the middle: a second cancellation must not cost the record.
            with suppress(OwnershipLostError, StoreUnavailableError):
                await asyncio.shield(self._cut_off(action, context))
            raise
        await self._ledger.end(action, ran.took, ran.message.text, artifacts_of(ran.message))
        if ran.took == "in_doubt":
            return self._doubt(request, action, context, ran.message.text)
        return ran.message

    async def _take_up(
        self, tool: Tool, request: ToolCallRequest, action: ActionCall, context: AssignmentContext
    ) -> ToolMessage | None:
        """Find out about an action that an earlier segment left; `None` where it may be made (again)."""
        if action.reads:  # nothing can be in doubt
            await self._ledger.end(action, "failed", _LOST)
            return _refusal(request, _LOST)
        known = await _ask_target(tool, action)
        if known == "not_done":
            await self._ledger.start_again(action)
            return None
        if known == "done":
            await self._ledger.end(action, "done", _UNTOLD)
            return _result(request, _UNTOLD, failed=False)
        await self._ledger.end(action, "in_doubt", _UNCERTAIN)
        return self._doubt(request, action, context, _UNCERTAIN)

    async def _cut_off(self, action: ActionCall, context: AssignmentContext) -> None:
        if action.reads:  # nothing can be in doubt
            await self._ledger.end(action, "failed", _LOST)
            return
        await self._ledger.end(action, "in_doubt", _UNCERTAIN)
        _tell_doubt(action, context, _UNCERTAIN)

    def _doubt(
        self, request: ToolCallRequest, action: ActionCall, context: AssignmentContext, why: str
    ) -> ToolMessage:
        doubt = _tell_doubt(action, context, why)
        text = why if _UNCERTAIN in why else f"{why} {_UNCERTAIN}"
        message = _refusal(request, text)
        message.additional_kwargs[IN_DOUBT] = doubt
        return message


def _made_before(tool: Tool, args: Mapping[str, Any], context: AssignmentContext) -> bool:
    """Return whether the run that this one was forked from has made the very call, to change something."""
    if not context.made_before or tool.effect == "none" or tool.reads(args):
        return False
    return digest_of(tool.name, tool.as_read(args)) in context.made_before


def _tell_doubt(action: ActionCall, context: AssignmentContext, why: str) -> dict[str, Any]:
    """Put it on the stream that an action is in doubt; return what was told."""
    about = {"id": action_id(action.id), "tool": action.tool, "status": "in_doubt"}
    told = {"action": about, "detail": why}
    context.write(context.draft("action.in_doubt", told, action.call))
    return told


def _ask(
    tool: Tool, args: dict[str, Any], call: str, ruling: Ruling, context: AssignmentContext
) -> Ask:
    work = context.assignment
    asks_user = tool.name == ASK_USER
    description = (
        plain_text(args["question"]) if asks_user else f"{work['agent']} wants to call {tool.name}"
    )
    if ruling.why:
        description += f": {ruling.why}"
    return Ask(
        id=ask_id(context.run_id, work["round"], work["path"], call),
        type="input" if tool.control else "action",
        agent=work["agent"],
        path=work["path"],
        round=work["round"],
        call=call,
        tool=tool.name,
        args=args,
        description=description,
        response_schema=answer_schema() if tool.control else action_schema(tool),
        by=ruling.by,
        expires_seconds=ruling.expires_seconds,
        on_expiry=ruling.on_expiry,
    )


def _action(
    tool: Tool, request: ToolCallRequest, call: str, context: AssignmentContext
) -> ActionCall:
    work, args = context.assignment, request.tool_call["args"]
    configurable = request.runtime.config.get("configurable", {})
    return ActionCall(
        ref=RunRef(context.tenant_id, context.run_id),
        attempt=context.attempt,
        id=ask_id(context.run_id, work["round"], work["path"], call),
        agent=work["agent"],
        tool=request.tool_call["name"],
        args=args,
        path=work["path"],
        round=work["round"],
        call=call,
        reads=tool.effect == "none" or tool.reads(args),
        as_read=tool.as_read,
        # LangGraph's own record of the steps that led here, by namespace.
        steps=dict(configurable.get("checkpoint_map", {})),
    )


async def _pinned(tool: Tool, args: Mapping[str, Any], context: AssignmentContext) -> Pinned | str:
    """Return what a call is about, or for the model why that cannot be found out."""
    wrong = misunderstanding(tool, args)
    if tool.pin is None or tool.off_reason or wrong:
        return wrong or tool.off_reason or _NOT_PINNED
    try:
        async with asyncio.timeout(tool.timeout_seconds):
            return await tool.pin.find(args, context)
    except ToolFailedError as error:
        return error.detail
    except Exception as error:  # noqa: BLE001 - a tool's fault must not end the agent
        return f"The call was not made: {tool.name} failed ({type(error).__name__}) to look at it."


async def _ask_target(tool: Tool, action: ActionCall) -> Literal["done", "not_done", "unknown"]:
    if tool.check is None:
        return "unknown"
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await tool.check(action_id(action.id))
    except Exception:  # noqa: BLE001 - a target that cannot be asked has not answered
        return "unknown"


def _said(request: ToolCallRequest, verb: Verb | None, message: str | None) -> ToolMessage:
    """Return what a person said in the place of a call's result."""
    if verb == "respond":
        return _result(request, message or "", failed=False)
    if message == NOT_IN_TIME:
        return _refusal(request, message)
    why = f": {message}" if message else "."
    return _refusal(request, f"A person refused this call{why}")


def _refusal(request: ToolCallRequest, text: str) -> ToolMessage:
    return _result(request, text, failed=True)


def _result(request: ToolCallRequest, text: str, *, failed: bool) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(
        cut_result(text),
        tool_call_id=call["id"],
        name=call["name"],
        status="error" if failed else "success",
    )
