"""Which block of which document is held by what: it is run, a test looks at it, or there is a reason why not."""

from __future__ import annotations

from typing import Final

from tests.docs.markdown import ALL, Block, Document

HELD: Final[dict[tuple[str, str], str]] = {
    ("README.md", "AgentSpec("): "tests/docs/test_readme.py::"
    "test_the_translator_is_twelve_lines_and_works_with_a_model",
    ("docs/receipts.md", "receipt.json"): "tests/integration/test_receipts.py::"
    "test_the_snippet_of_the_documents_checks_a_receipt",
    ("docs/webhooks.md", "Webhook("): "tests/integration/test_webhooks.py::"
    "test_a_delivery_is_verified_as_the_page_shows",
    ("docs/agents.md", "def make_departures"): "tests/docs/test_agents_page.py::"
    "test_the_tool_of_the_page_is_listed_as_the_page_says",
    ("docs/client.md", ""): "tests/docs/test_client.py::test_every_program_of_the_page_works",
    ("docs/approvals.md", "/resolution"): "tests/integration/test_doubt.py::"
    "test_an_action_in_doubt_is_settled_as_the_page_shows",
}
"""Blocks in `sh` and `python` that a test of their own executes: by document and a piece of them; an empty one is
all of a document."""

NOT_RUN: Final[dict[tuple[str, str], str]] = {
    ("CONTRIBUTING.md", "make check"): "it runs the tests that this is one of",
    ("docs/chaos.md", "make chaos"): "takes minutes to half an hour; tests/chaos has a short one",
    (
        "docs/cli.md",
        "",
    ): "a line for each command and option: tests/docs/test_cli_lines.py has the command "
    "read every one; tests/integration/test_commands.py and tests/e2e/test_terminal.py run them",
    ("docs/deployment.md", "docker compose"): "needs a Docker engine",
    ("docs/deployment.md", "kubectl apply"): "needs a cluster; tests/deploy holds the files",
    (
        "docs/langgraph.md",
        "",
    ): "needs packages of its own (`make langgraph`); tests/e2e/test_langgraph.py starts "
    "the same command and does the same with the same client",
    ("docs/deployment.md", "proxy_pass"): "needs nginx",
    ("docs/tracing.md", "docker run"): "needs a Docker engine, and an image from a registry",
}
"""Blocks that nothing executes, each with its reason."""


def entry(table: dict[tuple[str, str], str], document: Document, block: Block) -> str | None:
    """Return what a table says of a block."""
    found = [
        said
        for (name, piece), said in table.items()
        if name == document.name and piece in block.text
    ]
    return found[0] if found else None


def to_run(document: Document) -> list[Block]:
    """Return the blocks of a document that a shell runs: all in `sh` and `python` but those that are named here."""
    return [
        block
        for block in document.blocks
        if block.language in {"sh", "python"}
        and not entry(HELD, document, block)
        and not entry(NOT_RUN, document, block)
    ]


RUN: Final = [document for document in ALL if to_run(document)]
