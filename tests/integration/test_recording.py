"""A run that was recorded is made again from its recording: the same events, with nothing outside asked."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from domain.errors import ConfigurationError
from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply, Rule, TokenUsage
from tests.fakes.model_server import FakeModelServer
from tests.fakes.search_server import FakeWeb, html, result
from tests.integration.people import post, turns
from tests.integration.recorded import Out, lines_of, record, replay, write_lines
from tests.integration.team_script import composer, decisions, unauthorised, worker

pytestmark = pytest.mark.may_block  # the command reads and writes its file where it stands

TASK: Final = "Find out about the tower and tell the harbour"
PRICES: Final = 'openai:*: {input: "2", output: "10", cached: "0.5"}\n'
KEY: Final = "canary-of-the-key-0c1d2e3f"


@pytest.fixture
async def web() -> AsyncIterator[FakeWeb]:
    """Run a search service, a site, and what is posted to."""
    async with FakeWeb() as server:
        page = server.page("/fastnet", html("Fastnet", f"<p>{'Built in 1904. ' * 20}</p>"))
        server.found(result("Fastnet", page, "A lighthouse."))
        yield server


def script(models: FakeModelServer, web: CountingTarget) -> None:
    """Script two agents at once: one searches and reads, one fails at first, then sends what a person approves."""
    find, tell = "Find the tower", "Tell the harbour"
    search = Reply.calls(("web_search", {"query": "Fastnet"}))
    fetch = Reply.calls(("fetch_url", {"url": web.url("/fastnet")}))
    models.add(
        Rule(when=worker(tell, Reply()).when, reply=Reply.error(500), times=1),
        *decisions(("researcher", find), ("coder", tell)),
        turns(find, search, fetch, Reply(text="It was built in 1904 [1].")),
        turns(
            tell,
            Reply(tool_calls=Reply.calls(post(web, "/harbour")).tool_calls, text="I send it."),
            Reply(text="It is sent."),
        ),
        composer(Reply(text="Built in 1904, and told.", usage=TokenUsage(70, 11, 3))),
    )


async def make(file: Path, web: FakeWeb, out: Out, **overrides: Any) -> dict[str, Any]:
    """Record the run that is scripted above; return it. Its model server is gone then."""
    async with FakeModelServer() as models:
        script(models, web)
        said = await record(
            file,
            TASK,
            out,
            OPENAI_BASE_URL=models.base_url,
            TAVILY_BASE_URL=web.base_url,
            search_keyless=True,
            http_allow=web.address,
            **overrides,
        )
        assert (said.code, said.run["status"]) == (0, "completed"), said.stderr
    assert f"recorded to {file}" in said.stderr
    return said.run


async def test_a_replay_makes_the_same_events_without_model_and_network(
    tmp_path: Path, web: FakeWeb, capsys: Out
) -> None:
    """Two agents at once, a call that failed at first, a search, a page, and a request that was approved."""
    file = tmp_path / "run.jsonl"
    run = await make(file, web, capsys)
    assert web.count("/harbour") == 1
    asked = len(web.requests)
    said = await replay(file, capsys)
    assert said.code == 0, said.stderr
    assert "The same" in said.stderr
    assert "no model is called, no tool is run" in said.stderr
    assert len(web.requests) == asked, "nothing was sent"
    again = said.run
    assert again["metadata"] == {"signalbox_replay": "run.jsonl"}
    assert again["engine"] == "model"
    for part in ("output", "agents", "citations"):
        assert again["result"][part] == run["result"][part]
    assert again["usage"] == run["usage"]
    assert [a["status"] for a in again["actions"]] == ["done"]
    for text in ("tries again", "decided: approve", "Built in 1904, and told."):
        assert text in said.stderr


async def test_a_recording_is_for_its_owner_alone_and_says_what_was_asked(
    tmp_path: Path, web: FakeWeb, capsys: Out
) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text("what was there")
    await make(file, web, capsys)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    header, *rest = lines_of(file)
    assert (header["kind"], header["schema_version"]) == ("recording", 1)
    assert header["body"]["task"] == TASK
    assert header["tiers"]["standard"] == "openai:gpt-4.1"
    calls = {(line["at"], line["number"]): line for line in rest if line["kind"] == "call"}
    failed, told = calls["1|coder|0", 1], calls["1|coder|0", 2]
    assert (failed["message"], failed["fault"]["status"]) == (None, 500)
    assert "".join(told["pieces"]) == told["message"]["data"]["content"] == "I send it."
    assert len(told["pieces"]) > 1
    assert [call["name"] for call in told["message"]["data"]["tool_calls"]] == ["http_request"]
    tools = {line["tool"] for line in rest if line["kind"] == "tool"}
    assert tools == {"web_search", "fetch_url", "http_request"}
    assert rest[-1]["kind"] == "end"


async def test_no_secret_is_in_a_recording(
    tmp_path: Path, web: FakeWeb, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where it is configured, written in the task, said by a page, sent in a header or cut over tokens."""
    hidden = {
        "environment": "canary-of-the-environment-5a5a",
        "bearer": "canarybearer99887766",
        "url": "canary-of-the-url-1234",
        "shape": "sk-canaryshape0123456789",
    }
    monkeypatch.setenv("SOME_SERVICE_TOKEN", hidden["environment"])
    echoed = f"Key {KEY}, {hidden['environment']}. "
    page = web.page("/echo", html("Echo", f"<p>{echoed * 9}</p>"))
    web.found(result("Echo", page, echoed))
    task = f"Use {KEY} and {hidden['shape']}"
    header = {"Authorization": f"Bearer {hidden['bearer']}", "X-Api-Key": "canary-short"}
    url = web.url(f"/harbour?api_key={hidden['url']}")
    send = ("http_request", {"method": "POST", "url": url, "headers": header, "body": "{}"})
    file = tmp_path / "run.jsonl"
    async with FakeModelServer() as models:
        models.add(
            *decisions(("researcher", "Read"), ("coder", "Send")),
            turns(
                "Read", Reply.calls(("web_search", {"query": KEY})), Reply(text="A", chunks=("A",))
            ),
            turns("Send", Reply.calls(send), Reply(text=KEY, chunks=(KEY[:9], KEY[9:]))),
            composer(Reply(text=f"Both: {KEY}")),
        )
        said = await record(
            file,
            task,
            capsys,
            OPENAI_BASE_URL=models.base_url,
            OPENAI_API_KEY=KEY,
            TAVILY_BASE_URL=web.base_url,
            TAVILY_API_KEY="canary-of-tavily-77",
            http_allow=web.address,
        )
        assert said.code == 0, said.stderr
    assert web.requests[-1].headers["authorization"] == f"Bearer {hidden['bearer']}"
    text = file.read_text()
    assert "canary" not in text, text[text.index("canary") - 200 :][:400]
    again = await replay(file, capsys)
    assert again.code == 0, again.stderr


