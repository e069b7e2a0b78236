"""Decodes the files that come with a task, and refuses those that no workspace could have."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from domain.artifact import MAX_INPUT_BYTES, MAX_INPUTS_BYTES
from domain.errors import CallerError
from domain.problems import Pointer
from service.http.schemas import FileIn
from service.workspaces import NewFile


def read_uploads(files: Sequence[FileIn]) -> tuple[NewFile, ...]:
    """Return the files of a body with their bytes; raises `validation-error` with a pointer to each fault."""
    faults = list(_name_faults([file.name for file in files]))
    decoded: list[NewFile] = []
    for index, file in enumerate(files):
        content = _decode(file.content_base64)
        if isinstance(content, str):
            faults.append(Pointer(pointer=f"/files/{index}/content_base64", detail=content))
        else:
            decoded.append(NewFile(file.name, content))
    together = sum(len(file.content) for file in decoded)
    if together > MAX_INPUTS_BYTES:
        detail = f"has {together} bytes together; the files of a task may have {MAX_INPUTS_BYTES}"
        faults.append(Pointer(pointer="/files", detail=detail))
    if faults:
        first = faults[0]
        message = f"{first['pointer'].removeprefix('/')}: {first['detail']}."
        raise CallerError("validation-error", message, errors=faults)
    return tuple(decoded)


def _decode(text: str) -> bytes | str:
    """Return the bytes of a file, or what is wrong with it."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        return f"is not base64 ({error}); use the alphabet with + and /, padding, and no line ends"
    if len(content) > MAX_INPUT_BYTES:
        return f"has {len(content)} bytes; a file may have {MAX_INPUT_BYTES}"
    return content


def _name_faults(names: Sequence[str]) -> Iterator[Pointer]:
    """Yield what no folder could have: two files of one name, or a file that is a folder as well."""
    folders = {
        "/".join(parts[:depth]): name
        for name in names
        for parts in [name.split("/")]
        for depth in range(1, len(parts))
    }
    for index, name in enumerate(names):
        if name in names[:index]:
            detail = f"{name[:80]!r} is the name of two files; give each its own"
        elif name in folders:
            detail = f"{name[:80]!r} is a file, and a folder of {folders[name][:80]!r}"
        else:
            continue
        yield Pointer(pointer=f"/files/{index}/name", detail=detail)
