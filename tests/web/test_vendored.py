"""What others wrote is as it was taken, with its licence; what we wrote is in small files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
VENDOR = WEB / "vendor"
MAX_LINES = 400
AS_CODE = re.compile(
    r"\beval\(|new Function|innerHTML|outerHTML|document\.write|insertAdjacentHTML"
)


def own(*suffixes: str) -> list[Path]:
    return sorted(
        path
        for suffix in suffixes
        for path in WEB.rglob(f"*{suffix}")
        if VENDOR not in path.parents
    )


def test_vendored_files_are_those_that_are_listed() -> None:
    listed = json.loads((VENDOR / "VENDOR.json").read_text())["files"]
    there = {path.name for path in VENDOR.iterdir() if path.is_file()} - {"VENDOR.json"}
    assert there == set(listed)
    for name, told in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == told["sha256"], name
        for package in told["packages"]:
            assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"]), name
            assert package["licence"], name
    maker = (WEB / "vendor.sh").read_text()
    for package in (each for told in listed.values() for each in told["packages"]):
        assert f"{package['name']}@{package['version']}" in maker
    assert {path.stem for path in (VENDOR / "licences").iterdir()} == {
        "preact",
        "preact-signals",
        "htm",
        "marked",
        "dompurify",
        "fontsource-variable-inter",
        "fontsource-variable-jetbrains-mono",
    }


def test_no_file_of_the_page_is_too_long() -> None:
    files = own(".js", ".css")
    assert len(files) > 30
    long = {
        path.name: count
        for path in files
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


def test_nothing_comes_from_elsewhere_and_nothing_is_put_together_as_code() -> None:
    """Imports are relative, no text becomes code, none becomes HTML but by way of the one module that cleans it."""
    for path in own(".js", ".css", ".html"):
        text = path.read_text()
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, path.name
        assert not AS_CODE.search(text), path.name
        for name in re.findall(r'(?:from|import)\s+"([^"]+)"', text):
            assert name.startswith("."), (path.name, name)
            assert (path.parent / name).is_file(), (path.name, name)


def test_the_page_is_in_the_package_and_in_the_image() -> None:
    assert '"web", "web.*"' in (ROOT / "pyproject.toml").read_text()
    assert "COPY web web" in (ROOT / "Dockerfile").read_text()
    assert "!web" in (ROOT / ".dockerignore").read_text().splitlines()
