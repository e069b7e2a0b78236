"""Where nothing confines programs none is run, all else works, and everybody is told; the other container."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.conftest import StartProcess, StartService
from tests.e2e.models import Models, agent
from tests.e2e.processes import BOUND, Service
from tests.fakes.model_server import Reply, Rule, When
from tests.fakes.programs import programs_below

LAUNCHER: Final = str(Path(__file__).parents[1] / "attacks" / "launcher.py")

DENIED: Final = {
    "Landlock is unknown": (
        "landlock_create_ruleset=ENOSYS",
        "the kernel has no Landlock, or it is forbidden",
    ),
    "Landlock is forbidden": (
        "landlock_create_ruleset=EPERM",
        "the kernel has no Landlock, or it is forbidden",
    ),
    "filters are forbidden": ("prctl(PR_SET_SECCOMP)=EPERM", "the kernel refuses a seccomp filter"),
}

pytestmark = pytest.mark.slow


@pytest.fixture
def serve_denied(start_process: StartProcess) -> Iterator[StartService]:
    """Return how to start a server to which the kernel denies a call."""
    services: list[Service] = []

    def start(rule: str, **env: str) -> Service:
        command = (sys.executable, "-m", "service", "serve", "--port", "0")
        process = start_process(LAUNCHER, "--deny", rule, "--", *command, **env)
        services.append(Service(process, process.says(r"Signalbox is at (http://\S+) ")[1]))
        return services[-1]

    yield start
    for service in services:
        service.close()


@pytest.mark.parametrize(("rule", "reason"), DENIED.values(), ids=DENIED)
def test_without_confinement_no_program_runs_and_all_else_works(
    serve_denied: StartService, models: Models, folder: Path, rule: str, reason: str
) -> None:
    marker = folder / "data" / "ran"
    analyst = agent("analyst")
    program = f"open({str(marker)!r}, 'w')\nopen('ran', 'w')"
    models.add(
        Rule(when=When(schema=True, user="<results>"), reply=Reply.route()),
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "count"))),
        Rule(
            when=When(system=analyst, after_tool=False),
            reply=Reply.calls(
                ("run_python", {"code": program}),
                ("list_files", {}),
            ),
        ),
        Rule(when=When(system=analyst), reply=Reply(text="It could not be computed.")),
        Rule(reply=Reply(text="It could not be computed.")),
    )
    service = serve_denied(rule, OPENAI_BASE_URL=models.base_url)
    ready = service.client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["sandbox"]["backend"] == "off"
    assert reason in ready.json()["sandbox"]["detail"]
    tools = {tool["name"]: tool for tool in service.client.get("/v1/tools").json()["data"]}
    assert reason in tools["run_python"]["off_reason"]
    assert tools["search_documents"]["off_reason"] is None

    run_id = service.create("Count something")
    assert service.ended(run_id)["status"] == "completed"
    ended = [
        e
        for e in service.events(run_id)
        if e["type"].startswith("tool.") and e["type"] != "tool.started"
    ]
    told = {e["data"].get("tool"): json.dumps(e["data"]) for e in ended}
    assert reason in told["run_python"], told
    assert "list_files" in told
    assert not marker.exists()
    assert not list((folder / "data" / "workspaces").rglob("ran"))


def test_without_confinement_the_offline_planner_says_what_is_missing(
    serve_denied: StartService,
) -> None:
    service = serve_denied(DENIED["filters are forbidden"][0])
    run = service.ended(service.create("Compute the mean of 120, 135, 150"))
    assert run["status"] == "completed"
    assert "the kernel refuses a seccomp filter" in run["result"]["output"]
    run = service.ended(service.create("Look up when the Fastnet lighthouse tower was completed"))
    assert "1904" in run["result"]["output"]


@pytest.mark.parametrize(("rule", "reason"), DENIED.values(), ids=DENIED)
def test_without_confinement_doctor_says_so(
    start_process: StartProcess, rule: str, reason: str
) -> None:
    command = (sys.executable, "-m", "service", "doctor")
    process = start_process(LAUNCHER, "--deny", rule, "--", *command)
    assert process.ended() == 0
    line = next(line for line in process.stdout.splitlines() if "sandbox:" in line)
    assert line.startswith("[warn] sandbox: off. Programs cannot be confined here: ")
    assert reason in line


def test_an_interpreter_that_is_not_there_is_named(serve: StartService) -> None:
    service = serve(SIGNALBOX_SANDBOX_PYTHON="/nonexistent/python")
    state = service.client.get("/health/ready").json()["sandbox"]
    assert state["backend"] == "off"
    assert "/nonexistent/python could not be started (No such file or directory)" in state["detail"]


def test_the_unsafe_back_end_is_refused_in_production(signalbox: StartProcess) -> None:
    process = signalbox(
        "serve", "--port", "0", SIGNALBOX_SANDBOX="unsafe-local", SIGNALBOX_ENV="production"
    )
    assert "no security boundary" in process.refused()


def _children(pid: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == pid:
            found.append(int(process.name))
    return found


def _until(what: Any, seconds: float = BOUND) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def test_a_killed_service_leaves_no_server_and_no_busy_program_behind(
    serve: StartService, models: Models, folder: Path
) -> None:
    analyst = agent("analyst")
    models.add(
        Rule(when=When(schema=True), reply=Reply.route(("analyst", "count"))),
        Rule(
            when=When(system=analyst),
            reply=Reply.calls(("run_python", {"code": "while True: pass"})),
        ),
    )
    service = serve(models=models)
    service.create("Count something")
    workspaces = folder / "data" / "workspaces"
    assert _until(lambda: programs_below(workspaces))
    programs = programs_below(workspaces)
    servers = _children(service.process._popen.pid)
    assert servers
    service.process.kill()
    gone = _until(
        lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in programs + servers), 5
    )
    assert gone


@pytest.fixture
def remote(signalbox: StartProcess, folder: Path) -> tuple[Any, Path]:
    """Start the other container's process; return it and its socket."""
    socket = folder / "box.sock"
    process = signalbox("sandbox", "--socket", str(socket))
    process.says("Signalbox sandbox at")
    return process, socket


