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


def test_results_share_the_room_there_is_for_all_of_them() -> None:
    """A short one stays whole; what it leaves is for the long ones, head and tail of each."""
    long = "HEAD " + "x" * 20_000 + " TAIL"
    written = write_results([outcome("a", long), outcome("b", "short"), outcome("c", long)])
    parts = read_prompt(write_prompt("t", results=written)).results

    assert parts[1].text == "short"
    assert all(p.text.startswith("HEAD") and p.text.endswith("TAIL") for p in (parts[0], parts[2]))
    assert "12010 characters left out" in parts[0].text  # 8 000 of each are kept
    tight = write_results([outcome(name, long) for name in "abcd"], together=8_000)
    assert tight.count("18010 characters left out") == 4
    assert len(tight) < 8_600


def test_where_there_is_no_room_for_all_the_oldest_results_are_left_out() -> None:
    outcomes = [outcome("coder", "x" * 900, round_=number) for number in range(1, 101)]
    written = write_results(outcomes, together=8_000)
    rounds = [r.round for r in read_prompt(write_prompt("t", results=written)).results]

    assert written.startswith("[… 60 earlier results left out …]\n")
    assert rounds == list(range(61, 101))
    assert len(written) < 14_000
