"""A secret of every setting, header and provider is looked for wherever something is kept, said or sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from monitoring.masking import make_mask
from service.settings import Settings, known_secrets, read_settings
from tests.fakes.langsmith_server import FakeLangSmith
from tests.fakes.log_lines import LogLines, log_lines
from tests.fakes.model_script import ModelRequest, Reply, Rule, When
from tests.fakes.model_server import FakeModelServer
from tests.fakes.search_server import FakeWeb
from tests.integration.conftest import Start
from tests.integration.team_script import composer, decisions, worker

TASK_MARK = "canary-of-the-task-5d1e"
HEADERS = {
    "Authorization": "Bearer canary-of-the-header-77a0",
    "Cookie": "signalbox_session=canary-of-the-header-77a0",
    "X-Api-Key": "canary-of-the-header-77a0",
}


def secrets() -> dict[str, str]:
    """Return a value for each setting that holds a secret, by the name it is set under."""
    found = {}
    for name, field in Settings.model_fields.items():
        if "SecretStr" in str(field.annotation):
            found[str(field.validation_alias or name)] = f"canary-of-{name}-41c9"
    return found


def echoing(status: int) -> Rule:
    """Return the rule of a provider that repeats the key in its error, as some do."""

    def refuse(request: ModelRequest) -> Reply:
        key = request.headers["authorization"]
        return Reply.error(status, retry_after="0", message=f"Incorrect API key provided: {key}")

    return Rule(when=When(schema=False, user=f"<assignment>\nFail with {status}\n"), reply=refuse)


def everything_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, the database with its log among them."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def test_the_secrets_are_those_of_the_settings() -> None:
    """A new one takes part without being named here; none of them shows itself."""
    assert {"OPENAI_API_KEY", "TAVILY_API_KEY", "LANGSMITH_API_KEY"} <= set(secrets())
    assert "canary" not in repr(SecretStr("canary"))


def test_the_log_masks_them_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of settings, what libraries read from the environment, and the password of the database."""
    planted = secrets()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-of-a-provider")
    url = "postgresql://signalbox:canary%40password@db/runs"
    settings = read_settings(database_url=url, _env_file=None, **planted)
    said = f"{list(planted.values())} canary-of-a-provider canary@password canary%40password"
    assert "canary" not in make_mask(known_secrets(settings)).scrub(said)


@pytest.fixture
def lines() -> Iterator[LogLines]:
    """Listen to the log as its reader gets it."""
    with log_lines(logging.DEBUG) as listening:
        yield listening


@pytest.mark.may_block
async def test_no_secret_is_kept_said_or_sent(
    start: Start,
    models: FakeModelServer,
    web: FakeWeb,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    lines: LogLines,
) -> None:
    """Providers that repeat keys in their errors included: in no answer, event, row, file, log, prompt or trace."""
    caplog.set_level(logging.INFO)
    planted = secrets()
    web.refuse(500, f'{{"detail": {{"error": "bad key {planted["TAVILY_API_KEY"]}"}}}}'.encode())
    models.add(
        *decisions(
            ("coder", "Fail with 401"), ("coder", "Fail with 500"), ("researcher", "Search")
        ),
        echoing(401),
        echoing(500),
        Rule(
            when=When(schema=False, user="<assignment>\nSearch\n", after_tool=False),
            reply=Reply.calls(("web_search", {"query": "Fastnet"})),
        ),
        worker("Search", Reply(text="Nothing was found.")),
        composer(Reply(text="It is not known.")),
    )
    url = f"sqlite:///{tmp_path}/data/runs.db"
    said: list[Any] = []
    settings = {"database_url": url, "tavily_base_url": web.base_url}
    async with (
        FakeLangSmith() as langsmith,
        start(models=models, **settings, **langsmith.settings(**planted)) as product,
    ):
        run = await product.finished(f"Do three things ({TASK_MARK})")
        said += [run, await product.events(run["id"])]
        for path in ("/v1/models", "/v1/info", "/v1/tools", "/health/ready", "/openapi.json"):
            said.append((await product.client.get(path)).text)
        said.append((await product.client.get(f"/v1/runs/{run['id']}/receipt")).text)
        for path, body in (("/v1/runs", {"task": ""}), ("/v1/nothing", {}), ("/v1/runs", [])):
            answer = await product.client.post(path, json=body, headers=HEADERS)
            assert answer.status_code >= 400
            said.append(answer.text + str(answer.headers))
        kept = list(everything_in(tmp_path / "data"))
        await langsmith.whole(run["id"])
    assert [part["agent"] for part in run["degraded"]] == ["coder"], run["degraded"]
    used = {r.headers["authorization"] for r in models.requests}
    assert used == {f"Bearer {planted['OPENAI_API_KEY']}"}, "the key was in use"
    assert {s.key for s in web.searches} == {planted["TAVILY_API_KEY"]}
    assert TASK_MARK.encode() in b"".join(content for _, content in kept), "what is kept was read"
    marks = [*planted.values(), HEADERS["X-Api-Key"]]
    for mark in marks:
        assert mark not in str(said), mark
        assert [name for name, content in kept if mark.encode() in content] == [], mark
        assert mark not in caplog.text, mark
        assert mark not in lines.text, mark
        assert not [r for r in models.requests if mark in str(r.body)], mark
        assert not [r for r in langsmith.requests if mark in r.body + r.query + r.path], mark
        assert not [r for r in web.requests if mark in r.body + r.query + r.path], mark
    assert {r.headers["x-api-key"] for r in langsmith.requests} == {planted["LANGSMITH_API_KEY"]}
    # Tasks are in runs and events, where they belong, and in no log.
    assert TASK_MARK in str(said)
    assert TASK_MARK not in caplog.text + lines.text
    assert lines.of("agent.failed"), "the log was read"
