"""Every script of `examples/` does what it says, started as a reader starts it, against a server that runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT
from tests.docs.shell import Shell
from tests.e2e.models import Models
from tests.e2e.processes import clean_environment
from tests.fakes.model_script import Reply, Rule, When

FOLDER: Final = ROOT / "examples"
LONGEST: Final = 40

OFFLINE: Final[dict[str, list[str]]] = {
    "quickstart": ["17 / 100 * 80 = 13.6", "completed, by offline"],
    "plain_http": ["19 / 100 * 250 = 47.5", "1 run.created", "run.completed"],
    "streaming": ["[tool.started] analyst run_python", "mean: 6.5", "[run.completed]"],
    "approvals": ["analyst wants to call run_python", "12 / 100 * 250 = 30", "run_python: approve"],
    "edit_action": ["6 * 7 = 42", "run_python done", "# looked at by a person"],
    "parallel_agents": ["analyst started", "researcher completed", "mean: 135", "mean: 10"],
    "budget": ["budget: ", "median: 9", "tokens of 50000"],
    "files": ["sales.csv", "image/png", "text/csv"],
    "retry_fork": ["the budget is reached", "It goes on:", "mean: 7", "Another way:", "median: 6"],
    "own_graph": ["announcer asks: From which platform", "The train leaves from platform 4."],
    "webhook_receiver": ["[('run.completed', ", "3 + 4 = 7"],
    "openai_package": ["35 / 100 * 60 = 21"],
}
"""What each prints where there is no model."""

MODEL: Final[dict[str, list[str]]] = {
    "structured": ["Oslo 7.5"],
    "own_agent": ["haiku: Writes a haiku", "Red above, green below"],
    "notes": ["requires_action", "It rises and falls.", "nte_"],
}
"""What the others print, for which a model is scripted."""


@dataclass
class Served:
    """A server, and how a script is run against it."""

    shell: Shell
    folder: Path

    def prints(self, name: str) -> str:
        own = {"SIGNALBOX_URL": f"http://127.0.0.1:{self.shell.port}", "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            [sys.executable, str(FOLDER / f"{name}.py")],
            cwd=self.folder,
            env=clean_environment(self.folder, own),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
        return ended.stdout


def serve(folder: Path, **env: str) -> Iterator[Served]:
    with Shell(folder, SIGNALBOX_AGENTS=str(FOLDER / "agents"), **env) as shell:
        shell.run("signalbox serve")
        yield Served(shell, folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve(tmp_path_factory.mktemp("offline"))


@pytest.fixture(scope="module")
def with_a_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = Models()
    models.add(*script())
    yield from serve(tmp_path_factory.mktemp("model"), OPENAI_BASE_URL=models.base_url)
    models.close()


def script() -> list[Rule]:
    """Return what a model says to the examples that take one."""
    deciding: dict[str, Any] = {"schema": True, "system": "^You supervise"}
    return [
        Rule(
            when=When(schema=True, system="^Give the answer below"),
            reply=Reply.json({"city": "Oslo", "mean": 7.5}),
        ),
        Rule(when=When(user="<results>", **deciding), reply=Reply.route()),
        Rule(when=When(user="Oslo", **deciding), reply=Reply.route(("analyst", "Oslo"))),
        Rule(when=When(user="haiku", **deciding), reply=Reply.route(("haiku", "Signals"))),
        Rule(when=When(user="tides", **deciding), reply=Reply.route(("coder", "Tides"))),
        Rule(when=When(schema=False, user="Oslo"), reply=Reply(text="In Oslo it was 7.5.")),
        Rule(when=When(schema=False, system="haiku"), reply=Reply(text="Red above, green below")),
        Rule(
            when=When(schema=False, user="Tides", after_tool=False),
            reply=Reply.calls(("write_file", {"path": "tides.txt", "content": "up and down"})),
        ),
        Rule(when=When(schema=False, user="Tides"), reply=Reply(text="It rises and falls.")),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFLINE)
def test_the_offline_planner_is_enough_for(served: Served, name: str) -> None:
    printed = served.prints(name)
    assert [part for part in OFFLINE[name] if part not in printed] == [], printed


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL)
def test_with_a_model_there_is(with_a_model: Served, name: str) -> None:
    printed = with_a_model.prints(name)
    assert [part for part in MODEL[name] if part not in printed] == [], printed


def test_every_example_is_run_and_short() -> None:
    scripts = {path.stem: path for path in FOLDER.glob("*.py")}
    assert scripts.keys() == OFFLINE.keys() | MODEL.keys()
    for path in scripts.values():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, path
