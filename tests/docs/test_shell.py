"""What the documents tell a reader to type is typed, line by line, into a shell beside a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import RUN, to_run
from tests.docs.markdown import Block, Document
from tests.docs.shell import Shell
from tests.e2e.models import Models
from tests.fakes.postgres import postgres, postgres_url  # noqa: F401 - fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

ASK: Final = "curl -s localhost:8000/v1/runs?wait=20 -H 'content-type: application/json' -d "
BEFORE: Final = {
    "docs/events.md": f"""{ASK}'{{"task": "What is 2 + 2?"}}'""",
    "docs/debugging.md": f"""{ASK}'{{"task": "What is 2 + 2?"}}'; ln -s ../shims/serve.log signalbox.log""",
    "docs/steering.md": f"""{ASK}'{{"task": "What is 2 + 2?", "approvals": {{"mode": "always"}}}}'""",
}
"""What a document takes for granted: a run that has ended, or waits."""

ON_POSTGRES: Final = ("db upgrade", "signalbox worker")
WITH_A_MODEL: Final = "OPENAI_API_KEY=sk-…"
OWN: Final = re.compile(r"make |signalbox (serve|worker|sandbox|keys|run )")
"""What a shell of its own is for: other lines share one server."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with Shell(tmp_path_factory.mktemp("shared")) as shell:
        shell.run("signalbox serve")
        yield shell


def plain(block: Block) -> bool:
    return not any(mark in block.text for mark in (*ON_POSTGRES, WITH_A_MODEL))


def own(document: Document) -> bool:
    return any(OWN.search(block.text) for block in to_run(document) if plain(block))


named = {document.name: document for document in RUN}
beside = [name for name, document in named.items() if not own(document)]
alone = [name for name, document in named.items() if own(document)]
other = [name for name, document in named.items() if not all(map(plain, to_run(document)))]


@pytest.mark.parametrize("name", beside)
def test_what_is_said_to_a_server_is_answered(shared: Shell, name: str) -> None:
    document = named[name]
    shared.execute(list(filter(plain, to_run(document))), before=BEFORE.get(name, ""))


@pytest.mark.parametrize("name", alone)
def test_what_starts_something_does(tmp_path: Path, name: str) -> None:
    document = named[name]
    with Shell(tmp_path) as shell:
        shell.execute(list(filter(plain, to_run(document))), before=BEFORE.get(name, ""))


@pytest.mark.parametrize("name", other)
def test_what_needs_a_model_or_postgres_has_it(
    tmp_path: Path,
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    blocks = [block for block in to_run(named[name]) if not plain(block)]
    models = None
    env = {}
    if any(WITH_A_MODEL in block.text for block in blocks):
        models = Models()
        env["OPENAI_BASE_URL"] = models.base_url
    else:
        env["SIGNALBOX_DATABASE_URL"] = str(request.getfixturevalue("postgres_url"))
    with Shell(tmp_path, **env) as shell:
        shell.execute(blocks)
    if models:
        assert models.requests
        assert {r.headers["authorization"] for r in models.requests} == {"Bearer sk-test"}
        models.close()
