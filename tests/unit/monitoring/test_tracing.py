"""What OpenTelemetry's variables say: whether traces are sent, and which."""

from __future__ import annotations

import pytest
import uuid_utils

from monitoring.tracing import Sampling, read_wish

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("given", "on", "complaints"),
    [
        ({}, False, 0),
        ({"OTEL_SERVICE_NAME": "mine"}, False, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False, 0),
        (HERE, True, 0),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True, 0),
        ({**HERE, "OTEL_SDK_DISABLED": "True"}, False, 0),
        ({**HERE, "OTEL_SDK_DISABLED": "no"}, True, 0),
        ({**HERE, "OTEL_TRACES_EXPORTER": ""}, True, 0),
        ({**HERE, "OTEL_TRACES_EXPORTER": "console, otlp"}, True, 0),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, False, 0),
        ({**HERE, "OTEL_TRACES_EXPORTER": "zipkin"}, False, 1),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, 0),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, 1),
        (
            {
                **HERE,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            True,
            0,
        ),
        ({**HERE, "OTEL_TRACES_SAMPLER": "jaeger_remote"}, True, 1),
        ({**HERE, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, True, 1),
    ],
)
def test_traces_are_sent_where_an_endpoint_is_named(
    given: dict[str, str], *, on: bool, complaints: int
) -> None:
    """And nothing switches them off; what cannot be had is told."""
    wish = read_wish(given)
    assert (wish.on, len(wish.complaints)) == (on, complaints)


@pytest.mark.parametrize(
    ("sampler", "arg", "alone", "below"),
    [
        ("", "", True, {True: True, False: False}),
        ("always_on", "", True, {True: True, False: True}),
        ("always_off", "", False, {True: False, False: False}),
        ("parentbased_always_on", "", True, {True: True, False: False}),
        ("parentbased_always_off", "", False, {True: True, False: False}),
        ("traceidratio", "0", False, {True: False, False: False}),
        ("PARENTBASED_TRACEIDRATIO", "1.0", True, {True: True, False: False}),
        ("traceidratio", "", True, {True: True, False: True}),
    ],
)
def test_samplers_decide(sampler: str, arg: str, *, alone: bool, below: dict[bool, bool]) -> None:
    """As they are known by their names."""
    given = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": arg}
    sampling = read_wish({**HERE, **given}).sampling
    trace_id = uuid_utils.uuid7().hex
    assert sampling.records(trace_id, parent=None) is alone
    assert {parent: sampling.records(trace_id, parent=parent) for parent in below} == below


def test_a_share_of_traces_is_a_share_of_runs() -> None:
    """Though their ids begin with the time, and go on with a counter; and a larger share has the smaller in it."""
    ids = [uuid_utils.uuid7().hex for _ in range(2_000)]
    few, many = Sampling(of_parent=True, ratio=0.1), Sampling(of_parent=True, ratio=0.6)
    in_few = {each for each in ids if few.records(each, parent=None)}
    in_many = {each for each in ids if many.records(each, parent=None)}
    assert 100 < len(in_few) < 320
    assert 1_050 < len(in_many) < 1_350
    assert in_few < in_many
