"""Receive what a run reports, and believe nothing that is not signed: Standard Webhooks, with the standard library."""

import base64
import hashlib
import hmac
import json
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from signalbox import Signalbox

RECEIVED: list[dict[str, Any]] = []
TOLERATED = 300  # seconds: an older message may be one that somebody sends again


class Receiver(BaseHTTPRequestHandler):
    secret = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        number, sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        digest = hmac.digest(key, f"{number}.{sent}.".encode() + body, hashlib.sha256)
        signatures = self.headers["webhook-signature"].split()
        right = any(
            hmac.compare_digest(f"v1,{base64.b64encode(digest).decode()}", s) for s in signatures
        )
        good = right and abs(time.time() - int(sent)) < TOLERATED
        RECEIVED.extend([json.loads(body)] * good)
        self.send_response(204 if good else 401)
        self.end_headers()


with HTTPServer(("127.0.0.1", 0), Receiver) as server, Signalbox() as client:
    url = f"http://127.0.0.1:{server.server_port}/hook"
    run = client.runs.create("What is 3 + 4?", webhook={"url": url, "events": ["run.completed"]})
    Receiver.secret = run.webhook_secret or ""  # told once, by the first run that names the URL
    server.handle_request()
    print([(message["type"], message["data"]["run"]["result"]["output"]) for message in RECEIVED])