async def test_a_failed_run_is_recorded_and_fails_again(tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "run.jsonl"
    async with FakeModelServer() as models:
        models.add(unauthorised())
        said = await record(file, "Hello", capsys, OPENAI_BASE_URL=models.base_url)
    assert (said.code, said.run["error"]["code"]) == (1, "model-error")
    again = await replay(file, capsys)
    assert again.code == 0, again.stderr
    assert again.run["error"]["detail"] == said.run["error"]["detail"]
    assert again.run["usage"] == said.run["usage"]


@pytest.mark.slow
async def test_what_a_person_refuses_is_refused_again(
    tmp_path: Path, target: CountingTarget, capsys: Out
) -> None:
    file = tmp_path / "run.jsonl"
    async with FakeModelServer() as models:
        models.add(
            *decisions(("coder", "Send A"), ("coder", "Send B")),
            turns("Send A", Reply.calls(post(target, "/a")), Reply(text="I may not.")),
            turns("Send B", Reply.calls(post(target, "/b"), post(target, "/c")), Reply(text="No.")),
            composer(Reply(text="Nothing was sent.")),
        )
        given: dict[str, Any] = {"OPENAI_BASE_URL": models.base_url, "http_allow": target.address}
        said = await record(file, "Send both", capsys, approve="deny", **given)
        assert said.run["status"] == "completed", said.stderr
    again = await replay(file, capsys)
    assert again.code == 0, again.stderr
    assert not target.requests


async def test_other_prompts_are_told_and_may_be_allowed(tmp_path: Path, capsys: Out) -> None:
    """As after a prompt was edited: it is said which call is asked otherwise, and in what."""
    file = tmp_path / "run.jsonl"
    said = await record(file, "Tell me a joke", capsys)
    assert said.run["status"] == "completed", said.stderr
    lines = lines_of(file)
    call = next(line for line in lines if line["kind"] == "call" and line["at"].startswith("1|"))
    call["digests"]["system"] = "0" * 64
    write_lines(file, lines)
    told = f"the model call {call['at']} of {call['agent']} is asked with other system than was recorded"
    strict = await replay(file, capsys, check=False)
    assert strict.code == 1
    assert f"differs: {told}" in strict.stderr
    loose = await replay(file, capsys, loose=True)
    assert loose.code == 0, loose.stderr
    assert f"differs: {told}" in loose.stderr


async def test_what_a_graph_from_outside_has_done_is_not_replayed(
    tmp_path: Path, capsys: Out
) -> None:
    """What its models answered passes nobody who could write it down."""
    file = tmp_path / "run.jsonl"
    await record(file, "Tell me a joke", capsys)
    lines = lines_of(file)
    [worked] = {
        line["agent"] for line in lines if line["kind"] == "call" and "1|" in line["at"]
    } - {"supervisor"}
    lines[0]["outside"] = [worked]
    write_lines(file, lines)
    with pytest.raises(ConfigurationError, match=f"{worked} is a graph from outside"):
        await replay(file, capsys)


@pytest.mark.slow
async def test_a_call_that_is_not_in_it_is_told(tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "run.jsonl"
    await record(file, "Tell me a joke", capsys)
    lines = lines_of(file)
    gone = next(line for line in lines if line["kind"] == "call" and line["at"].startswith("1|"))
    write_lines(file, [line for line in lines if line != gone])
    again = await replay(file, capsys, check=False)
    assert again.code == 1
    told = f"missing: the model call {gone['at']} of {gone['agent']}, number 1, is not in it"
    assert told in again.stderr


@pytest.mark.slow
async def test_an_answer_that_was_changed_is_refused_and_shows_in_the_events(
    tmp_path: Path, capsys: Out
) -> None:
    """A recording says that it was changed; replayed all the same, the events tell where."""
    file = tmp_path / "run.jsonl"
    said = await record(file, "Tell me a joke", capsys)
    lines = lines_of(file)
    [*_, last] = [line for line in lines if line["kind"] == "call" and line["pieces"]]
    last["message"]["data"]["content"] = "Something else entirely."
    last["pieces"] = ["Something else", " entirely."]
    write_lines(file, lines, sealed=False)
    with pytest.raises(ConfigurationError, match="changed after it was recorded; --loose"):
        await replay(file, capsys)
    again = await replay(file, capsys, loose=True)
    assert again.code == 1, again.stderr
    assert again.run["result"]["output"] != said.run["result"]["output"]
    assert "message.completed.text" in again.stderr
    assert '"Something else entirely."' in again.stderr


async def test_where_no_recording_can_be_written_no_run_begins(tmp_path: Path, capsys: Out) -> None:
    """It is found out before anything is paid."""
    async with FakeModelServer() as models:
        for file, why in (
            (tmp_path / "none" / "run.jsonl", "No such file or directory"),
            (tmp_path, "it is there, and is no file"),
        ):
            with pytest.raises(ConfigurationError, match=why):
                await record(file, "Hello", capsys, OPENAI_BASE_URL=models.base_url)
        assert not models.requests


@pytest.mark.slow
async def test_what_is_too_large_is_not_recorded(
    tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is printed all the same, and what was there stays; the exit code tells."""
    monkeypatch.setattr("service.recordings.MAX_BYTES", 2_000)
    file = tmp_path / "run.jsonl"
    file.write_text("what was there")
    said = await record(file, "Tell me a joke", capsys)
    assert (said.code, said.run["status"]) == (1, "completed")
    assert "Not recorded: it would be more than" in said.stderr
    assert file.read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.slow
async def test_a_question_of_money_is_answered_again(tmp_path: Path, capsys: Out) -> None:
    """What was known of prices and limits is in the recording."""
    file, prices = tmp_path / "run.jsonl", tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    async with FakeModelServer() as models:
        models.add(
            *decisions(("coder", "One"), ("analyst", "Two")),
            worker("One", Reply(text="First.", usage=TokenUsage(7_000, 40))),
            worker("Two", Reply(text="Second.", usage=TokenUsage(7_000, 40))),
        )
        said = await record(
            file,
            "Do both",
            capsys,
            OPENAI_BASE_URL=models.base_url,
            prices=prices,
            budgets={"default": {"max_tokens": 12_000}},
            model_max_output=1_000,
        )
    assert said.run["stop_reason"] == "budget", said.stderr
    assert said.run["usage"]["cost_known"]
    again = await replay(file, capsys)
    assert again.code == 0, again.stderr
    assert again.run["usage"] == said.run["usage"]


@pytest.mark.slow
async def test_sources_that_are_none_are_told_in_a_line(tmp_path: Path, capsys: Out) -> None:
    """Where somebody has changed a recording, whatever stands there now is no fault of the code."""
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / "clocks.md").write_text("Clocks tick.")
    file = tmp_path / "run.jsonl"
    task = "Look up what clocks do"
    said = await record(file, task, capsys, knowledge_dir=tmp_path / "knowledge")
    assert said.code == 0, said.stderr
    lines = lines_of(file)
    [tool] = [line for line in lines if line["kind"] == "tool"]
    for wrong in ({"source": 7}, {"title": True}, {"snippet": [1]}, {"number": "x"}):
        left = tool["message"]["data"]["artifact"]
        before = left["citations"]
        left["citations"] = [{**before[0], **wrong}]
        write_lines(file, lines, sealed=False)
        left["citations"] = before
        again = await replay(file, capsys, check=False, loose=True)
        assert again.code == 1
        assert "search_documents has no answer that could be given" in again.stderr
        assert "Traceback" not in again.stderr
