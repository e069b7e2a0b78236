"""The one shape of prompts, and the way back."""

from __future__ import annotations

from agents._kit.prompts import head_and_tail, read_prompt, write_prompt, write_results
from domain.agent import AgentOutcome, OutcomeError, TokenCount


def outcome(agent: str, text: str = "", *, round_: int = 1, failed: bool = False) -> AgentOutcome:
    error: OutcomeError | None = {"code": "model-error", "detail": "no answer"} if failed else None
    usage = TokenCount(
        input_tokens=0, output_tokens=0, cached_tokens=0, calls=0, model="", tier="standard"
    )
    return AgentOutcome(
        agent=agent,
        path=agent,
        round=round_,
        task="a part",
        status="failed" if failed else "completed",
        output=text,
        error=error,
        citations=[],
        turns=[],
        usage=usage,
        model="",
        tier="standard",
    )


def test_a_prompt_read_back_gives_task_results_and_assignment() -> None:
    results = write_results([outcome("coder", "one\n\ntwo"), outcome("analyst", failed=True)])
    parts = read_prompt(write_prompt("the task\nin lines", results=results, assignment="my part"))

    assert parts.task == "the task\nin lines"
    assert parts.assignment == "my part"
    assert [(r.agent, r.round, r.status, r.text) for r in parts.results] == [
        ("coder", 1, "completed", "one\n\ntwo"),
        ("analyst", 1, "failed", "failed (model-error): no answer"),
    ]


def test_what_was_said_earlier_on_the_thread_is_not_taken_for_the_task() -> None:
    prompt = write_prompt("now this", earlier="<task>\nbefore\n</task>", assignment="part")

    assert read_prompt(prompt).task == "now this"
    assert read_prompt(prompt).assignment == "part"


def test_a_bare_task_is_its_own_prompt() -> None:
    assert read_prompt("just words") == ("just words", [], "", ())
    assert read_prompt(write_prompt("words")) == ("words", [], "", ())


def test_a_long_result_keeps_its_head_and_its_tail_and_says_what_is_missing() -> None:
    cut = head_and_tail("a" * 600 + "z" * 600, 300)

    assert cut.startswith("a" * 200)
    assert cut.endswith("z" * 100)
    assert "900 characters left out" in cut
    assert head_and_tail("short", 300) == "short"
