"""Starts the product with two keys of two tenants, and has Schemathesis send it what its description allows,
and what it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.processes import Process, clean_environment

ROOT: Final = Path(__file__).parents[2]
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")

SETTINGS: Final = {
    "SIGNALBOX_REQUESTS_PER_MINUTE": "0",
    # Nobody waits for a run; whoever asks for more is answered at once.
    "SIGNALBOX_MAX_WAIT": "0",
    # As many as the description names: a server that allows fewer refuses what it describes.
    "SIGNALBOX_MAX_ROUNDS": "50",
    "SIGNALBOX_MAX_QUEUED": "200",
}


class Target(NamedTuple):
    """A server under test."""

    process: Process
    url: str
    keys: tuple[str, ...]
    """Of one tenant each."""


class Outcome(NamedTuple):
    """What came of it."""

    code: int
    """0 where nothing was found."""
    answers: Counter[str]
    """By method, path and status."""
    output: str

    @property
    def requests(self) -> int:
        """Return how many requests were answered."""
        return self.answers.total()

    def statuses(self) -> Counter[str]:
        """Return the answers by status."""
        found: Counter[str] = Counter()
        for answer, count in self.answers.items():
            found[answer.rpartition(" ")[2]] += count
        return found


@contextmanager
def server(folder: Path) -> Iterator[Target]:
    """Run a server in a folder of its own."""
    knowledge = folder / "knowledge"
    knowledge.mkdir(parents=True)
    (knowledge / "lighthouse.md").write_text("# Fastnet\n\nThe tower was completed in 1904.\n")
    # The code beside this file, whatever is installed.
    env = {**SETTINGS, "SIGNALBOX_KNOWLEDGE_DIR": str(knowledge), "PYTHONPATH": str(ROOT)}
    keys = tuple(_key(folder, env, tenant) for tenant in ("first", "second"))
    process = Process(("-m", "service", "serve", "--port", "0"), cwd=folder, env=env)
    try:
        url = process.says(r"Signalbox is at (http://\S+) ")[1]
        yield Target(process, url, keys)
    finally:
        process.close()


def _key(folder: Path, env: dict[str, str], tenant: str) -> str:
    command = ("-m", "service", "keys", "create", "--name", tenant, "--tenant", tenant)
    process = Process((*command, "--scope", "admin"), cwd=folder, env=env)
    try:
        assert process.ended() == 0, process.stderr
        return process.stdout.strip()
    finally:
        process.close()


def fuzz(target: Target, folder: Path, *, examples: int, seconds: float) -> Outcome:
    """Send `examples` requests of each kind to each route, then as many walks along its links; fails where
    that takes longer than `seconds`."""
    keys, counts = folder / "keys.json", folder / "counts.json"
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
        for name, key in zip(("first", "second"), target.keys, strict=True)
    ]
    keys.write_text(json.dumps({"auth": users}))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("--no-color", "run", f"{target.url}/openapi.json", "--checks", "all"),
            *("--max-examples", str(examples), "--seed", "1"),
        ],
        cwd=folder,
        env=clean_environment(
            folder,
            {
                "FUZZING_KEYS": str(keys),
                "FUZZING_COUNTS": str(counts),
                "PYTHONPATH": str(ROOT),
            },
        ),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    answers: Counter[str] = Counter(json.loads(counts.read_text()) if counts.exists() else {})
    return Outcome(done.returncode, answers, done.stdout + done.stderr)
