"""What Schemathesis has to know of this API: our formats, and the few things that no description can say.

Loaded by its own process; what was sent is counted into the file `FUZZING_COUNTS`.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import IgnoredAuth, RejectedPositiveData

AnyCase = schemathesis.Case[Any]

_COUNTS: Final[Counter[str]] = Counter()
_NUMBERS: Final = itertools.count(1)


def _numbered(pattern: str) -> st.SearchStrategy[str]:
    """Return texts of which each is another: two files of one name are refused, and so on."""
    return st.builds(lambda: pattern.format(next(_NUMBERS)))


schemathesis.openapi.format("agent-name", st.sampled_from(["analyst", "coder", "researcher"]))
schemathesis.openapi.format("workspace-path", _numbered("data/{}.csv"))
schemathesis.openapi.format("approval-id", _numbered("apr_{:032x}"))
# Nobody listens there, so every message fails and is tried again.
schemathesis.openapi.format("webhook-url", st.just("http://127.0.0.1:9/hook"))

EXCUSED: Final = {
    ("create_run", "validation-error"): (
        "there is no agent",
        "/output_schema: it needs a language model",
    ),
    ("update_run", "validation-error"): ("there is no agent",),
    ("retry_run", "validation-error"): ("there is no agent",),
    ("add_note", "validation-error"): ("takes no more",),
    ("fork_run", "validation-error"): ("there is no agent", "there is no checkpoint"),
    ("decide_approval", "validation-error"): ("Nothing was decided.",),
    ("decide_run", "validation-error"): ("Nothing was decided.", "an approval stands twice"),
    ("get_usage", "invalid-parameter"): ("is after to",),
    ("get_usage", "malformed-cursor"): ("is not one of this list",),
}
"""By operation and code of a refusal of what its schema allows: what the detail says then. The agents are the
server's, what may be decided depends on what is asked, a run takes so many notes, each approval stands once in
a list, of two days the first comes first, and a cursor is one that was given."""


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: AnyCase,
    response: Response,
) -> bool:
    """Return whether a failure is one."""
    # Too many wrong keys came from here, so none is looked at for a minute. Schemathesis asks without a good key by
    # itself, after an answer to a good one: `response` may be either.
    if isinstance(failure, IgnoredAuth) and "got `429 " in failure.message:
        return False
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    said = EXCUSED.get((case.operation.definition.raw["operationId"], problem["code"]), ())
    return not any(each in problem["detail"] for each in said)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: AnyCase, kwargs: dict[str, Any]) -> None:
    """Make each key another: the same one with another body is refused, as it has to be."""
    for name, value in (case.headers or {}).items():
        if name.lower() == "idempotency-key" and isinstance(value, str) and 0 < len(value) <= 200:
            case.headers[name] = f"{value}-{next(_NUMBERS)}"


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: AnyCase, response: Response) -> None:
    """Count an answer."""
    _COUNTS[f"{case.operation.label} {response.status_code}"] += 1


@atexit.register
def _write_counts() -> None:
    Path(os.environ["FUZZING_COUNTS"]).write_text(json.dumps(_COUNTS))
