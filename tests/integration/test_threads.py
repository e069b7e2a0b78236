"""Threads: one run after the other, and what a new run does while its thread is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, event

from domain.run import MultitaskStrategy
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.client_view import creating, followed
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import SECONDS, Arriving, decisions, worker

KEY: Final = {"idempotency-key": "order-1"}


class Step:
    """A run's work: the coder gets to it, and does it when it is let go."""

    def __init__(self, models: FakeModelServer, task: str) -> None:
        self.task = task
        self.reached = Arriving(Reply(text=f"{task} is done."))
        models.add(
            *decisions(("coder", f"Do {task}"), task=f"<task>\n{task}\n"),
            worker(f"Do {task}", self.reached, gate=task),
        )
        self._gate = models.event(task)

    @property
    def begun(self) -> bool:
        return self.reached._arrived.is_set()

    def let_go(self) -> None:
        self._gate.set()


async def post(product: Product, task: str, **body: Any) -> httpx.Response:
    return await product.client.post("/v1/runs", json={"task": task, **body})


async def created(product: Product, task: str, **body: Any) -> dict[str, Any]:
    response = await post(product, task, **body)
    assert response.status_code == 202, response.text
    run: dict[str, Any] = response.json()
    return run


async def listed(product: Product, status: str) -> list[str]:
    """Return the tasks of the runs with a status, the oldest first."""
    page = (await product.client.get(f"/v1/runs?status={status}&limit=100")).json()
    return [run["task"] for run in reversed(page["data"])]


@pytest.mark.parametrize("body", [{}, {"multitask_strategy": "enqueue"}])
async def test_runs_of_a_thread_are_executed_one_after_the_other(
    modelled: Product, models: FakeModelServer, body: dict[str, Any]
) -> None:
    """In the order in which they were created, and never two at once."""
    steps = [Step(models, f"Task {n}") for n in range(4)]
    runs = [await created(modelled, "Task 0")]
    thread = {"thread_id": runs[0]["thread_id"], **body}
    runs += [await created(modelled, step.task, **thread) for step in steps[1:]]
    for number, step in enumerate(steps):
        await step.reached.wait()
        assert not any(later.begun for later in steps[number + 1 :])
        assert await listed(modelled, "running") == [step.task]
        assert await listed(modelled, "queued") == [later.task for later in steps[number + 1 :]]
        step.let_go()
    ended = [await modelled.ended(run["id"]) for run in runs]
    assert {run["status"] for run in ended} == {"completed"}
    times = [time for run in ended for time in (run["started_at"], run["ended_at"])]
    assert times == sorted(times)


@pytest.mark.parametrize("waiting", [False, True])
async def test_reject_refuses_while_the_thread_is_busy(
    modelled: Product, models: FakeModelServer, *, waiting: bool
) -> None:
    """The problem names the run that is in the way; once it has ended the same request is accepted."""
    first, second = Step(models, "First"), Step(models, "Second")
    busy = await created(modelled, "First")
    thread = {"thread_id": busy["thread_id"], "multitask_strategy": "reject"}
    if waiting:
        await first.reached.wait()
    response = await post(modelled, "Second", **thread)
    problem = assert_problem(response, "thread-busy")
    assert problem["run_id"] == busy["id"]
    assert busy["id"] in problem["detail"]
    assert "enqueue" in problem["detail"]
    assert "interrupt" in problem["detail"]
    assert len((await modelled.client.get("/v1/runs")).json()["data"]) == 1
    first.let_go()
    assert (await modelled.ended(busy["id"]))["status"] == "completed"
    second.let_go()
    run = await created(modelled, "Second", **thread)
    assert (await modelled.ended(run["id"]))["result"]["output"] == "Second is done."


