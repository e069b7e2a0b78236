"""Real processes: started in a folder of the test's own, gone when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.models import Models
from tests.e2e.processes import Process, Service

StartProcess = Callable[..., Process]
StartService = Callable[..., Service]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty working folder with a small one of documents, so that no big index is built."""
    cwd = tmp_path / "cwd"
    knowledge = cwd / "knowledge"
    knowledge.mkdir(parents=True)
    (knowledge / "lighthouse.md").write_text(
        "# The lighthouse at Fastnet\n\nThe Fastnet lighthouse stands on Fastnet Rock. "
        "The present tower was completed in 1904 and is built of Cornish granite.\n"
    )
    return cwd


@pytest.fixture
def start_process(folder: Path) -> Iterator[StartProcess]:
    """Return how to start Python with arguments; keyword arguments are environment variables."""
    processes: list[Process] = []

    def start(*args: str, cwd: Path = folder, **env: str) -> Process:
        values = {"SIGNALBOX_KNOWLEDGE_DIR": str(folder / "knowledge"), **env}
        processes.append(Process(args, cwd=cwd, env=values))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.fixture
def signalbox(start_process: StartProcess, folder: Path) -> StartProcess:
    """Return how to start a `signalbox` command."""

    def start(*args: str, cwd: Path = folder, **env: str) -> Process:
        return start_process("-m", "service", *args, cwd=cwd, **env)

    return start


@pytest.fixture
def serve(signalbox: StartProcess, folder: Path) -> Iterator[StartService]:
    """Return how to start a server; `models=` points it at a fake model server."""
    services: list[Service] = []

    def start(*, models: Models | None = None, cwd: Path = folder, **env: str) -> Service:
        values = {"OPENAI_BASE_URL": models.base_url} if models else {}
        process = signalbox("serve", "--port", "0", cwd=cwd, **values, **env)
        address = process.says(r"Signalbox is at (http://\S+) ")[1]
        services.append(Service(process, address))
        return services[-1]

    yield start
    for service in services:
        service.close()


@pytest.fixture
def models() -> Iterator[Models]:
    """Run a fake model server without a script; tests add rules."""
    server = Models()
    yield server
    server.close()


EVERYDAY = frozenset(
    {
        "test_a_file_dropped_into_agents_is_an_agent_everywhere",
        "test_a_graph_from_an_outside_package_is_an_agent",
        "test_an_outside_graph_that_asks_a_person_fails_the_run",
        "test_doctor_names_every_fault_with_its_remedy",
        "test_finished_agents_do_not_run_again_after_a_kill",
        "test_run_prints_one_run_and_shows_who_works",
        "test_uvicorn_serves_the_application",
    }
)
"""One of each kind: every process takes two seconds to import the product."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests of real processes to `make test-slow`, but for one of each kind."""
    for item in items:
        if "e2e" in item.path.parts and getattr(item, "originalname", "") not in EVERYDAY:
            item.add_marker(pytest.mark.slow)