def client_of(socket: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(socket))
    return httpx.Client(transport=transport, base_url="http://sandbox", timeout=BOUND)


BAD_ORDERS: Final[dict[str, Any]] = {
    "no order at all": b"garbage",
    "bytes of no text": b"\xff\xfe",
    "a list": [],
    "nothing": {},
    "a folder above": {"code": "1", "workspace": "../x", "limits": {}},
    "a folder of the system": {"code": "1", "workspace": "/etc", "limits": {}},
    "a deeper folder": {"code": "1", "workspace": "a/b/c", "limits": {}},
    "dots": {"code": "1", "workspace": "t/..", "limits": {}},
    "one name": {"code": "1", "workspace": "t", "limits": {}},
    "a line's end": {"code": "1", "workspace": "t/r\n", "limits": {}},
    "a nothing in a name": {"code": "1", "workspace": "t/r\0", "limits": {}},
    "much code": {"code": "#" * 400_001, "workspace": "t/r", "limits": {}},
    "very much code": {"code": "#" * 8_000_000, "workspace": "t/r", "limits": {}},
    "a limit that is not known": {"code": "1", "workspace": "t/r", "limits": {"sockets": 1}},
    "a limit that is no number": {"code": "1", "workspace": "t/r", "limits": {"wall_seconds": "x"}},
    "a limit below nothing": {"code": "1", "workspace": "t/r", "limits": {"memory_bytes": -1}},
    "no time at all": {"code": "1", "workspace": "t/r", "limits": {"cpu_seconds": 0}},
    "no end of time": b'{"code": "1", "workspace": "t/r", "limits": {"wall_seconds": 1e999}}',
    "no number": b'{"code": "1", "workspace": "t/r", "limits": {"cpu_seconds": NaN}}',
    "half a character": b'{"code": "\\ud800", "workspace": "t/r", "limits": {}}',
    "something more": {"code": "1", "workspace": "t/r", "limits": {}, "user": "root"},
}


def test_a_bad_order_is_refused_and_the_next_one_runs(
    remote: tuple[Any, Path], folder: Path
) -> None:
    _, socket = remote
    with client_of(socket) as client:
        for name, order in BAD_ORDERS.items():
            body = order if isinstance(order, bytes) else json.dumps(order).encode()
            response = client.post("/run", content=body)
            assert 400 <= response.status_code < 500, (name, response.text)
        assert client.get("/run").status_code == 405
        assert client.get("/other").status_code == 404
        order = {
            "code": "6 * 7",
            "workspace": "t/r",
            "limits": {"wall_seconds": 999, "cpu_seconds": 1.5},
        }
        response = client.post("/run", json=order)
        assert response.json()["value"] == "42", response.text
    made = sorted(
        path.relative_to(folder).as_posix() for path in (folder / "data/workspaces").glob("*/*")
    )
    assert made == ["data/workspaces/t/r"]


def test_a_program_ends_with_whoever_asked_for_it(remote: tuple[Any, Path], folder: Path) -> None:
    _, socket = remote
    workspace = folder / "data" / "workspaces" / "t" / "r"
    order = {"code": "while True: pass", "workspace": "t/r", "limits": {}}
    with client_of(socket) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/run", json=order, timeout=1.5)
    assert _until(lambda: not programs_below(workspace), 5)


def test_a_service_has_its_programs_run_in_the_other_container(
    remote: tuple[Any, Path], serve: StartService
) -> None:
    process, socket = remote
    service = serve(SIGNALBOX_SANDBOX="remote", SIGNALBOX_SANDBOX_SOCKET=str(socket))
    info = service.client.get("/v1/tools").json()["data"]
    assert [tool["off_reason"] for tool in info if tool["name"] == "run_python"] == [None]
    run = service.ended(service.create("What is 6 * 7?"))
    assert "42" in run["result"]["output"]
    process.send(signal.SIGKILL)
    process.ended()
    hurt = service.client.get("/health/ready").json()
    assert "does not answer" in hurt["checks"]["sandbox"]
    run = service.ended(service.create("Compute the mean of 120, 135, 150"))
    assert run["status"] == "completed"
    assert "The sandbox does not answer" in run["result"]["output"]


def test_a_sandbox_that_is_told_to_stop_leaves_no_socket(remote: tuple[Any, Path]) -> None:
    """Whoever looks for it must not find the file of one that has gone."""
    process, socket = remote
    assert socket.is_socket()
    process.send(signal.SIGTERM)
    assert process.ended() == 0
    assert not socket.exists()
