"""No program does harm: not as root, not as a user without rights, not where namespaces are forbidden."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.attacks.attack import Attack
from tests.attacks.catalogue import ATTACKS

ROOT: Final = Path(__file__).parents[2]

NOBODY: Final = ["--nobody"] if os.getuid() == 0 else []
NO_NAMESPACES: Final = ["--deny", "unshare=EPERM"]

MODES: Final[dict[str, tuple[list[str], list[str]]]] = {
    "root": ([], []),
    "unprivileged": (NOBODY, []),
    "root without namespaces": (NO_NAMESPACES, []),
    "unprivileged without namespaces": ([*NOBODY, *NO_NAMESPACES], []),
    "root on an old kernel": (NO_NAMESPACES, ["--old-kernel"]),
    "unprivileged on an old kernel": ([*NOBODY, *NO_NAMESPACES], ["--old-kernel"]),
    "unconfined": (NOBODY, ["--unconfined"]),
}
"""By name: options of the launcher, options of the attacks."""

EVERYDAY: Final = "root" if os.getuid() == 0 else "unprivileged"
QUICK: Final = [attack for attack in ATTACKS if not attack.slow]
WORKING: Final = [attack for attack in ATTACKS if attack.works_unconfined]

Verdicts = Callable[[str, list[Attack]], dict[str, Any]]


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """Return how to get what came of attacks in a mode; they are run once, whoever asks first."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent

    def get(mode: str, attacks: list[Attack]) -> dict[str, Any]:
        path = shared / f"{mode} {len(attacks)}.json"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(run_attacks(mode, attacks))
        return dict(json.loads(path.read_text()))

    return get


def run_attacks(mode: str, attacks: list[Attack]) -> str:
    """Run attacks in processes of their own and return the report."""
    launcher, options = MODES[mode]
    names = [attack.name for attack in attacks]
    command = [sys.executable, "-m", "tests.attacks", *options, *names]
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.launcher", *launcher, "--", *command],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "OPENAI_API_KEY": f"sk-canary-{os.urandom(8).hex()}",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    if done.returncode:
        return json.dumps({"failed": done.stderr[-3000:]})
    return done.stdout


def check(report: dict[str, Any], attack: Attack) -> None:
    """Fail where an attack has done harm, or ended as none of the ways in which it may."""
    assert "failed" not in report, report["failed"]
    assert report["state"]["backend"] == "native", report["state"]["detail"]
    verdict = report["verdicts"][attack.name]
    assert not verdict["harm"], verdict["shown"]
    assert verdict["ended"] in attack.ends, verdict["shown"]


def _only_root(mode: str) -> None:
    if mode.startswith("root") and os.getuid() != 0:
        pytest.skip("these tests were not started as root")


@pytest.mark.parametrize("attack", QUICK, ids=lambda attack: attack.name)
@pytest.mark.timeout(160)
def test_no_attack_does_harm(verdicts: Verdicts, attack: Attack) -> None:
    check(verdicts(EVERYDAY, QUICK), attack)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "unconfined"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@pytest.mark.timeout(160)
def test_no_attack_does_harm_in_any_mode(verdicts: Verdicts, mode: str, attack: Attack) -> None:
    _only_root(mode)
    report = verdicts(mode, ATTACKS)
    check(report, attack)
    assert (report["uid"] == 0) == mode.startswith("root")
    assert ("namespaces" in report["state"]["detail"]) == (mode in {"root", "unprivileged"})
    assert ("Landlock 1," in report["state"]["detail"]) == mode.endswith("old kernel")


@pytest.mark.slow
@pytest.mark.parametrize("attack", WORKING, ids=lambda attack: attack.name)
@pytest.mark.timeout(160)
def test_without_confinement_the_same_attack_does_harm(verdicts: Verdicts, attack: Attack) -> None:
    """Otherwise it would not be the confinement that stops it."""
    report = verdicts("unconfined", WORKING)
    assert "failed" not in report, report["failed"]
    assert report["verdicts"][attack.name]["harm"], report["verdicts"][attack.name]["shown"]


def test_when_all_is_over_nothing_is_left_running(verdicts: Verdicts) -> None:
    report = verdicts(EVERYDAY, QUICK)
    assert "failed" not in report, report["failed"]
    assert report["verdicts"]["the end"]["harm"] == []
