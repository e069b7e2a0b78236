"""What `signalbox runs` does: it asks a server, and shows what that says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import quote

import httpx

from domain.errors import ConfigurationError
from domain.unseen import plain_json, plain_line
from service.commands.client import client_of, fetched, no_signalbox, read_to_end, refused
from service.commands.exits import code_of
from service.commands.lanes import make_progress
from service.settings import Settings
from signalbox.models import Approval, Checkpoint, Run
from signalbox.paging import Page

TASK_CHARS: Final = 60


class Server(NamedTuple):
    """Which server is asked."""

    settings: Settings
    url: str | None


async def list_runs(
    server: Server, *, status: str | None, thread: str | None, limit: int, json_: bool
) -> None:
    """Print a table of runs, newest first."""
    query = {"status": status, "thread_id": thread, "limit": limit}
    async with client_of(*server) as client:
        asked = {name: value for name, value in query.items() if value is not None}
        page = await fetched(client.get("/v1/runs", params=asked), Page[Run])
    if json_:
        print_json(page["data"])
        return
    rows = [
        (
            run["id"],
            run["status"],
            run["created_at"][:19].replace("T", " "),
            str(run["rounds"]),
            _cost(run),
            _short(run["task"]),
        )
        for run in page["data"]
    ]
    print_table(("ID", "STATUS", "CREATED (UTC)", "ROUNDS", "COST", "TASK"), rows)
    _tell_rest(page, limit, nothing="There are no such runs.")


async def show_run(server: Server, run_id: str, *, json_: bool) -> None:
    """Print what there is to know of a run."""
    async with client_of(*server) as client:
        run = await fetched(client.get(_path(run_id)))
        asked = {"run_id": run["id"], "status": "pending", "limit": 100}
        pending = (
            []
            if json_
            else (await fetched(client.get("/v1/approvals", params=asked), Page[Approval]))["data"]
        )
    if json_:
        print_json(run)
        return
    for line in _lines(run, pending):
        print(plain_line(line))  # noqa: T201 - the command's result


def _lines(run: dict[str, Any], pending: Sequence[dict[str, Any]]) -> list[str]:
    why = f" ({run['stop_reason']})" if run["stop_reason"] else ""
    parent = run.get("forked_from")
    lines = [
        f"{run['id']}  {run['status']}{why}",
        f"task       {_short(run['task'], 200)}",
        f"thread     {run['thread_id']}",
        f"created    {run['created_at']}   ended {run['ended_at'] or '-'}",
        f"rounds     {run['rounds']} of {run['budget']['max_rounds']}, attempt {run['attempt']}",
        f"cost       {_cost(run)}, {_tokens(run['usage'])} tokens, {run['usage']['calls']} calls",
    ]
    if parent:
        lines.append(f"fork of    {parent['run_id']} at {parent['checkpoint_id']}")
    shares = run["usage"]["by_agent"]
    agents = (run["result"] or {}).get("agents", {})
    for name in sorted({*shares, *agents}):
        status = [agents[name]["status"]] if name in agents else []
        used = f"{_tokens(shares[name])} tokens" if name in shares else "nothing spent"
        lines.append(f"agent      {name}: {', '.join([*status, used])}")
    lines += [f"missing    {part['agent']}: {part['reason']}" for part in run["degraded"]]
    if run["error"]:
        lines.append(f"error      {run['error']['code']}: {run['error']['detail']}")
    for each in pending:
        what = each["tool"] or each["type"]
        lines.append(f"waits for  {each['id']} ({what}): {_short(each['description'], 120)}")
    lines += [f"link       {name}: {where}" for name, where in run["links"].items()]
    if run["result"]:
        lines += ["", *run["result"]["output"].splitlines()]
    return lines


async def watch_run(server: Server, run_id: str, *, json_: bool, quiet: bool = False) -> int:
    """Show a run's progress until it has ended; print its answer, or the Run. Return the exit code."""
    async with client_of(*server) as client:
        return await _watch(client, run_id, json_=json_, quiet=quiet)


async def _watch(client: httpx.AsyncClient, run_id: str, *, json_: bool, quiet: bool) -> int:
    run = await fetched(client.get(_path(run_id)))  # says that it is not there
    progress = make_progress(quiet=quiet)
    progress.open()
    ticking = asyncio.create_task(
        progress.tick(lambda: fetched(client.get(_path(run_id)))), name="lanes"
    )
    try:
        run = await read_to_end(client, run_id, progress.show)
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        progress.close()
    progress.end(run)
    if json_:
        print_json(run)
    elif run["result"]:
        for line in run["result"]["output"].splitlines():
            print(plain_line(line))  # noqa: T201 - the command's result
    return code_of(run)


