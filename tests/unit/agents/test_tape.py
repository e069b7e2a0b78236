"""What passes a recorder is given back by a replayer: in the same pieces, by what it is for, with the same faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from agents._kit.faults import (
    explain,
    is_final,
    is_overflow,
    is_transient,
    made_again,
    may_be_billed,
    status_of,
)
from agents._kit.models import ModelGateway, ModelSettings, Request
from agents._kit.recorder import Recorder
from agents._kit.replayer import Replayer
from agents._kit.stream import StreamOwner, owned
from agents._kit.tape import Tape
from domain.agent import AgentSpec
from domain.errors import ModelCallError, RunFailedError
from domain.recording import CallLine, Fault, Header, Recording
from domain.secrets import Scrubber
from tests.fakes.model_script import Reply, Rule
from tests.fakes.model_server import FakeModelServer

RUN = "run_1"
SPEC = AgentSpec(name="coder", description="Writes programs.", prompt="You write.")
HEADER: dict[str, Any] = {
    "product": "0",
    "graph_version": "0",
    "engine": "model",
    "recorded_at": "",
    "body": {"task": ""},
    "settings": {},
    "tiers": None,
    "windows": {},
    "rates": {},
    "team": {},
    "tools": {},
    "sandbox": {"backend": "off", "detail": ""},
}


def asking(about: str, key: str) -> Request:
    """Return a call of a model."""
    return Request(
        run_id=RUN,
        attempt=1,
        agent="coder",
        tier="standard",
        round=1,
        key=key,
        messages=[SystemMessage(SPEC.prompt), HumanMessage(about)],
    )


async def answer(gateway: ModelGateway, request: Request, pieces: list[str]) -> AIMessage:
    """Return what a gateway answers; `pieces` gets what is told on the way."""
    owner = StreamOwner(run_id=RUN, agent="coder", prefix="msg_1", numbering="none")

    async def invoke(model: BaseChatModel, sent: list[Any]) -> AIMessage:
        return await model.ainvoke(sent, owned({}, owner))

    def nothing(*_: object) -> None:
        pass

    with gateway.relay.listening(RUN, lambda *told: pieces.append(told[3])):
        return await gateway.call(request, invoke, on_retry=nothing, write=nothing)


def gateway_at(base_url: str, tape: Tape) -> ModelGateway:
    """Return a gateway that speaks to a server, past a tape."""
    tiers: Any = dict.fromkeys(("fast", "standard", "deep"), "openai:gpt-4.1")
    settings = ModelSettings(tiers=tiers, openai_base_url=base_url, first_delay_seconds=0.001)
    gateway = ModelGateway(settings, (SPEC,))
    gateway.tape = tape
    return gateway


def calls_of(recorder: Recorder) -> list[CallLine]:
    """Return the model calls that were recorded."""
    return [line for line in recorder.lines(RUN) or [] if isinstance(line, CallLine)]


def replaying(recorder: Recorder, *, loose: bool = False) -> tuple[ModelGateway, Replayer]:
    """Return a gateway that has only what was recorded."""
    return replaying_calls(calls_of(recorder), loose=loose)


def replaying_calls(
    calls: Sequence[CallLine], *, loose: bool = False
) -> tuple[ModelGateway, Replayer]:
    """Return a gateway that has only these calls."""
    header = Header(**HEADER)
    recording = Recording(
        header=header, calls=tuple(calls), tools=(), pins=(), events=(), run={"status": "completed"}
    )
    replayer = Replayer(recording, Scrubber(), loose=loose)
    gateway = gateway_at("http://127.0.0.1:9", replayer)
    replayer.relay = gateway.relay
    return gateway, replayer


async def test_answers_come_in_their_pieces_to_whoever_asks_first() -> None:
    """In another order than they were recorded in; the tokens come as they came then."""
    recorder = Recorder(Scrubber())
    said: dict[str, tuple[str, list[str], Any]] = {}
    async with FakeModelServer() as models:
        models.add(
            Rule(reply=Reply(text="Nice, it works.", chunks=("Ni", "ce,", " it works.")), times=1),
            Rule(reply=Reply.error(500), times=1),
            Rule(reply=Reply(text="The second", chunks=("The ", "second"))),
        )
        gateway = gateway_at(models.base_url, recorder)
        for name in ("0", "1"):
            pieces: list[str] = []
            message = await answer(gateway, asking(f"Do {name}", f"1|coder|{name}|1"), pieces)
            said[name] = (message.text, pieces, message.usage_metadata)
        await gateway.aclose()
    assert [pieces for _, pieces, _ in said.values()] == [
        ["Ni", "ce,", " it works."],
        ["The ", "second"],
    ]
    again, replayer = replaying(recorder)
    for name in ("1", "0"):
        pieces = []
        message = await answer(again, asking(f"Do {name}", f"1|coder|{name}|3"), pieces)
        assert (message.text, pieces, message.usage_metadata) == said[name]
    assert (replayer.faults, replayer.differences, replayer.unused()) == ([], [], [])
    await again.aclose()


async def test_another_question_is_refused_and_told() -> None:
    recorder = Recorder(Scrubber())
    async with FakeModelServer() as models:
        models.add(Rule(reply=Reply(text="Yes.")))
        gateway = gateway_at(models.base_url, recorder)
        await answer(gateway, asking("Do it", "1|coder|0|1"), [])
        await gateway.aclose()
    for about, key, told in (
        ("Do that", "1|coder|0|1", "is asked with other messages than was recorded"),
        ("Do it", "1|coder|7|1", "number 1, is not in it"),
    ):
        again, replayer = replaying(recorder)
        with pytest.raises(ModelCallError, match=told):
            await answer(again, asking(about, key), [])
        assert told in "".join([*replayer.faults, *replayer.differences])
        await again.aclose()
    again, replayer = replaying(recorder, loose=True)
    assert (await answer(again, asking("Do that", "1|coder|0|1"), [])).text == "Yes."
    assert len(replayer.differences) == 1
    await again.aclose()


@pytest.mark.parametrize(
    "message", [{}, {"type": "odd", "data": {}}, {"type": "human", "data": {"content": ""}}]
)
async def test_what_is_no_answer_is_told(message: dict[str, Any]) -> None:
    """A recording may be written by anybody."""
    recorder = Recorder(Scrubber())
    async with FakeModelServer() as models:
        models.add(Rule(reply=Reply(text="Yes.")))
        gateway = gateway_at(models.base_url, recorder)
        await answer(gateway, asking("Do it", "1|coder|0|1"), [])
        await gateway.aclose()
    [line] = calls_of(recorder)
    again, replayer = replaying_calls([line.model_copy(update={"message": message})])
    with pytest.raises(ModelCallError, match="has no answer that could be given"):
        await answer(again, asking("Do it", "1|coder|0|1"), [])
    assert replayer.faults
    await again.aclose()


FAULTS: list[Callable[[], Reply | None]] = [
    lambda: Reply.error(401),
    lambda: Reply.error(429, retry_after="0"),
    lambda: Reply.error(500),
    lambda: Reply.error(400, message="maximum context length is 8192 tokens"),
    lambda: Reply(text="one two three", fault="disconnect"),
    lambda: Reply(text="one two three", fault="not_json"),
    lambda: None,
]


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
async def test_a_fault_is_to_its_caller_what_it_was(fault: Callable[[], Reply | None]) -> None:
    """Told in the same words, tried again or not, paid or not; `None` is a server that is not there."""
    recorder = Recorder(Scrubber())
    caught: list[Exception] = []
    base_url, reply = "http://127.0.0.1:9", fault()
    async with FakeModelServer() as models:
        if reply:
            models.add(Rule(reply=reply))
            base_url = models.base_url

        class Catching(Recorder):
            async def call(self, asked: Any, model: Any, invoke: Any) -> AIMessage:
                try:
                    return await recorder.call(asked, model, invoke)
                except Exception as error:
                    caught.append(error)
                    raise

        gateway = gateway_at(base_url, Catching(Scrubber()))
        with pytest.raises(RunFailedError) as failed:
            await answer(gateway, asking("Do it", "1|coder|0|1"), [])
        await gateway.aclose()
    lines = calls_of(recorder)
    assert len(lines) == len(caught)
    for line, error in zip(lines, caught, strict=True):
        assert line.fault
        again = made_again(line.fault)
        for judge in (explain, is_final, is_overflow, is_transient, may_be_billed, status_of):
            assert judge(again) == judge(error), (judge, error)
    replay, replayer = replaying(recorder)
    with pytest.raises(RunFailedError) as again_failed:
        await answer(replay, asking("Do it", "1|coder|0|1"), [])
    assert again_failed.value.detail == failed.value.detail
    assert (replayer.faults, replayer.unused()) == ([], [])
    await replay.aclose()


def test_a_fault_of_nobodys_is_final_again() -> None:
    """What is no fault of a provider ends the run, by its name."""
    told = "The model call failed (OddError)."
    again = made_again(Fault(name="OddError", said=told, text="x", provider=False))
    assert is_final(again)
    assert explain(again) == told
