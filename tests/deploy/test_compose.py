"""`docker-compose.yml`, as far as it can be looked at without Docker; `tests/e2e/test_compose.py` runs its commands."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

import pytest

from service.settings import known_variables
from tests.deploy.files import (
    AGENT_VARIABLE,
    ROOT,
    Document,
    compose,
    compose_schema,
    faults,
    own_services,
    services,
)

FOREIGN: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT", "FORWARDED_ALLOW_IPS"}
EVERY: Final = sorted(compose()["services"])
OWN: Final = sorted(own_services())
IMAGE: Final = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?")


def test_it_is_a_compose_file() -> None:
    assert faults(compose_schema(), compose()) == []


@pytest.mark.parametrize(
    ("service", "change"),
    [
        ("api", {"read_onyl": True}),
        ("worker", {"depends_on": {"upgrade": {"condition": "service_done"}}}),
        ("sandbox", {"healthcheck": {"test": 1}}),
    ],
)
def test_the_schema_finds_what_is_wrong(service: str, change: Document) -> None:
    broken = copy.deepcopy(compose())
    broken["services"][service] |= change
    assert faults(compose_schema(), broken)


def test_each_shape_has_its_processes() -> None:
    assert list(services()) == ["signalbox"]
    assert {"postgres", "upgrade", "api", "worker", "sandbox"} == services("scale").keys()
    assert {"analyst", "coder", "researcher"} == services("agents").keys()
    assert {"prometheus", "grafana", "jaeger"} == services("observability").keys()
    scaled = services("scale")
    assert [scaled[name]["deploy"]["replicas"] for name in ("api", "worker")] == [2, 2]


@pytest.mark.parametrize("name", EVERY)
def test_what_a_service_names_is_there(name: str) -> None:
    service = compose()["services"][name]
    profile = service.get("profiles", [])
    for other in service.get("depends_on", ()):
        # What is not started without a profile cannot be waited for.
        assert compose()["services"][other].get("profiles", []) in ([], profile)
    for volume in service.get("volumes", ()):
        source = volume.partition(":")[0]
        assert source in compose()["volumes"] or (ROOT / source).exists(), volume


def test_every_volume_is_used() -> None:
    used = {
        v.partition(":")[0] for s in compose()["services"].values() for v in s.get("volumes", ())
    }
    assert compose()["volumes"].keys() <= used


@pytest.mark.parametrize("name", EVERY)
def test_a_service_has_as_little_as_it_can_do_with(name: str) -> None:
    service = compose()["services"][name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert IMAGE.fullmatch(service["image"]), service["image"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert service["restart"] == ("no" if name == "upgrade" else "unless-stopped")
    # Postgres changes its user at its start, and writes beside its data.
    if name != "postgres":
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", OWN)
def test_our_processes_are_looked_after(name: str) -> None:
    service = compose()["services"][name]
    assert service["init"]
    assert service["stop_grace_period"] == "40s"
    assert service["tmpfs"] == ["/tmp:size=256m"]
    looks_itself = name in {"signalbox", "api"}  # as the image does
    assert ("healthcheck" in service) != looks_itself
    if name not in {"upgrade", "signalbox", "api"}:
        assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", OWN)
def test_our_variables_are_settings(name: str) -> None:
    variables = compose()["services"][name]["environment"].keys() - FOREIGN
    unknown = {v for v in variables - known_variables() if not AGENT_VARIABLE.fullmatch(v)}
    assert not unknown


def test_what_runs_programs_has_nothing_to_steal() -> None:
    sandbox = compose()["services"]["sandbox"]
    assert sandbox["network_mode"] == "none"
    assert sandbox["env_file"] == []
    assert sandbox["environment"].keys() == {"SIGNALBOX_DATA_DIR", "SIGNALBOX_SANDBOX_SOCKET"}
    assert [v.partition(":")[0] for v in sandbox["volumes"]] == ["workspaces", "sandbox"]


def test_processes_that_share_runs_share_database_files_and_sandbox() -> None:
    def shared(name: str) -> dict[str, Any]:
        service = compose()["services"][name]
        names = ("SIGNALBOX_DATABASE_URL", "SIGNALBOX_DATA_DIR", "SIGNALBOX_SANDBOX_SOCKET")
        return {"volumes": service["volumes"], **{n: service["environment"][n] for n in names}}

    assert shared("api") == shared("worker") == shared("upgrade")
    sandbox = compose()["services"]["sandbox"]
    assert set(sandbox["volumes"]) <= set(shared("api")["volumes"])


def test_the_agents_are_those_whose_addresses_are_given() -> None:
    lines = (ROOT / "deploy" / "agents.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name, service in services("agents").items():
        port = service["environment"]["SIGNALBOX_PORT"]
        variable = f"SIGNALBOX_AGENT_{name.upper()}_URL"
        assert given.pop(variable) == f"http://{name}:{port}"
        for caller in ("signalbox", "api", "worker"):
            assert variable in compose()["services"][caller]["environment"]
        assert service["command"] == ["signalbox", "agent", name]
        assert "SIGNALBOX_DATABASE_URL" not in service["environment"]
        assert "volumes" not in service
    assert given == {"SIGNALBOX_AGENT_SECRET": ""}


def test_what_the_comments_say_to_type_names_profiles_and_services() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "docs" / "deployment.md").read_text()
    profiles = {p for s in compose()["services"].values() for p in s.get("profiles", ())}
    assert set(re.findall(r"--profile (\w+)", text)) == profiles
    assert set(re.findall(r"run --build --rm (\w+)", text)) <= compose()["services"].keys()
