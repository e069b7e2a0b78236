"""LangSmith over real HTTP: it takes traces and feedback, and tells under which ids a project's pages are found.

async with FakeLangSmith() as langsmith:
    ...
    [tree] = (await langsmith.seen(1)).values()
    assert tree.root.name == "signalbox"
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from tests.fakes.http_target import BOUND, CountingTarget, Received

INGEST: Final = "/runs/multipart"
FEEDBACK: Final = "/feedback"
PROJECTS: Final = "/sessions"
PROJECT_ID: Final = "7f2f7c0e-6f0d-4b35-9a65-0c2d6a3f9f10"
ORGANISATION_ID: Final = "1d1d7a52-33a4-4f6f-8a5e-2e7c4b1d9a77"

Part = dict[str, Any]


@dataclass
class Tree:
    """A trace as LangSmith has it: the parts of a run by their ids, what came later over what came before."""

    id: str
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def root(self) -> Part:
        """Return the part without a parent; there may be one only."""
        [root] = [part for part in self.parts.values() if not part.get("parent_run_id")]
        return root

    @property
    def whole(self) -> bool:
        """Return whether the root has ended, and every part with it."""
        return all("end_time" in part for part in self.parts.values()) and self.id in self.parts

    def named(self, name: str) -> list[Part]:
        """Return the parts of a name."""
        return [part for part in self.parts.values() if part["name"] == name]

    def below(self, part: Part) -> list[Part]:
        """Return the children of a part, as their ids say and as their places say."""
        children = [p for p in self.parts.values() if p.get("parent_run_id") == part["id"]]
        for child in children:
            above, _, own = child["dotted_order"].rpartition(".")
            assert above == part["dotted_order"]
            assert own.endswith(child["id"])
        return children


class FakeLangSmith(CountingTarget):
    """Keeps what it is sent."""

    async def __aenter__(self) -> Self:
        """Start; it knows every project."""
        await super().__aenter__()
        self.reply(INGEST, status=202)
        self.reply(FEEDBACK, headers={"content-type": "application/json"}, body=b"{}")
        self.answer("/info", {"version": "0.13.0", "instance_flags": {}})
        self.know_project()
        return self

    def answer(self, path: str, body: object) -> None:
        """Answer a path with JSON from now on."""
        document = orjson.dumps(body)
        self.reply(path, headers={"content-type": "application/json"}, body=document)

    def know_project(self, *, there: bool = True) -> None:
        """Have the project, or not yet."""
        project = {
            "id": PROJECT_ID,
            "tenant_id": ORGANISATION_ID,
            "name": "signalbox",
            "reference_dataset_id": None,
            "start_time": "2026-11-29T11:28:34.329148Z",
        }
        self.answer(PROJECTS, [project] if there else [])

    def settings(self, **more: object) -> dict[str, Any]:
        """Return what has a product send its traces here."""
        return {
            "LANGSMITH_TRACING": True,
            "LANGSMITH_API_KEY": "lsv2_canary_0123456789",
            "LANGSMITH_ENDPOINT": self.url("").rstrip("/"),
            **more,
        }

    @property
    def trees(self) -> dict[str, Tree]:
        """Return every trace so far."""
        found: dict[str, Tree] = {}
        for request in self.requests:
            for operation, part in parts_of(request):
                tree = found.setdefault(part["trace_id"], Tree(part["trace_id"]))
                assert operation == "patch" or part["id"] not in tree.parts, "it was posted twice"
                tree.parts.setdefault(part["id"], {}).update(part)
        return found

    @property
    def feedback(self) -> list[dict[str, Any]]:
        """Return the feedback so far."""
        return [json.loads(r.body) for r in self.requests if r.path == FEEDBACK]

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until what has arrived satisfies a test; for a test without an event loop."""
        with self._arrival:
            assert self._arrival.wait_for(reached, BOUND), f"not in {BOUND:g} s"

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until what has arrived satisfies a test."""
        await asyncio.to_thread(self.wait_until, reached)

    async def whole(self, *run_ids: str) -> list[Tree]:
        """Return the traces of runs as soon as they are whole."""
        ids = [uuid_of(run_id) for run_id in run_ids]

        def are_whole() -> bool:
            trees = self.trees
            return all(id_ in trees and trees[id_].whole for id_ in ids)

        await self.until(are_whole)
        return [self.trees[id_] for id_ in ids]


def uuid_of(run_id: str) -> str:
    """Return the id of a run's trace."""
    text = run_id.partition("_")[2]
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def parts_of(request: Received) -> Iterator[tuple[str, Part]]:
    """Yield what an upload tells: `post` or `patch`, and the part, put together from its pieces."""
    if request.path != INGEST:
        return
    assert "content-encoding" not in request.headers, "it is sent as it is"
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"')
    found: dict[tuple[str, str], Part] = {}
    for piece in request.body.split(f"--{boundary}")[1:-1]:
        head, _, body = piece.strip("\r\n").partition("\r\n\r\n")
        name = head.partition('name="')[2].partition('"')[0]
        operation, id_, *rest = name.split(".")
        value = json.loads(body)
        part = found.setdefault((operation, id_), {})
        part.update({rest[0]: value} if rest else value)
    for (operation, _), part in found.items():
        yield operation, part
