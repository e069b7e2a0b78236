"""Without a model: real work, real sources, and honesty about what needs a model."""

from __future__ import annotations

from tests.fakes.running import Product
from tests.integration.forking import forked


async def test_numbers_are_executed_and_a_source_is_cited(product: Product) -> None:
    """The answer to a mixed task holds computed figures and a cited document."""
    response = await product.run(
        "Compute the mean, growth and trend of 120, 135, 150, 149, 171 and, independently, "
        "look up when the Fastnet lighthouse tower was completed"
    )
    assert response.status_code == 200, response.text
    run = response.json()
    assert (run["status"], run["engine"], run["stop_reason"]) == ("completed", "offline", "done")
    assert "145" in run["result"]["output"]
    assert "42.5" in run["result"]["output"]
    assert "1904" in run["result"]["output"]
    assert [c["source"] for c in run["result"]["citations"]] == ["lighthouse.md"]
    assert set(run["result"]["agents"]) == {"analyst", "researcher"}
    assert run["usage"]["cost_known"] is True


async def test_a_task_that_needs_a_model_is_told_so(product: Product) -> None:
    """The planner names the variable to set instead of inventing an answer."""
    run = await product.finished("Write a haiku about autumn in Rust")
    assert run["engine"] == "offline"
    assert "OPENAI_API_KEY" in run["result"]["output"]


async def test_the_figures_of_an_answer_come_from_a_tool(product: Product) -> None:
    """The event log shows the program that printed the figures."""
    run = await product.finished("What is 1234 * 5678?")
    events = await product.events(run["id"])
    called = [e["data"]["tool"] for e in events if e["type"] == "tool.completed"]
    assert called == ["run_python"]
    printed = next(e["data"]["summary"] for e in events if e["type"] == "tool.completed")
    assert "7006652" in printed
    assert "7006652" in run["result"]["output"]


async def test_a_fork_with_another_task_gets_no_answer_to_the_first(product: Product) -> None:
    """Rules cannot tell which results another task can use, so it is worked on from its start."""
    run = await product.finished("What is 18% of 80?")
    assert "14.4" in run["result"]["output"]
    done = await product.ended(await forked(product, run["id"], task="What is 25% of 80?"))
    assert (done["status"], done["rounds"]) == ("completed", 1)
    assert "= 20" in done["result"]["output"]
    assert "14.4" not in done["result"]["output"]
