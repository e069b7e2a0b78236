"""Two agents at once, and two runs at once: `AsyncSignalbox` is the same, awaited."""

import asyncio

from signalbox import AsyncSignalbox, Event

TASK = "Compute the mean of {}, and, independently, look up what a context manager is in Python."


def show(event: Event) -> None:
    """Say who works on what."""
    if event.type in {"agent.started", "agent.completed"}:
        print(f"{event.run_id} round {event.round}: {event.agent} {event.type.partition('.')[2]}")


async def main() -> None:
    """Have both runs done at the same time."""
    async with AsyncSignalbox() as client:
        tasks = (TASK.format("120, 135 and 150"), TASK.format("7, 9 and 14"))
        for run in await asyncio.gather(*(client.run(task, on_event=show) for task in tasks)):
            print(f"{run.id}: {', '.join(sorted(run.usage.by_agent))}\n{run.output}\n")


asyncio.run(main())