async def test_of_requests_at_once_that_do_not_want_to_wait_one_is_accepted(
    modelled: Product, models: FakeModelServer
) -> None:
    """Which is first is nobody's promise; that there is one is."""
    opening = Step(models, "Opening")
    opening.let_go()
    first = await modelled.finished("Opening")
    step = Step(models, "Again")
    thread = {"thread_id": first["thread_id"], "multitask_strategy": "reject"}
    async with asyncio.timeout(SECONDS):
        answers = await asyncio.gather(*(post(modelled, "Again", **thread) for _ in range(12)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(202), codes.count(409)) == (1, 11)
    step.let_go()
    winner = answers[codes.index(202)].json()
    assert (await modelled.ended(winner["id"]))["status"] == "completed"


async def test_interrupt_takes_the_place_of_a_run_that_works(
    modelled: Product, models: FakeModelServer
) -> None:
    """What its agents have produced stays, its readers are told, and who waited behind it is gone too."""
    working = Arriving(Reply(text="This never comes to its end."))
    models.add(
        *decisions(("analyst", "Count it"), ("coder", "Write it"), task="<task>\nFirst\n"),
        worker("Count it", Reply(text="There are five.")),
        worker("Write it", working, gate="half", gate_after=3),
    )
    models.event("half")
    third = Step(models, "Third")
    third.let_go()
    async with creating(modelled, task="First") as stream:
        await stream.until(lambda view: view.of("agent.completed"))
        await working.wait()
        first = stream.view.frames[0]
        thread = {"thread_id": first["data"]["thread_id"]}
        second = await created(modelled, "Second", **thread)
        new = await created(modelled, "Third", **thread, multitask_strategy="interrupt")
        view = await stream.end()
    last = view.frames[-1]
    reason = f"Run {new['id']} took its place."
    assert (last["type"], last["data"]["reason"]) == ("run.cancelled", reason)
    run = (await modelled.client.get(f"/v1/runs/{first['run_id']}")).json()
    assert last["data"]["run"] == run
    assert (run["status"], run["stop_reason"], run["rounds"]) == ("cancelled", "cancelled", 1)
    assert run["result"]["output"] == "There are five."
    assert list(run["result"]["agents"]) == ["analyst"]
    behind = await modelled.ended(second["id"])
    assert (behind["status"], behind["attempt"], behind["result"]) == ("cancelled", 0, None)
    frames = (await followed(modelled, second["id"])).frames
    assert [frame["type"] for frame in frames] == ["run.created", "run.cancelled"]
    assert frames[-1]["data"]["reason"] == reason
    ended = await modelled.ended(new["id"])
    assert (ended["status"], ended["result"]["output"]) == ("completed", "Third is done.")


async def test_a_request_that_waited_for_an_interrupted_run_is_told(
    modelled: Product, models: FakeModelServer
) -> None:
    first, second = Step(models, "First"), Step(models, "Second")
    second.let_go()
    run = await created(modelled, "First")
    await first.reached.wait()
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(modelled.client.get(f"/v1/runs/{run['id']}?wait=30"))
        response = await modelled.client.post(
            "/v1/runs?wait=30",
            json={
                "task": "Second",
                "thread_id": run["thread_id"],
                "multitask_strategy": "interrupt",
            },
        )
    assert (response.status_code, response.json()["status"]) == (200, "completed")
    assert waiting.result().json()["status"] == "cancelled"


async def test_of_interrupting_requests_at_once_the_last_one_is_executed(
    modelled: Product, models: FakeModelServer
) -> None:
    """Every other run has its end, told once; the thread goes on."""
    opening, step = Step(models, "Opening"), Step(models, "Again")
    first = await created(modelled, "Opening")
    await opening.reached.wait()
    thread = {"thread_id": first["thread_id"], "multitask_strategy": "interrupt"}
    async with asyncio.timeout(SECONDS):
        runs = await asyncio.gather(*(created(modelled, "Again", **thread) for _ in range(10)))
    step.let_go()
    ended = [await modelled.ended(run["id"]) for run in [first, *runs]]
    assert [run["status"] for run in ended].count("cancelled") == 10
    assert [run["status"] for run in ended].count("completed") == 1
    for run in ended:
        types = [each["type"] for each in await modelled.events(run["id"])]
        assert types.count("run.cancelled") == (run["status"] == "cancelled")


@pytest.mark.parametrize("strategy", ["reject", "interrupt"])
async def test_a_repeated_request_gets_its_run_though_the_thread_is_busy_with_it(
    modelled: Product, models: FakeModelServer, strategy: MultitaskStrategy
) -> None:
    opening, step = Step(models, "Opening"), Step(models, "Again")
    opening.let_go()
    first = await modelled.finished("Opening")
    body = {"task": "Again", "thread_id": first["thread_id"], "multitask_strategy": strategy}
    run = await modelled.client.post("/v1/runs", json=body, headers=KEY)
    await step.reached.wait()
    again = await modelled.client.post("/v1/runs", json=body, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert (again.json()["id"], again.json()["status"]) == (run.json()["id"], "running")
    step.let_go()
    assert (await modelled.ended(run.json()["id"]))["status"] == "completed"


async def test_a_refused_request_may_be_repeated_with_its_key(
    modelled: Product, models: FakeModelServer
) -> None:
    """Nothing was created, so the key stands for nothing yet."""
    first, second = Step(models, "First"), Step(models, "Second")
    busy = await created(modelled, "First")
    body = {
        "task": "Second",
        "thread_id": busy["thread_id"],
        "multitask_strategy": "reject",
    }
    refused = await modelled.client.post("/v1/runs", json=body, headers=KEY)
    assert_problem(refused, "thread-busy")
    first.let_go()
    await modelled.ended(busy["id"])
    second.let_go()
    accepted = await modelled.client.post("/v1/runs?wait=20", json=body, headers=KEY)
    assert accepted.status_code == 200
    assert "idempotency-replayed" not in accepted.headers


@pytest.mark.parametrize("strategy", ["enqueue", "reject", "interrupt"])
async def test_without_a_thread_the_strategy_has_nothing_to_do(
    product: Product, strategy: MultitaskStrategy
) -> None:
    runs = [await product.finished("What is 2 + 2?", multitask_strategy=strategy) for _ in range(2)]
    assert [run["status"] for run in runs] == ["completed"] * 2
    assert runs[0]["thread_id"] != runs[1]["thread_id"]


@pytest.mark.parametrize("strategy", ["enqueue", "reject", "interrupt"])
async def test_a_thread_that_is_not_there_is_not_found(
    product: Product, strategy: MultitaskStrategy
) -> None:
    response = await post(product, "a", thread_id="thr_1", multitask_strategy=strategy)
    assert_problem(response, "not-found")


@pytest.mark.parametrize("value", ["maybe", "Reject", "", 1, None, ["reject"]])
async def test_another_strategy_is_refused(product: Product, value: object) -> None:
    problem = assert_problem(await post(product, "a", multitask_strategy=value), "validation-error")
    assert pointers(problem) == ["/multitask_strategy"]


async def test_the_strategies_are_in_the_schema(product: Product) -> None:
    schemas = (await product.client.get("/openapi.json")).json()["components"]["schemas"]
    field = schemas["RunCreate"]["properties"]["multitask_strategy"]
    assert (field["enum"], field["default"]) == (["enqueue", "reject", "interrupt"], "enqueue")
    assert all(f"`{value}`: " in field["description"] for value in field["enum"])


# runs of one key


@pytest.fixture
def looks() -> Iterator[list[str]]:
    """Return the dispatcher's looks into the table of a store with a limit, as they happen."""
    found: list[str] = []

    def note(*call: Any) -> None:
        if "row_number()" in call[2]:
            found.append(call[2])

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("on_disk", [False, True])
async def test_no_more_runs_of_a_key_execute_at_once_than_it_may_have(
    start: Start, models: FakeModelServer, looks: list[str], tmp_path: Path, *, on_disk: bool
) -> None:
    """Two at a time, the oldest first; who has to wait is not forgotten and costs nothing meanwhile."""
    database = {"database_url": f"sqlite:///{tmp_path}/runs.db"} if on_disk else {}
    steps = [Step(models, f"Task {n}") for n in range(5)]
    async with start(models=models, max_concurrent_per_key=2, **database) as product:
        runs = [await created(product, step.task) for step in steps[:2]]
        # A queue hands out several at once, of which any may be claimed first.
        for step in steps[:2]:
            await step.reached.wait()
        runs += [await created(product, step.task) for step in steps[2:]]
        for number, step in enumerate(steps):
            working, queued = steps[number : number + 2], steps[number + 2 :]
            for each in working:
                await each.reached.wait()
            assert not any(each.begun for each in queued)
            assert await listed(product, "running") == [each.task for each in working]
            assert await listed(product, "queued") == [each.task for each in queued]
            step.let_go()
            assert (await product.ended(runs[number]["id"]))["status"] == "completed"
    assert len(looks) < 40


async def test_a_run_that_waits_for_its_thread_takes_no_place_of_its_key(
    start: Start, models: FakeModelServer
) -> None:
    steps = [Step(models, f"Task {n}") for n in range(3)]
    async with start(models=models, max_concurrent_per_key=2) as product:
        first = await created(product, "Task 0")
        behind = await created(product, "Task 1", thread_id=first["thread_id"])
        other = await created(product, "Task 2")
        await steps[0].reached.wait()
        await steps[2].reached.wait()
        assert await listed(product, "queued") == ["Task 1"]
        for step in steps:
            step.let_go()
        ended = [await product.ended(run["id"]) for run in (first, behind, other)]
    assert [run["status"] for run in ended] == ["completed"] * 3


async def test_a_cancelled_run_gives_its_place_to_the_next_of_its_key(
    start: Start, models: FakeModelServer
) -> None:
    steps = [Step(models, f"Task {n}") for n in range(3)]
    async with start(models=models, max_concurrent_per_key=1) as product:
        runs = [await created(product, step.task) for step in steps]
        await steps[0].reached.wait()
        for number in (1, 0):
            path = f"/v1/runs/{runs[number]['id']}/cancel"
            assert (await product.client.post(path)).status_code == 202
        await steps[2].reached.wait()
        steps[2].let_go()
        ended = [await product.ended(run["id"]) for run in runs]
    assert [run["status"] for run in ended] == ["cancelled", "cancelled", "completed"]


async def test_many_runs_of_a_key_are_all_executed(start: Start) -> None:
    """However requests, claims and ends meet: none is forgotten, and never are there too many."""
    async with start(max_concurrent_per_key=2, max_concurrent_runs=8) as product:
        async with asyncio.timeout(4 * SECONDS):
            runs = await asyncio.gather(
                *(created(product, f"What is {n} + {n}?") for n in range(40))
            )
            for run in runs:
                assert (await product.ended(run["id"]))["status"] == "completed"
                assert len(await listed(product, "running")) <= 2
