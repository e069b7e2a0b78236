"""The back end in another container: the same confined processes, where there are no secrets to begin with."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Final

import httpx

from domain.errors import ToolFailedError
from domain.sandbox import USUAL_LIMITS, CodeLimits, CodeResult, SandboxState
from tools.sandbox.wire import RUN, STATE, RunOrder, read_result, read_state

OPEN_SECONDS: Final = 15.0
"""How long to wait at the start for the other container, which may be starting too."""

PLACE_SECONDS: Final = 35.0
"""How much longer than the program an answer may take: it waits for a place first."""

_AGAIN_SECONDS: Final = 0.25


class RemoteSandbox:
    """Runs programs through the unix socket of `signalbox sandbox`, in workspaces that both sides have."""

    def __init__(self, socket: Path, workspaces: Path) -> None:
        self._workspaces = workspaces
        self._socket = socket
        # The host is never looked up: every request goes to the socket.
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://sandbox",
            trust_env=False,
        )
        self.state = SandboxState("off", "The sandbox has not been asked yet.")

    async def open(self) -> None:
        """Ask the other side what it is; afterwards `state` says whether programs are run, and why."""
        problem = "it does not answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                while True:
                    try:
                        response = await self._client.get(STATE, timeout=5)
                        there = read_state(response.content)
                        self.state = _seen_from_here(there)
                        await self._compare_folders()
                    except (httpx.HTTPError, ValueError) as error:
                        problem = f"{type(error).__name__}: {error}"
                        await asyncio.sleep(_AGAIN_SECONDS)
                    else:
                        return
        reason = (
            f"The sandbox at {self._socket} cannot be reached ({problem}). Start `signalbox sandbox`, or "
            "set SIGNALBOX_SANDBOX to auto."
        )
        self.state = SandboxState("off", reason)

    async def _compare_folders(self) -> None:
        """Be off where the other side has other workspaces: programs would find none of their files."""
        if self.state.off_reason:
            return
        mark = secrets.token_hex(16)
        workspace = self._workspaces / f"selftest-{mark[:8]}" / "run"
        try:
            await asyncio.to_thread(_leave, workspace / "mark.txt", mark)
            result = await self.run("print(open('mark.txt').read())", workspace)
            if mark not in result.stdout:
                reason = (
                    f"The sandbox at {self._socket} has another folder of workspaces: both sides need the "
                    "same SIGNALBOX_DATA_DIR, and the same user."
                )
                self.state = SandboxState("off", reason)
        except (OSError, ToolFailedError) as error:
            self.state = SandboxState(
                "off", f"The sandbox at {self._socket} runs nothing ({error})."
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, workspace.parent, ignore_errors=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def load(self) -> None:
        """Do nothing: the other side is warm already."""

    async def run(
        self, code: str, workspace: Path, *, limits: CodeLimits = USUAL_LIMITS
    ) -> CodeResult:
        """Have a program run on the other side."""
        if self.state.off_reason:
            raise ToolFailedError(self.state.off_reason)
        await asyncio.to_thread(workspace.mkdir, mode=0o700, parents=True, exist_ok=True)
        order = RunOrder(
            code=code,
            workspace=workspace.relative_to(self._workspaces).as_posix(),
            limits=asdict(limits),
        )
        try:
            response = await self._client.post(
                RUN,
                content=order.model_dump_json(),
                headers={"content-type": "application/json"},
                timeout=limits.wall_seconds + PLACE_SECONDS,
            )
        except httpx.HTTPError as error:
            message = f"The sandbox does not answer ({type(error).__name__}). Try again."
            raise ToolFailedError(message) from error
        if response.is_error:
            raise ToolFailedError(response.text[:500])
        try:
            return read_result(response.content)
        except ValueError as error:
            message = "The sandbox's answer could not be read. Try again."
            raise ToolFailedError(message) from error


def _leave(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True)
    file.write_text(text, encoding="utf-8")


def _seen_from_here(there: SandboxState) -> SandboxState:
    if there.off_reason:
        return there
    return SandboxState("remote", f"in another container: {there.detail}", there.libraries)
