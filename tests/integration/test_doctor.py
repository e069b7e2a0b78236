"""The doctor tries each model of the tiers once, and says what it can do and what to write where it cannot."""

from __future__ import annotations

from agents._kit.models import ModelGateway, ModelSettings
from domain.agent import TIERS
from service.commands.doctor import try_models
from service.commands.findings import Finding
from tests.fakes.model_script import Reply, Rule, When
from tests.fakes.model_server import FakeModelServer

SECRET = "sk-canary-0123456789"


async def found(models: FakeModelServer, chain: str) -> dict[str, Finding]:
    """Return what the doctor finds about the models of a chain."""
    settings = ModelSettings(
        tiers=dict.fromkeys(TIERS, chain), openai_api_key=SECRET, openai_base_url=models.base_url
    )
    gateway = ModelGateway(settings, ())
    try:
        findings = await try_models(gateway)
    finally:
        await gateway.aclose()
    assert SECRET not in "".join(each.line() for each in findings)
    return {each.subject: each for each in findings}


async def test_each_model_is_tried_once_and_what_it_can_do_is_said(
    models: FakeModelServer,
) -> None:
    """One does all, one is helped with words, one refuses the key."""
    no_schema = "'response_format' of type 'json_schema' is not supported"
    models.add(
        Rule(when=When(model="closed"), reply=Reply.error(401, message=SECRET)),
        Rule(when=When(model="plain", schema=True), reply=Reply.error(400, message=no_schema)),
        Rule(when=When(model="plain", tools=True), reply=Reply.error(400, message="no tools")),
        Rule(when=When(schema=True), reply=Reply.json({"colour": "red"})),
        Rule(when=When(system="JSON schema"), reply=Reply.json({"colour": "red"})),
        Rule(when=When(tools=True), reply=Reply.calls(("look_up_weather", {"city": "Cork"}))),
        Rule(when=When(system="call these tools"), reply=Reply(text="It is raining.")),
    )
    seen = await found(models, "openai:whole, openai:plain, openai:closed")
    assert set(seen) == {"model openai:whole", "model openai:plain", "model openai:closed"}
    whole, plain, closed = seen.values()
    assert (whole.level, whole.text) == ("ok", "json_schema ok; tools ok; streaming usage ok")
    assert plain.level == "warn"
    assert "json_schema emulated; tools failed (it answered without calling" in plain.text
    assert closed.level == "warn"
    assert closed.text.count("Check the API key") == 3
    assert models.counts["*"] == 3 + 5 + 3
