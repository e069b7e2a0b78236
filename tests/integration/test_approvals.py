"""A person decides: what asks, how it is decided, and what the agent gets to know of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import pytest

from tests.fakes.http_target import CountingTarget
from tests.fakes.model_script import Reply
from tests.fakes.model_server import FakeModelServer
from tests.fakes.running import Product
from tests.integration.people import (
    asked,
    decide,
    decided,
    get,
    pending,
    post,
    results,
    start_run,
    turns,
    waiting,
)
from tests.integration.problem_checks import assert_problem, pointers
from tests.integration.team_script import SECONDS, decisions

SANDBOX = "auto"

MEMBERS: Final = {
    *("id", "type", "run_id", "thread_id", "agent", "tool", "status", "action", "args_digest"),
    *("description", "allowed_decisions", "response_schema", "expires_at", "on_expiry"),
    *("decision", "created_at"),
}
"""What an approval has, no more and no less."""

DECIDED: Final = {
    "type": None,
    "edited_action": None,
    "message": None,
    "comment": None,
    "remember": None,
    "diff": None,
}
"""A decision with nothing in it."""


def one_post(target: CountingTarget) -> list[Any]:
    """Return the script of a coder that sends one thing and says that it did."""
    return [
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(post(target, "/orders")), Reply(text="Sent.")),
    ]


async def test_an_approved_call_runs_once_with_its_key(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting)
    run = await waiting(acting, run_id)
    [approval] = await pending(acting, run_id)
    assert run["required_action"] == {"type": "approval", "approval_ids": [approval["id"]]}
    action = "act_" + approval["id"].removeprefix("apr_")
    assert run["actions"] == [{"id": action, "tool": "http_request", "status": "pending"}]
    assert not target.requests
    made = await decided(acting, approval, type="approve", comment="fine")
    assert (made["status"], made["decision"]["type"]) == ("resolved", "approve")
    assert (made["decision"]["by"], made["decision"]["comment"]) == ("default", "fine")
    run = await acting.ended(run_id)
    assert (run["status"], run["result"]["output"]) == ("completed", "Sent.")
    assert run["actions"] == [{"id": action, "tool": "http_request", "status": "done"}]
    assert run["attempt"] == 2
    assert dict(target.keys()) == {action: 1}
    types = [event["type"] for event in await acting.events(run_id)]
    assert types.count("approval.requested") == types.count("approval.resolved") == 1
    assert types.index("run.requires_action") < types.index("approval.resolved")
    assert types.index("approval.resolved") < types.index("run.resumed")


async def test_reading_asks_nobody(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """GET is in the ledger all the same."""
    models.add(
        *decisions(("coder", "Read it")),
        turns("Read it", Reply.calls(get(target, "/orders")), Reply(text="Read.")),
    )
    run = await acting_once.finished("Do it")
    assert run["status"] == "completed"
    assert [action["status"] for action in run["actions"]] == ["done"]
    assert target.count("/orders") == 1


async def test_a_rejection_reaches_the_agent_with_its_reason(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    await decided(
        acting_once, await asked(acting_once, run_id), type="reject", message="not before Monday"
    )
    run = await acting_once.ended(run_id)
    assert run["status"] == "completed"
    assert not target.requests
    assert results(models.requests[-2]) == ["A person refused this call: not before Monday"]
    assert [action["status"] for action in run["actions"]] == ["decided"]


def edited(target: CountingTarget, path: str = "/orders", **args: Any) -> dict[str, Any]:
    """Return the call of `one_post` with other arguments."""
    asked_for = {"method": "POST", "url": target.url(path), "body": "{}"}
    return {"name": "http_request", "args": {**asked_for, **args}}


async def test_an_edited_call_runs_as_edited_and_the_agent_is_told(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The question stays as it was asked; what was changed stands in the decision."""
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    action = edited(target, "/orders/small", body='{"amount": 1}')
    made = await decided(acting_once, approval, type="edit", edited_action=action, comment="less")
    assert made["action"] == approval["action"]
    assert made["args_digest"] != approval["args_digest"]
    assert made["decision"]["diff"] == [
        {"argument": "body", "before": "{}", "after": '{"amount": 1}'},
        {
            "argument": "url",
            "before": target.url("/orders"),
            "after": target.url("/orders/small"),
        },
    ]
    run = await acting_once.ended(run_id)
    assert (run["status"], [a["status"] for a in run["actions"]]) == ("completed", ["done"])
    [request] = target.requests
    assert (request.path, request.body) == ("/orders/small", '{"amount": 1}')
    [told] = results(models.requests[-2])
    assert told.startswith("(A person changed the arguments to {")
    assert "/orders/small" in told
    assert "HTTP 200" in told
    events = await acting_once.events(run_id)
    [started] = [e for e in events if e["type"] == "tool.started"]
    assert started["data"]["args"] == action["args"]


