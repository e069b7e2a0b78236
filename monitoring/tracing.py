"""Whether traces are sent, and which: what OpenTelemetry's environment variables say.

Nothing here imports OpenTelemetry, which takes a while: `monitoring/otlp.py` does, where traces are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

_DEFAULT_SAMPLER: Final = "parentbased_always_on"
_SAMPLERS: Final = frozenset(
    {
        *("always_on", "always_off", "traceidratio"),
        *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
    }
)
_PROTOCOL: Final = "http/protobuf"
_DIGITS: Final = 16
"""The last digits of a trace id, by which samplers decide."""


class Sampling(NamedTuple):
    """Which traces are recorded: decided by the trace's id alone, or by whoever began it."""

    of_parent: bool
    ratio: float

    def records(self, trace_id: str, *, parent: bool | None) -> bool:
        """Return whether a trace is recorded; `parent`: what its caller has decided, where there is one."""
        if self.of_parent and parent is not None:
            return parent
        if parent is None:
            # Our own ids are made of UUIDs, of which few bits are random.
            trace_id = hashlib.sha256(trace_id.encode()).hexdigest()
        return int(trace_id[-_DIGITS:], 16) < self.ratio * 16**_DIGITS


class TracingWish(NamedTuple):
    """What the environment wants."""

    on: bool
    sampling: Sampling
    complaints: tuple[str, ...] = ()
    """What of it cannot be had, in a sentence each."""


def read_wish(environment: Mapping[str, str]) -> TracingWish:
    """Return what is wanted: traces are sent where an endpoint is named, and nothing switches them off."""
    given = {name: text.strip() for name, text in environment.items() if name.startswith("OTEL_")}
    complaints: list[str] = []
    sampling = _read_sampling(given, complaints)
    named = any(given.get(f"OTEL_EXPORTER_OTLP_{which}ENDPOINT", "") for which in ("", "TRACES_"))
    if not named or given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return TracingWish(on=False, sampling=sampling)
    exporters = {each.strip() for each in given.get("OTEL_TRACES_EXPORTER", "otlp").split(",")}
    if "otlp" not in exporters - {""} and exporters != {""}:
        if exporters != {"none"}:
            complaints.append(
                f"OTEL_TRACES_EXPORTER={','.join(sorted(exporters))}: traces are sent by otlp only."
            )
        return TracingWish(on=False, sampling=sampling, complaints=tuple(complaints))
    protocol = next(
        filter(
            None,
            map(given.get, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")),
        ),
        _PROTOCOL,
    )
    if protocol != _PROTOCOL:
        complaints.append(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol[:40]}: traces are sent by {_PROTOCOL} only."
        )
        return TracingWish(on=False, sampling=sampling, complaints=tuple(complaints))
    return TracingWish(on=True, sampling=sampling, complaints=tuple(complaints))


def _read_sampling(given: Mapping[str, str], complaints: list[str]) -> Sampling:
    name = given.get("OTEL_TRACES_SAMPLER", "").lower() or _DEFAULT_SAMPLER
    if name not in _SAMPLERS:
        complaints.append(f"OTEL_TRACES_SAMPLER={name[:40]} is not known: all traces are sent.")
        name = _DEFAULT_SAMPLER
    ratio = 0.0 if name.endswith("always_off") else 1.0
    if name.endswith("traceidratio"):
        ratio = _read_ratio(given.get("OTEL_TRACES_SAMPLER_ARG", ""), complaints)
    return Sampling(of_parent=name.startswith("parentbased_"), ratio=ratio)


def _read_ratio(text: str, complaints: list[str]) -> float:
    if not text:
        return 1.0
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0.0 <= ratio <= 1.0:
        return ratio
    complaints.append(
        f"OTEL_TRACES_SAMPLER_ARG={text[:40]} is no number from 0 to 1: all traces are sent."
    )
    return 1.0
