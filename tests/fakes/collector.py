"""A collector of traces over real HTTP: OTLP as OpenTelemetry's own messages say it.

with collector() as found:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    ...
    spans = found.spans()
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

BOUND: Final = 15.0
"""A span that never comes fails its test."""


_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A span as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first of a trace."""
    kind: str
    began: int
    ended: int
    attributes: dict[str, Any]
    moments: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str]]
    """Trace and span of each."""
    failed: bool
    said: str
    """What its status says beside that."""
    resource: dict[str, Any]


@dataclass
class Collector:
    """What has arrived so far."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    requests: int = 0
    hangs: bool = False
    """Whether requests are taken and never answered."""
    status: int = 200
    changed: threading.Condition = field(default_factory=threading.Condition)
    closed: threading.Event = field(default_factory=threading.Event)

    def take(self, path: str, body: bytes) -> None:
        """Keep what a request has brought."""
        with self.changed:
            self.requests += 1
            assert path == "/v1/traces", path
            if self.status == 200 and not self.hangs:
                self.bodies.append(body)
                self.seen += read(body)
            self.changed.notify_all()

    def wait(self, reached: Callable[[list[Seen]], bool]) -> list[Seen]:
        """Return all spans as soon as they are as they are to be."""
        with self.changed:
            arrived = self.changed.wait_for(lambda: reached(self.seen), BOUND)
            assert arrived, sorted(span.name for span in self.seen)
            return list(self.seen)

    def lines(self) -> str:
        """Return all that has arrived as the `file` exporter of OpenTelemetry's Collector writes it."""
        with self.changed:
            requests = map(ExportTraceServiceRequest.FromString, self.bodies)
            return "".join(f"{json.dumps(_with_digits(MessageToDict(r)))}\n" for r in requests)

    def of_run(self, run: dict[str, Any]) -> list[Seen]:
        """Return the spans of a run's trace when the run's own is among them; those before it came earlier."""
        spans = self.wait(
            lambda seen: any(
                span.name.startswith("invoke_workflow")
                and span.attributes["signalbox.run.id"] == run["id"]
                for span in seen
            )
        )
        return [span for span in spans if span.trace_id == run["trace_id"]]


def _with_digits(part: Any) -> Any:
    """Return it with its ids as OTLP has them in JSON: as digits, unlike other bytes."""
    if isinstance(part, list):
        return [_with_digits(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: b64decode(value).hex() if name in _IDS else _with_digits(value)
        for name, value in part.items()
    }


def read(body: bytes) -> list[Seen]:
    """Return the spans of a request."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _seen(span, _values(each.resource.attributes))
        for each in request.resource_spans
        for scope in each.scope_spans
        for span in scope.spans
    ]


def _seen(span: ProtoSpan, resource: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        moments=[(each.name, _values(each.attributes)) for each in span.events],
        links=[(each.trace_id.hex(), each.span_id.hex()) for each in span.links],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        said=span.status.message,
        resource=resource,
    )


def _values(pairs: Any) -> dict[str, Any]:
    found: list[KeyValue] = list(pairs)
    return {pair.key: _value(pair.value) for pair in found}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


def assert_whole(spans: list[Seen], *, above: str = "") -> None:
    """Check that no span is there twice, that each has its parent, or is below `above`, and lies in its time."""
    ids = Counter(span.span_id for span in spans)
    assert not [span.name for span in spans if ids[span.span_id] > 1]
    known = {*ids, above}
    assert not [span.name for span in spans if span.parent_id not in known]
    assert all(span.began <= span.ended for span in spans)


def tree(spans: list[Seen]) -> Counter[tuple[str, str]]:
    """Return which names there are below which."""
    names = {span.span_id: span.name for span in spans}
    return Counter((names.get(span.parent_id, ""), span.name) for span in spans)


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector, in threads of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            if found.hangs:
                found.closed.wait(BOUND)
                return
            self.send_response(found.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.closed.set()
        server.shutdown()
        server.server_close()
        thread.join(BOUND)
