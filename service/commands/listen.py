"""`signalbox webhooks listen`: shows what a server sends to a webhook, for development."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import click
import uvicorn
from standardwebhooks.webhooks import EmptyWebhookSecretError, WebhookVerificationError
from standardwebhooks.webhooks import Webhook as Verifier
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import ConfigurationError
from service.server import open_socket

HOST: Final = "127.0.0.1"


class Listener:
    """Answers every delivery and says what it is; one whose signature is not good is refused."""

    def __init__(
        self, secret: str | None, say: Callable[[str], None], *, json_: bool = False
    ) -> None:
        self._verifier = _make_verifier(secret) if secret else None
        self._say = say
        self._json = json_

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            body = await request.body()
            await Response(status_code=self._take(body, request.headers))(scope, receive, send)

    def _take(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Show a delivery; return the status to answer it with."""
        fault = self._fault(body, headers)
        try:
            document: Any = json.loads(body)
        except ValueError:
            document = None
        delivery_id = headers.get("webhook-id", "no webhook-id")
        if self._json:
            told = {"delivery_id": delivery_id, "refused": fault, "body": document}
            self._say(json.dumps(told, ensure_ascii=True))
        else:
            for line in _lines(document, delivery_id, fault):
                self._say(line)
        return 401 if fault else 204

    def _fault(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Return what is wrong with a signature; `None` where nothing is, or nobody can tell."""
        if self._verifier is None:
            return None
        try:
            self._verifier.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            return str(error)
        except ValueError:
            # What the library does not expect, such as a signature without a comma.
            return "Invalid Signature Headers"
        return None

    @property
    def verifies(self) -> bool:
        """Return whether signatures are checked."""
        return self._verifier is not None


def _make_verifier(secret: str) -> Verifier:
    try:
        return Verifier(secret)
    except (ValueError, EmptyWebhookSecretError) as error:
        msg = "--secret is no secret of a webhook; one looks like whsec_ and base64 behind it"
        raise ConfigurationError(msg) from error


def _lines(document: Any, delivery_id: str, fault: str | None) -> list[str]:  # noqa: ANN401 - JSON
    """Return what is said of a delivery."""
    judged = f"REFUSED: {fault}" if fault else "ok"
    if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
        return [f"{delivery_id}  {judged}  (no message of a run)"]
    run = document["data"].get("run") or {}
    lines = [
        f"{document.get('timestamp')}  {document.get('type')}  {run.get('id')}  {delivery_id}  {judged}"
    ]
    for approval in document["data"].get("approvals") or []:
        link = approval.get("link") or {}
        lines.append(f"    {approval.get('tool') or approval.get('type')}: {approval.get('id')}")
        lines.append(f"    {link.get('url') or approval.get('no_link')}")
    return [click.unstyle(line) for line in lines]


def listen(port: int, secret: str | None, *, json_: bool = False) -> None:
    """Listen until Ctrl-C."""
    listener = Listener(secret, click.echo, json_=json_)
    sock = open_socket(HOST, port)
    sock.listen()  # so that whoever reads the line below is not refused
    url = f"http://{HOST}:{sock.getsockname()[1]}/"
    checked = "" if listener.verifies else " Without --secret no signature is checked."
    click.echo(f"Listening at {url}: give a run that as its webhook.url.{checked}", err=True)
    app: ASGIApp = listener
    config = uvicorn.Config(
        app, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False
    )
    uvicorn.Server(config).run(sockets=[sock])