async def fork_run(
    server: Server, run_id: str, body: dict[str, Any], *, watch: bool, json_: bool
) -> int:
    """Fork a run; print the new one's id, or follow it. Return the exit code."""
    async with client_of(*server) as client:
        run = await fetched(client.post(f"{_path(run_id)}/fork", json=body))
        parent = run["forked_from"]
        if parent:
            _say(f"{run['id']} begins at {parent['checkpoint_id']} of {parent['run_id']}")
        if watch:
            return await _watch(client, run["id"], json_=json_, quiet=False)
    if json_:
        print_json(run)
    else:
        print(plain_line(run["id"]))  # noqa: T201 - the command's result
    return 0


async def show_history(server: Server, run_id: str, *, limit: int, json_: bool) -> None:
    """Print a run's checkpoints, newest first."""
    async with client_of(*server) as client:
        page = await fetched(
            client.get(f"{_path(run_id)}/history", params={"limit": limit}), Page[Checkpoint]
        )
    if json_:
        print_json(page["data"])
        return
    rows = [
        (
            each["checkpoint_id"],
            str(each["step"]),
            str(each["round"]),
            ", ".join(each["next"]) or ("end" if each["final"] else "-"),
            ", ".join(f"{f['path']} {f['status']}" for f in each["finished"]) or "-",
            "yes" if each["forkable"] else f"no: {each['refusal']}",
        )
        for each in page["data"]
    ]
    print_table(("CHECKPOINT", "STEP", "ROUND", "NEXT", "FINISHED", "FORKABLE"), rows)
    _tell_rest(page, limit, nothing="No checkpoint is kept, or the run has not begun.")


async def export_run(server: Server, run_id: str, file: Path | None) -> None:
    """Write everything about a run to a file, whole or not at all, or to stdout."""
    if file is not None and await asyncio.to_thread(_is_odd, file):
        raise ConfigurationError(
            f"-o {file}: it is there, and is no file. Without -o it comes on stdout."
        )
    async with (
        client_of(*server) as client,
        client.stream("GET", f"{_path(run_id)}/export") as response,
    ):
        if not response.is_success:
            await response.aread()
            raise refused(response)
        if not response.headers.get("content-type", "").startswith("application/json"):
            raise no_signalbox(response)
        if file is None:
            async for piece in response.aiter_bytes():
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        try:
            with _whole(file) as out:
                async for piece in response.aiter_bytes():
                    out.write(piece)
        except OSError as error:
            raise ConfigurationError(
                f"-o {file}: it cannot be written ({error.strerror})."
            ) from error
    _say(f"Written to {file}.")


def _is_odd(file: Path) -> bool:
    """Return whether something is there that a file must not take the place of, such as `/dev/null`."""
    try:
        return file.exists() and not file.is_file()
    except OSError:
        return False  # it cannot be looked at, and not be written either: that is said then


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """Yield what becomes the file when all is written."""
    # Nobody else on this machine reads it, or has put a link in its place: its name cannot be foreseen.
    number, name = tempfile.mkstemp(prefix=f".{file.name[:60]}.", dir=file.parent)
    part = Path(name)
    try:
        with os.fdopen(number, "wb") as out:
            yield out
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _path(run_id: str) -> str:
    return f"/v1/runs/{quote(run_id, safe='')}"


def _tokens(usage: dict[str, Any]) -> int:
    return int(usage["input_tokens"]) + int(usage["output_tokens"])


def _cost(run: dict[str, Any]) -> str:
    usage = run["usage"]
    return f"${usage['cost_usd']}" if usage["cost_known"] else "unknown"


def _short(text: str, most: int = TASK_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their head, or nothing."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head) - 1)]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(plain_line("  ".join([*cells, row[-1]])))  # noqa: T201 - the command's result


def _tell_rest(page: dict[str, Any], limit: int, *, nothing: str) -> None:
    """Say that a page is not all, or that there is nothing."""
    if not page["data"]:
        _say(nothing)
    elif page["has_more"]:
        _say(f"There are more; --limit shows up to 100 of them, not {limit}.")


def print_json(document: Any) -> None:  # noqa: ANN401 - JSON
    """Print a document for a program."""
    print(plain_json(json.dumps(document, indent=2, ensure_ascii=False)))  # noqa: T201 - the command's result


def _say(text: str) -> None:
    print(plain_line(text), file=sys.stderr, flush=True)  # noqa: T201 - the command's own output
