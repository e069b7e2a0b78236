"""Where agents are served: what the settings may say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from agents._kit.models import ModelGateway, ModelSettings
from agents._kit.registry import Team
from agents.coder import AGENT as CODER
from domain.errors import ConfigurationError
from service.commands.doctor_agents import agent_addresses
from service.commands.in_clear import warn_of_readers
from service.parts import open_remotes
from service.settings import known_secrets, read_settings, unknown_variables
from tests.fakes.agent_service import serving_agent

SECRET: Final = "a-secret-of-the-test"
NOWHERE: Final = "http://127.0.0.1:9"


def test_an_address_of_nobody_is_refused_at_the_start() -> None:
    team = Team([CODER])
    gateway = ModelGateway(ModelSettings(tiers=None), team.routable)
    settings = read_settings(agent_urls={"nobody": (NOWHERE,)}, _env_file=None)
    with pytest.raises(ConfigurationError, match="SIGNALBOX_AGENT_NOBODY_URL names no agent"):
        open_remotes(settings, team, gateway)


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("SIGNALBOX_AGENT_CODER_URL", "ftp://there", "write the coder's as http://host:port"),
        ("SIGNALBOX_AGENT_CODER_URL", "http://u:p@there", "write the coder's as http://host:port"),
        ("SIGNALBOX_AGENT_CODER_URL", "http://there:x,http://b", "write the coder's as"),
        ("SIGNALBOX_AGENT_SECRET", "tooshort", "SIGNALBOX_AGENT_SECRET cannot be used"),
        ("SIGNALBOX_AGENT_SECRET", f"{SECRET},tooshort", "at least 16 visible ASCII characters"),
        ("SIGNALBOX_AGENT_SECRET", f"{SECRET},", "at least 16 visible ASCII characters"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=why) as refused:
        read_settings(_env_file=None)
    assert "tooshort" not in str(refused.value)


def test_instances_are_read_from_the_variable_of_their_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNALBOX_AGENT_MY_OWN_URL", "http://a:1/, https://b/x ,")
    settings = read_settings(_env_file=None)
    assert settings.agent_urls == {"my_own": ("http://a:1", "https://b/x")}
    assert "SIGNALBOX_AGENT_MY_OWN_URL" not in unknown_variables()


def test_instances_stand_in_dotenv_too_and_the_environment_counts_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "other.env"
    file.write_text(
        "SIGNALBOX_AGENT_CODER_URL=http://file:1\nSIGNALBOX_AGENT_ANALYST_URL=http://file:2\n"
    )
    monkeypatch.setenv("SIGNALBOX_AGENT_CODER_URL", "http://told:1")
    settings = read_settings(_env_file=file)
    assert settings.agent_urls == {"coder": ("http://told:1",), "analyst": ("http://file:2",)}
    assert read_settings(_env_file=None).agent_urls == {"coder": ("http://told:1",)}


def test_each_of_several_secrets_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_AGENT_SECRET", f"{SECRET},the-new-secret-of-the-test")
    settings = read_settings(_env_file=None)
    assert {SECRET, "the-new-secret-of-the-test"} <= known_secrets(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://10.0.0.7:9001", True),
        ("http://coder.example.org", True),
        ("http://[2001:db8::7]:9001", True),
        ("https://coder.example.org", False),
        ("http://localhost:9001", False),
        ("http://[::1]:9001", False),
        ("http://127.0.0.2:9001", False),
        ("http://coder:8000", False),
    ],
)
def test_an_address_at_which_others_read_along_is_told_of(
    url: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings(
        agent_urls={"coder": (NOWHERE, url)}, agent_secret=SECRET, _env_file=None
    )
    found = agent_addresses(settings)
    assert [(each.level, each.subject) for each in found] == [("warn", "agent services")] * told
    warn_of_readers(settings)
    assert len(caplog.records) == told
    for text in [*caplog.messages, *(each.text for each in found)]:
        assert "http" in text
        assert SECRET not in text


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("nobody", {}, "There is no agent 'nobody'"),
        ("validator", {}, "There is no agent 'validator' that gets work"),
        ("coder", {"host": "0.0.0.0"}, "set SIGNALBOX_AGENT_SECRET"),
    ],
)
async def test_what_cannot_be_served_is_said_at_once(
    tmp_path: Path, name: str, given: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        async with serving_agent(name, tmp_path, **given):
            pass
