"""LangSmith away: runs end as ever, and so does the process, at once."""

from __future__ import annotations

import re
import signal
import socket
import time

import pytest

from tests.e2e.conftest import StartService
from tests.fakes.http_target import target_in_thread

END_SECONDS = 12.0
"""An outer bound: without LangSmith a process takes up to two seconds to end, and a busy machine its time.
LangChain's own tracer would take half a minute."""


@pytest.mark.parametrize("answers", [False, True], ids=["hangs", "refused"])
def test_a_process_ends_in_time_where_langsmith_does_not_answer(
    serve: StartService, *, answers: bool
) -> None:
    """One line tells of it before the end, and one of what was not sent."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        port = listening.getsockname()[1]
        if answers:
            listening.close()
        service = serve(
            LANGSMITH_TRACING="true",
            LANGSMITH_API_KEY="lsv2_canary_0123456789",
            LANGSMITH_ENDPOINT=f"http://127.0.0.1:{port}",
        )
        runs = [service.ended(service.create(f"What is 6 * {n}?")) for n in (7, 8)]
        assert [(run["status"], run["trace_url"]) for run in runs] == [("completed", None)] * 2
        begun = time.monotonic()
        service.process.send(signal.SIGTERM)
        assert service.process.ended() == 0
        assert time.monotonic() - begun < END_SECONDS
    said = service.process.stderr
    assert re.search(r"\d+ parts of traces were not sent to LangSmith", said)
    assert said.count("LangSmith does not take traces") <= 1
    assert not [line for line in said.splitlines() if "langsmith.client" in line]
    assert "Traceback" not in said
    assert "lsv2_" not in said


def test_nobody_traces_of_his_own_accord(serve: StartService) -> None:
    """LangChain's own tracer is off, however it is asked for: only `LANGSMITH_TRACING` has traces sent."""
    with target_in_thread() as target:
        service = serve(
            LANGCHAIN_TRACING_V2="true",
            LANGCHAIN_TRACING="true",
            LANGCHAIN_API_KEY="lsv2_canary_0123456789",
            LANGSMITH_API_KEY="lsv2_canary_0123456789",
            LANGSMITH_ENDPOINT=target.url("").rstrip("/"),
            LANGSMITH_RUNS_ENDPOINTS=f'{{"{target.url("")}": "lsv2_canary_0123456789"}}',
        )
        run = service.ended(service.create("What is 6 * 7?"))
        service.process.send(signal.SIGTERM)
        assert service.process.ended() == 0
        assert target.requests == []
    assert (run["status"], run["trace_url"]) == ("completed", None)
