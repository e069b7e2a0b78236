"""The control room: the page in `web/`, for browsers. Its routes are of no interface, so nothing describes them.

Every address of the page is answered with the same document, and the page finds out what to show. Its files lie
below the digest of all of them, so a browser keeps them for good and never mixes two versions.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

FILES: Final = "/web/"
"""Below this the files of the page lie."""

LLMS: Final = "/llms.txt"
"""What this server is, for programs that read (llmstxt.org)."""

_FOLDER: Final = Path(__file__).parents[2] / "web"

_ADDRESS: Final = re.compile(
    r"/(?:(?:inbox|runs|costs|settings)|runs/[^/]+(?:/(?:trace|compare))?)?"
)

_MEDIA: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What is served of the folder."""

_PACKED: Final = frozenset({".css", ".js", ".json", ".svg", ".txt"})

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""Nothing runs and nothing is loaded but the page's own files, whatever a model has written into it."""

_LONG: Final = "public, max-age=31536000, immutable"

router: Final = APIRouter(include_in_schema=False)


class File(NamedTuple):
    """A file of the page as it is sent."""

    body: bytes
    packed: bytes | None
    media_type: str
    etag: str


class Site(NamedTuple):
    """The page: its document, its files by name, and the digest of all of them."""

    document: str
    files: dict[str, File]
    digest: str


def is_page(path: str) -> bool:
    """Return whether a path is one of the page or of its files."""
    return path == LLMS or path.startswith(FILES) or _ADDRESS.fullmatch(path) is not None


@cache
def _read_site() -> Site:
    files = {}
    for path in sorted(_FOLDER.rglob("*")):
        media_type = _MEDIA.get(path.suffix)
        if media_type and path.is_file():
            body = path.read_bytes()
            packed = gzip.compress(body, mtime=0) if path.suffix in _PACKED else None
            etag = hashlib.sha256(body).hexdigest()[:32]
            files[path.relative_to(_FOLDER).as_posix()] = File(body, packed, media_type, etag)
    document = (_FOLDER / "index.html").read_text(encoding="utf-8")
    parts = [document, *(f"{name} {file.etag}" for name, file in files.items())]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return Site(document, files, digest)


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route("/inbox", methods=["GET", "HEAD"])
@router.api_route("/runs", methods=["GET", "HEAD"])
@router.api_route("/runs/{run_id}", methods=["GET", "HEAD"])
@router.api_route("/runs/{run_id}/trace", methods=["GET", "HEAD"])
@router.api_route("/runs/{run_id}/compare", methods=["GET", "HEAD"])
@router.api_route("/costs", methods=["GET", "HEAD"])
@router.api_route("/settings", methods=["GET", "HEAD"])
async def show_page(request: Request) -> Response:
    """Return the document. Who does not ask for HTML looks for a route of the API, and is told there is none."""
    path = request.url.path
    accept = request.headers.get("accept", "*/*")
    if "text/html" not in accept and not (path == "/" and "*/*" in accept):
        raise HTTPException(404)
    site = await asyncio.to_thread(_read_site)
    # From where the page lies, so that it may lie anywhere: a proxy may serve it below a path of its own.
    base = "../" * (path.count("/") - 1) or "./"
    document = site.document.replace("{base}", base).replace("{digest}", site.digest)
    body = document.encode()
    file = File(body, None, "text/html; charset=utf-8", hashlib.sha256(body).hexdigest()[:32])
    headers = {"Content-Security-Policy": _POLICY, "Cross-Origin-Opener-Policy": "same-origin"}
    return _answer(request, file, {**headers, "Cache-Control": "no-cache", "Vary": "Accept"})


@router.api_route(f"{FILES}{{digest}}/{{name:path}}", methods=["GET", "HEAD"])
async def get_file(digest: str, name: str, request: Request) -> Response:
    """Return a file; under the digest of another version what there is now, to be asked for again."""
    site = await asyncio.to_thread(_read_site)
    file = site.files.get(name)
    if file is None:
        raise HTTPException(404)
    kept = _LONG if digest == site.digest else "no-cache"
    return _answer(request, file, {"Cache-Control": kept, "Vary": "Accept-Encoding"})


@router.api_route(LLMS, methods=["GET", "HEAD"])
async def show_llms(request: Request) -> Response:
    """Return what this server is, with where everything else is told."""
    site = await asyncio.to_thread(_read_site)
    kept = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    return _answer(request, site.files[LLMS.removeprefix("/")], kept)


def _answer(request: Request, file: File, headers: dict[str, str]) -> Response:
    """Return a file, or that the browser has it."""
    headers["ETag"] = f'"{file.etag}"'
    had = {
        tag.strip().removeprefix("W/")
        for tag in request.headers.get("if-none-match", "").split(",")
    }
    if headers["ETag"] in had:
        return Response(status_code=304, headers=headers)
    body = file.body
    if file.packed and "gzip" in request.headers.get("accept-encoding", ""):
        body = file.packed
        headers |= {"Content-Encoding": "gzip", "ETag": f'W/"{file.etag}"'}
    return Response(body, media_type=file.media_type, headers=headers)