async def test_a_response_takes_the_place_of_the_result(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    await decided(
        acting_once, await asked(acting_once, run_id), type="respond", message="Order 77 is there."
    )
    run = await acting_once.ended(run_id)
    assert (run["status"], [a["status"] for a in run["actions"]]) == ("completed", ["decided"])
    assert not target.requests
    assert results(models.requests[-2]) == ["Order 77 is there."]
    types = [event["type"] for event in await acting_once.events(run_id)]
    assert types.count("tool.started") == types.count("tool.completed") == 1


async def test_an_approval_is_what_the_contract_says(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    run = await waiting(acting_once, run_id)
    [approval] = await pending(acting_once, run_id)
    assert approval.keys() == MEMBERS
    assert approval == {
        **approval,
        "type": "action",
        "run_id": run_id,
        "thread_id": run["thread_id"],
        "agent": "coder",
        "tool": "http_request",
        "status": "pending",
        "action": edited(target),
        "allowed_decisions": ["approve", "edit", "reject", "respond"],
        "on_expiry": "reject",
        "decision": None,
    }
    assert approval["args_digest"].startswith("sha256:")
    assert approval["created_at"].endswith("Z")
    assert approval["expires_at"] > approval["created_at"]
    verbs = approval["response_schema"]["oneOf"]
    assert [each["properties"]["type"]["const"] for each in verbs] == approval["allowed_decisions"]
    got = await acting_once.client.get(f"/v1/approvals/{approval['id']}")
    assert (got.status_code, got.json()) == (200, approval)
    [event] = [e for e in await acting_once.events(run_id) if e["type"] == "approval.requested"]
    assert event["data"] == {"approval": approval}
    made = await decided(acting_once, approval, type="approve")
    assert made.keys() == MEMBERS
    assert made["decision"] == {
        **DECIDED,
        "type": "approve",
        "by": "default",
        "at": made["decision"]["at"],
    }
    assert made == {**approval, "status": "resolved", "decision": made["decision"]}
    await acting_once.ended(run_id)
    assert (await acting_once.client.get(f"/v1/approvals/{approval['id']}")).json() == made
    [event] = [e for e in await acting_once.events(run_id) if e["type"] == "approval.resolved"]
    assert event["data"] == {"approval": made}


async def test_the_inbox_is_paged_and_filtered(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    calls = [post(target, f"/{n}") for n in range(3)]
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(*calls), Reply(text="Sent.")),
    )
    first, second = [await start_run(acting_once, f"Do it {n}") for n in range(2)]
    for run_id in (first, second):
        await waiting(acting_once, run_id)
    listing = (await acting_once.client.get("/v1/approvals")).json()
    assert (len(listing["data"]), listing["next_cursor"], listing["has_more"]) == (6, None, False)
    stamps = [each["created_at"] for each in listing["data"]]
    assert stamps == sorted(stamps, reverse=True)
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await acting_once.client.get(f"/v1/approvals?limit=4{cursor}")).json()
        found += page["data"]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == listing["data"]
    await decided(acting_once, found[0], type="reject")

    async def ids(query: str) -> set[str]:
        page = (await acting_once.client.get(f"/v1/approvals?{query}")).json()
        return {each["id"] for each in page["data"]}

    resolved = {found[0]["id"]}
    of_first = {each["id"] for each in found if each["run_id"] == first}
    assert await ids("status=resolved") == resolved
    assert await ids("status=pending") == {each["id"] for each in found} - resolved
    assert await ids(f"run_id={first}") == of_first
    assert await ids(f"run_id={first}&status=pending") == of_first - resolved
    assert await ids("run_id=run_of_nobody") == set()


async def test_what_is_not_there_is_not_found(acting_once: Product) -> None:
    unknown = "apr_" + "0" * 32
    for path in (unknown, "nonsense", "apr_%E2%82%AC", "apr_" + "a" * 500, "apr_%ED%A0%80"):
        assert_problem(await acting_once.client.get(f"/v1/approvals/{path}"), "not-found")
        assert_problem(await decide(acting_once, path, type="approve"), "not-found")
        settled = await acting_once.client.post(
            f"/v1/actions/{path}/resolution", json={"outcome": "done"}
        )
        assert_problem(settled, "not-found")
    for path in ("/v1/approvals/apr_%00", "/v1/actions/act_%00/resolution"):
        assert (await acting_once.client.get(path)).status_code in {400, 404, 405}
    for cursor in ("nonsense", "apr_", "apr_xyz", unknown[:-1], "%00", "apr_%00"):
        listing = await acting_once.client.get(f"/v1/approvals?cursor={cursor}")
        assert listing.status_code == 400, (cursor, listing.text)
    for query in ("status=open", "limit=0", "limit=101", "run_id=%00"):
        assert_problem(await acting_once.client.get(f"/v1/approvals?{query}"), "invalid-parameter")
    run = await acting_once.client.get("/v1/runs/run_nonsense/receipt")
    assert_problem(run, "not-found")


