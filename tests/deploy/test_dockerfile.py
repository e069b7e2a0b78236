"""The `Dockerfile`, as far as it can be looked at without building it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.files import ROOT

DOCKERFILE: Final = ROOT / "Dockerfile"
HADOLINT: Final = shutil.which(
    "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)


def instructions() -> list[tuple[str, str]]:
    """Return the instructions in their order, each as its word and the rest on one line."""
    lines = [s for s in DOCKERFILE.read_text().splitlines() if not s.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(word, " ".join(rest.split())) for word, rest in found]


def of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def copied() -> list[str]:
    """Return what is copied out of the checkout."""
    own = (rest for rest in of("COPY") if not rest.startswith("--from="))
    return [source for rest in own for source in rest.split()[:-1]]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is there for Linux on x86_64: `make dev`")
def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    assert HADOLINT
    said = subprocess.run([HADOLINT, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, ""), said.stdout
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN cd /tmp && sudo pip install x\n")
    assert subprocess.run([HADOLINT, str(bad)], capture_output=True, check=False).returncode


def test_what_is_built_with_stays_behind() -> None:
    assert len(of("FROM")) == 2
    [base] = [rest for rest in of("ARG") if rest.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert all(rest.startswith("${BASE}") for rest in of("FROM"))
    last = instructions()[[word for word, _ in instructions()].index("FROM", 2) :]
    assert not [rest for word, rest in last if word == "RUN" and "pip" in rest]
    assert {rest.split()[1] for _, rest in last if rest.startswith("--from=build")} == {
        "/opt/sandbox",
        "/opt/signalbox",
        "/app",
    }


def test_it_runs_as_nobody_and_says_how_it_is() -> None:
    assert of("USER") == ["10001:10001"]
    assert of("CMD") == ['["signalbox", "serve"]']
    [health] = of("HEALTHCHECK")
    assert "/health/ready" in health
    assert not of("ENTRYPOINT")


def test_only_pinned_packages_are_installed() -> None:
    installs = [part for rest in of("RUN") for part in rest.split("&&") if " install " in part]
    pip = [part for part in installs if "pip " in part]
    assert len(pip) == 3
    for part in pip:
        assert "--require-hashes" in part or "--no-deps --no-build-isolation" in part, part


def test_everything_that_is_copied_is_there_and_let_through() -> None:
    let_through = {line[1:] for line in ignored() if line.startswith("!")}
    assert ignored()[0] == "*"
    assert set(copied()) == let_through
    assert not [name for name in copied() if not (ROOT / name).exists()]


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_package_of_the_product_is_in_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name for name in found if "*" not in name} <= set(copied())
