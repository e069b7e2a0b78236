"""A graph from outside that works in a service of its own, and the place it has come to, carried by the node."""

from __future__ import annotations

import base64
import json
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from langchain_core.messages import AnyMessage, ToolMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from agents._kit.cleaning import clean_value, is_clean
from agents._kit.instances import OnSaid
from agents._kit.outside import OutsideCalls, counted_here
from agents._kit.remote import RemoteAgent
from agents._kit.remote_wire import (
    MAX_OUTSIDE_CALLS,
    OUR_OWN,
    Called,
    Calling,
    Order,
    Paused,
    Said,
    Token,
    dump_messages,
)
from agents._kit.stream import STREAM_KEY, StreamOwner
from domain.errors import RunFailedError

THREAD: Final = "agent"
_FORMS: Final = frozenset({"empty", "null", "bytes", "bytearray", "msgpack"})
"""What a saver writes; of the others that it reads, one names what is to be made."""
_CONFIG: Final = {"configurable": {"thread_id": THREAD}}


class _State(TypedDict, total=False):
    messages: list[AnyMessage]
    continuation: str | None
    questions: dict[str, Any]
    answers: Annotated[dict[str, Any], operator.or_]


class _Question(TypedDict):
    id: str
    about: dict[str, Any]


def remote_graph(remote: RemoteAgent) -> Any:  # noqa: ANN401 - a compiled graph, as the spec brings one
    """Return a graph that has the agent's own work at its service. Its questions are asked here, and where it has
    come to meanwhile is a checkpoint of the run as any other."""

    async def work(state: _State, config: RunnableConfig) -> _State:
        owner: StreamOwner = config["metadata"][STREAM_KEY]
        asked = state.get("questions") or {}
        answers = state.get("answers") or {}
        order = remote.order(
            do="graph",
            run_id=owner["run_id"],
            messages=dump_messages(state["messages"]),
            continuation=state.get("continuation"),
            decisions={name: answers[name] for name in asked},
        )
        last = await remote.do(
            order, _passing_on(remote, owner, counted_here()), seconds=remote.spec.timeout_seconds
        )
        if not isinstance(last, Paused):
            raise remote.unfit()
        try:
            messages = _read(last)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise remote.unfit() from error
        return {
            "messages": messages,
            "continuation": last.continuation,
            "questions": clean_value(last.questions),
        }

    async def ask(state: _Question) -> _State:
        about = state["about"]
        return {
            "answers": {state["id"]: interrupt(about["value"], response_schema=about["schema"])}
        }

    def onward(state: _State) -> list[Send] | str:
        asked = state.get("questions") or {}
        return [Send("ask", {"id": name, "about": about}) for name, about in asked.items()] or END

    graph = StateGraph(_State)
    graph.add_node("work", work)
    graph.add_node("ask", cast("Any", ask))
    graph.add_edge(START, "work")
    graph.add_conditional_edges("work", onward, ["ask", END])
    graph.add_edge("ask", "work")
    return graph.compile(name=remote.spec.name)


def _passing_on(remote: RemoteAgent, owner: StreamOwner, calls: OutsideCalls | None) -> OnSaid:
    written: dict[str, int] = {}
    count = 0

    def pass_token(token: Token) -> None:
        before = written.get(token.message_id, 0)
        remote.relay.say(owner, f"{owner['prefix']}{token.message_id}", before, token.text)
        written[token.message_id] = before + len(token.text)

    async def on_said(said: Said) -> None:
        nonlocal count
        match said:
            case Token():
                pass_token(said)
            case Calling() if calls:
                count += 1
                if count > MAX_OUTSIDE_CALLS:
                    raise remote.unfit()
                calls.begin(said.place, said.model)
            case Called() if calls:
                calls.end(said.place, said.call)

    return on_said


def _read(paused: Paused) -> list[AnyMessage]:
    """Return a graph's messages, without what only ours may say; raises where they are none."""
    if not all(map(is_clean, paused.messages)):
        raise ValueError
    messages = cast("list[AnyMessage]", messages_from_dict(paused.messages))
    for message in messages:
        message.additional_kwargs = {
            name: value for name, value in message.additional_kwargs.items() if name not in OUR_OWN
        }
        message.response_metadata.pop("signalbox", None)
        if isinstance(message, ToolMessage) and isinstance(message.artifact, dict):
            message.artifact = None  # files and sources are where the graph is
    for about in paused.questions.values():
        schema = about["schema"]
        about["value"]
        if not isinstance(schema, (dict, type(None))):
            raise TypeError
    return messages


async def run_graph(graph: Any, order: Order, config: Mapping[str, Any]) -> Paused:  # noqa: ANN401 - somebody else's graph
    """Have a graph work on an order, from its beginning or from where it had come to."""
    saver = InMemorySaver()
    given: Any = {"messages": messages_from_dict(order.messages)}
    if order.continuation is not None:
        _load(saver, order.continuation)
        given = Command(resume=order.decisions)
    answer = await graph.copy({"checkpointer": saver}).ainvoke(given, {**config, **_CONFIG})
    asked = answer.get("__interrupt__", ())
    questions = {each.id: {"value": each.value, "schema": each.response_schema} for each in asked}
    plain: dict[str, Any] = json.loads(json.dumps(questions, default=str))
    return Paused(
        messages=dump_messages(answer["messages"]),
        questions=plain,
        continuation=_dump(saver) if asked else None,
    )


def _dump(saver: InMemorySaver) -> str:
    """Return all that a saver holds as a text."""
    steps = [
        [namespace, name, *map(_packed, (checkpoint, metadata)), parent]
        for namespace, found in saver.storage[THREAD].items()
        for name, (checkpoint, metadata, parent) in found.items()
    ]
    writes = [
        [list(key[1:]), [[*place, w[0], w[1], _packed(w[2]), w[3]] for place, w in found.items()]]
        for key, found in saver.writes.items()
    ]
    blobs = [[*key[1:], _packed(blob)] for key, blob in saver.blobs.items()]
    return json.dumps({"steps": steps, "writes": writes, "blobs": blobs})


def _load(saver: InMemorySaver, text: str) -> None:
    """Give a saver back what it held; raises `RunFailedError` where the text is none of ours."""
    try:
        held = json.loads(text)
        for namespace, name, checkpoint, metadata, parent in held["steps"]:
            step = (_unpacked(checkpoint), _unpacked(metadata), parent)
            saver.storage[THREAD][namespace][name] = step
        for (namespace, name), found in held["writes"]:
            for task, index, own, channel, value, path in found:
                written = (own, channel, _unpacked(value), path)
                saver.writes[THREAD, namespace, name][task, index] = written
        for namespace, channel, version, blob in held["blobs"]:
            saver.blobs[THREAD, namespace, channel, version] = _unpacked(blob)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = "Where the agent's graph had come to cannot be read."
        raise RunFailedError(msg, code="run-incompatible") from error


def _packed(typed: tuple[str, bytes]) -> list[str]:
    return [typed[0], base64.b64encode(typed[1]).decode()]


def _unpacked(packed: list[str]) -> tuple[str, bytes]:
    form, text = packed
    if form not in _FORMS:
        raise ValueError
    return form, base64.b64decode(text, validate=True)