async def test_a_decision_about_another_call_is_refused(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """With the digest of what was looked at, nobody approves what they have not seen."""
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    refused = await decide(acting_once, approval, type="approve", args_digest="sha256:" + "0" * 64)
    problem = assert_problem(refused, "approval-args-changed")
    assert problem["approval"] == approval
    assert problem["run_id"] == run_id
    await decided(acting_once, approval, type="approve", args_digest=approval["args_digest"])
    assert (await acting_once.ended(run_id))["status"] == "completed"
    assert target.count("/orders") == 1


async def test_a_tool_approved_for_the_run_is_not_asked_about_again(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """In this run: the next one is asked as ever."""
    models.add(
        *decisions(("coder", "Send it")),
        turns(
            "Send it",
            Reply.calls(post(target, "/first")),
            Reply.calls(post(target, "/second"), post(target, "/third")),
            Reply(text="Sent."),
        ),
    )
    run_id = await start_run(acting_once)
    made = await decided(
        acting_once, await asked(acting_once, run_id), type="approve", remember="run"
    )
    assert made["decision"]["remember"] == "run"
    run = await acting_once.ended(run_id)
    assert (run["status"], run["attempt"]) == ("completed", 2)
    assert [action["status"] for action in run["actions"]] == ["done"] * 3
    assert [target.count(path) for path in ("/first", "/second", "/third")] == [1, 1, 1]
    assert set(target.keys().values()) == {1}
    other = await start_run(acting_once)
    await decided(acting_once, await asked(acting_once, other), type="reject")
    await waiting(acting_once, other)


async def test_the_same_decision_again_is_no_contradiction(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Comments and what goes with a decision do not count; what was decided first stands."""
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    action = edited(target, body="1")
    made = await decided(acting_once, approval, type="edit", edited_action=action, comment="one")
    again = await decide(acting_once, approval, type="edit", edited_action=action, comment="two")
    assert (again.status_code, again.json()) == (200, made)
    await acting_once.ended(run_id)
    assert await decided(acting_once, approval, type="edit", edited_action=action) == made
    for other in (
        {"type": "approve"},
        {"type": "reject"},
        {"type": "respond", "message": "Done."},
        {"type": "edit", "edited_action": edited(target, body="2")},
    ):
        problem = assert_problem(
            await decide(acting_once, approval, **other), "approval-already-decided"
        )
        assert problem["approval"] == made
        assert problem["run_id"] == run_id
        assert "'edit' by 'default' at 20" in problem["detail"]
    assert [request.body for request in target.requests] == ["1"]
    types = [event["type"] for event in await acting_once.events(run_id)]
    assert types.count("approval.resolved") == 1


async def decide_at_once(
    acting: Product, models: FakeModelServer, target: CountingTarget, people: int
) -> None:
    """Check what many people are told who contradict each other at the same time."""
    models.add(*one_post(target))
    run_id = await start_run(acting)
    approval = await asked(acting, run_id)
    bodies: list[dict[str, Any]] = [
        {"type": "approve"},
        {"type": "reject"},
        {"type": "respond", "message": "Done."},
        {"type": "edit", "edited_action": edited(target, body="1")},
    ]
    async with asyncio.timeout(3 * SECONDS):
        answers = await asyncio.gather(
            *(
                decide(acting, approval, **bodies[n % 4], comment=f"person {n}")
                for n in range(people)
            )
        )
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {200: people // 4, 409: people - people // 4}
    [winner] = {str(answer.json()) for answer in answers if answer.status_code == 200}
    for answer in answers:
        if answer.status_code == 409:
            problem = assert_problem(answer, "approval-already-decided")
            assert str(problem["approval"]) == winner
    run = await acting.ended(run_id)
    made = (await acting.client.get(f"/v1/approvals/{approval['id']}")).json()
    assert str(made) == winner
    runs = made["decision"]["type"] in {"approve", "edit"}
    assert len(target.requests) == (1 if runs else 0)
    assert [action["status"] for action in run["actions"]] == ["done" if runs else "decided"]
    assert run["attempt"] == 2
    types = [event["type"] for event in await acting.events(run_id)]
    assert types.count("approval.resolved") == types.count("run.resumed") == 1


async def test_of_many_who_decide_at_once_one_is_the_one(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Its repetitions are answered like the first, everybody else is told who was first."""
    await decide_at_once(acting, models, target, 40)


@pytest.mark.slow
async def test_of_two_hundred_who_decide_at_once_one_is_the_one(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    await decide_at_once(acting, models, target, 200)


def an_edit(args: str, *, tool: str = "http_request", more: str = "") -> str:
    """Return the text of an edit."""
    return f'{{"type": "edit", "edited_action": {{"name": "{tool}", "args": {args}{more}}}}}'


DEEP: Final = "[" * 100 + "]" * 100
LONG: Final = "1" + "0" * 30
TO_TARGET: Final = '"method": "POST", "url": "http://TARGET/"'

MALFORMED: Final[dict[str, tuple[str, list[str]]]] = {
    "no type": ("{}", ["/type"]),
    "unknown type": ('{"type": "maybe"}', ["/type"]),
    "type of a wrong type": ('{"type": 1}', ["/type"]),
    "edit without a call": ('{"type": "edit"}', [""]),
    "edit of another tool": (
        an_edit('{"path": "a", "content": ""}', tool="write_file"),
        ["/edited_action/name"],
    ),
    "edit that breaks the schema": (
        an_edit('{"method": "BREW"}'),
        ["/edited_action/args/method", "/edited_action/args/url"],
    ),
    "edit with an unknown argument": (
        an_edit(f'{{{TO_TARGET}, "timeout": 1e999}}'),
        ["/edited_action/args/timeout"],
    ),
    "edit that could not be sent": (
        an_edit('{"method": "POST", "url": "file:///etc/passwd"}'),
        ["/edited_action/args"],
    ),
    "edit to a host that is not allowed": (
        an_edit('{"method": "POST", "url": "http://127.0.0.1:1/"}'),
        ["/edited_action/args"],
    ),
    "edit with an integer too long": (
        an_edit(f'{{{TO_TARGET}, "x": {LONG}}}'),
        ["/edited_action"],
    ),
    "edit with a NUL": (an_edit(f'{{{TO_TARGET}, "body": "\\u0000"}}'), ["/edited_action"]),
    "edit with half a character": (an_edit(f'{{{TO_TARGET}, "\\ud800": 1}}'), ["/edited_action"]),
    "edit nested too deep": (an_edit(f'{{{TO_TARGET}, "x": {DEEP}}}'), ["/edited_action"]),
    "edit whose arguments are a list": (an_edit("[]"), ["/edited_action/args"]),
    "edit with more beside the call": (an_edit("{}", more=', "id": 1'), ["/edited_action/id"]),
    "respond without a message": ('{"type": "respond"}', [""]),
    "respond with a blank one": ('{"type": "respond", "message": " "}', ["/message"]),
    "message of a wrong type": ('{"type": "reject", "message": 1}', ["/message"]),
    "message with a NUL": ('{"type": "reject", "message": "\\u0000"}', ["/message"]),
    "message too long": (f'{{"type": "reject", "message": "{"a" * 16_001}"}}', ["/message"]),
    "half a character": ('{"type": "respond", "message": "\\ud800"}', ["/message"]),
    "message with approve": ('{"type": "approve", "message": "yes"}', [""]),
    "call with approve": (an_edit("{}").replace('"edit"', '"approve"'), [""]),
    "remember with reject": ('{"type": "reject", "remember": "run"}', ["/remember"]),
    "remember for ever": ('{"type": "approve", "remember": "always"}', ["/remember"]),
    "unknown field": ('{"type": "approve", "force": true}', ["/force"]),
    "comment with a NUL": ('{"type": "approve", "comment": "\\u0000"}', ["/comment"]),
    "comment too long": (f'{{"type": "approve", "comment": "{"a" * 2_001}"}}', ["/comment"]),
    "digest of a wrong type": ('{"type": "approve", "args_digest": 1}', ["/args_digest"]),
    "a list": ("[]", [""]),
    "null": ("null", [""]),
    "nothing": ("", [""]),
}
"""Bodies, and where their faults lie."""

NO_JSON: Final = (
    b"approve",
    b"\xff",
    b'{"type": "reject", "message": NaN}',
    b'{"type": "reject", "type": "approve"}',
    b"[" * 100_000,
)


async def test_a_malformed_decision_decides_nothing(
    acting_once: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """Whatever is sent, the approval waits on, and a proper decision is taken afterwards."""
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    path = f"/v1/approvals/{approval['id']}"
    headers = {"content-type": "application/json"}
    for name, (body, where) in MALFORMED.items():
        content = body.replace("TARGET", target.address).encode()
        answer = await acting_once.client.post(f"{path}/decision", content=content, headers=headers)
        assert answer.status_code == 422, (name, answer.text)
        assert pointers(assert_problem(answer, "validation-error")) == where, name
    for content in NO_JSON:
        answer = await acting_once.client.post(f"{path}/decision", content=content, headers=headers)
        assert_problem(answer, "malformed-json")
    assert (await acting_once.client.get(path)).json() == approval
    assert (await waiting(acting_once, run_id))["actions"][0]["status"] == "pending"
    await decided(acting_once, approval, type="approve")
    assert (await acting_once.ended(run_id))["status"] == "completed"
    assert target.count("/orders") == 1


async def test_an_earlier_approval_never_answers_a_later_one(
    acting: Product, models: FakeModelServer, target: CountingTarget
) -> None:
    """The second call is the same down to its last letter, and still a question of its own."""
    call = post(target, "/orders")
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(call), Reply.calls(call), Reply(text="Sent.")),
    )
    run_id = await start_run(acting)
    first = await asked(acting, run_id)
    await decided(acting, first, type="approve")
    second = await asked(acting, run_id)
    assert (second["action"], second["args_digest"]) == (first["action"], first["args_digest"])
    assert second["id"] != first["id"]
    await decided(acting, first, type="approve")
    refused = await decide(acting, first, type="reject")
    assert_problem(refused, "approval-already-decided")
    run = await waiting(acting, run_id)
    assert run["required_action"]["approval_ids"] == [second["id"]]
    assert target.count("/orders") == 1
    await decided(acting, second, type="reject")
    run = await acting.ended(run_id)
    assert [action["status"] for action in run["actions"]] == ["done", "decided"]
    assert (target.count("/orders"), run["attempt"]) == (1, 3)


@pytest.mark.parametrize("way", ["one", "run"])
async def test_a_key_stands_for_one_decision(
    acting_once: Product, models: FakeModelServer, target: CountingTarget, way: str
) -> None:
    models.add(*one_post(target))
    run_id = await start_run(acting_once)
    approval = await asked(acting_once, run_id)
    path = f"/v1/approvals/{approval['id']}/decision"
    if way == "run":
        path = f"/v1/runs/{run_id}/decisions"

    async def send(key: str, **body: Any) -> Any:
        document = (
            body if way == "one" else {"decisions": [{"approval_id": approval["id"], **body}]}
        )
        headers = {"idempotency-key": key}
        return await acting_once.client.post(path, json=document, headers=headers)

    assert_problem(await send("a", type="approve", message="yes"), "validation-error")
    wrong = await send("a", type="approve", args_digest="sha256:0")
    assert_problem(wrong, "approval-args-changed")
    first = await send("a", type="approve", comment="one")
    assert first.status_code == 200
    assert "idempotency-replayed" not in first.headers
    again = await send("a", type="approve", comment="one")
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert_problem(await send("a", type="approve", comment="two"), "idempotency-key-reuse")
    assert_problem(await send("a", type="reject"), "idempotency-key-reuse")
    assert_problem(await send("b", type="reject"), "approval-already-decided")
    assert_problem(await send("a b", type="approve"), "invalid-parameter")
    assert (await acting_once.ended(run_id))["status"] == "completed"
    assert (await send("a", type="approve", comment="one")).json() == first.json()
    assert target.count("/orders") == 1


async def test_an_approved_program_is_in_the_ledger_too(
    acting: Product, models: FakeModelServer
) -> None:
    """What a person has let run is carried out under an attempt, and says what came of it."""
    call = ("run_python", {"code": "print(6 * 7)"})
    models.add(
        *decisions(("coder", "Send it")),
        turns("Send it", Reply.calls(call), Reply(text="It printed something.")),
    )
    run_id = await start_run(acting, approvals={"mode": "always"})
    await decided(acting, await asked(acting, run_id), type="approve")
    run = await acting.ended(run_id)
    assert [action["status"] for action in run["actions"]] == ["done"]
    receipt = (await acting.client.get(f"/v1/runs/{run_id}/receipt")).json()
    [action] = receipt["actions"]
    assert (action["tool"], action["attempt"], action["result"]) == ("run_python", 2, "42\n")
    assert action["args"] == call[1]
    assert action["approval_id"] == receipt["approvals"][0]["id"]
