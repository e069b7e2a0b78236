"""Where answers lead: the links of OpenAPI, by which a client finds the next request without reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_THE_RUN: Final = {"run_id": "$response.body#/id"}
_ITS_RUN: Final = {"run_id": "$response.body#/run_id"}
_THE_APPROVAL: Final = {"approval_id": "$response.body#/id"}
_FIRST_RUN: Final = {"run_id": "$response.body#/data/0/id"}
_FIRST_APPROVAL: Final = {"approval_id": "$response.body#/data/0/id"}
_SAME_RUN: Final = {"run_id": "$request.path.run_id"}

_OF_A_RUN: Final[Mapping[str, Mapping[str, str]]] = {
    "get_run": _THE_RUN,
    "list_events": _THE_RUN,
    "cancel_run": _THE_RUN,
    "retry_run": _THE_RUN,
    "add_note": _THE_RUN,
    "fork_run": _THE_RUN,
    "list_checkpoints": _THE_RUN,
    "update_run": _THE_RUN,
    "delete_run": _THE_RUN,
    "export_run": _THE_RUN,
    "create_feedback": _THE_RUN,
    "list_artifacts": _THE_RUN,
    "get_receipt": _THE_RUN,
    "list_deliveries": _THE_RUN,
    "decide_run": _THE_RUN,
    "list_approvals": _THE_RUN,
    "get_thread": {"thread_id": "$response.body#/thread_id"},
    "delete_thread": {"thread_id": "$response.body#/thread_id"},
}

LINKS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "create_run": _OF_A_RUN,
    "run_workflow": _OF_A_RUN,
    "list_runs": {"get_run": _FIRST_RUN},
    "get_run": {
        "get_approval": {"approval_id": "$response.body#/required_action/approval_ids/0"},
        "decide_approval": {"approval_id": "$response.body#/required_action/approval_ids/0"},
        "resolve_action": {"action_id": "$response.body#/actions/0/id"},
        "get_artifact": {**_THE_RUN, "name": "$response.body#/result/artifacts/0/name"},
        "get_source": {**_THE_RUN, "sha256": "$response.body#/result/citations/0/sha256"},
        "get_thread": {"thread_id": "$response.body#/thread_id"},
        "cancel_run": _THE_RUN,
        "retry_run": _THE_RUN,
        "delete_run": _THE_RUN,
    },
    "cancel_run": {"get_run": _THE_RUN, "delete_run": _THE_RUN},
    "retry_run": {"get_run": _THE_RUN, "cancel_run": _THE_RUN},
    "fork_run": _OF_A_RUN,
    "list_checkpoints": {"fork_run": _SAME_RUN},
    "update_run": {"get_run": _THE_RUN},
    "add_note": {"get_run": _SAME_RUN, "list_events": _SAME_RUN},
    "get_thread": {"get_run": _FIRST_RUN},
    "list_artifacts": {"get_artifact": {**_SAME_RUN, "name": "$response.body#/data/0/name"}},
    "export_run": {"get_source": {**_SAME_RUN, "sha256": "$response.body#/sources/0/sha256"}},
    "list_deliveries": {
        "redeliver_delivery": {**_SAME_RUN, "delivery_id": "$response.body#/data/0/id"}
    },
    "redeliver_delivery": {"list_deliveries": _ITS_RUN},
    "list_approvals": {"get_approval": _FIRST_APPROVAL, "decide_approval": _FIRST_APPROVAL},
    "get_approval": {"decide_approval": _THE_APPROVAL, "get_run": _ITS_RUN},
    "decide_approval": {"get_approval": _THE_APPROVAL, "get_run": _ITS_RUN},
    "decide_run": {"get_run": _SAME_RUN},
    "resolve_action": {"get_run": _THE_RUN, "get_receipt": _THE_RUN},
}
"""By operation: the operations that go on from its success, with where their parameters are found."""


def links_of(operation_id: str) -> dict[str, Any]:
    """Return the links of an operation's successes, as OpenAPI writes them."""
    return {
        target: {"operationId": target, "parameters": dict(parameters)}
        for target, parameters in LINKS.get(operation_id, {}).items()
    }
