"""The route of feedback: what somebody thinks of a run."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, StrictBool, StrictInt, StringConstraints
from starlette.responses import Response

from domain.feedback import Feedback
from service.http.caller import Caller, Parts, needs
from service.http.fields import FiniteFloat, Reason, Strict
from service.http.json_body import JsonRoute
from service.http.negotiation import idempotency_of
from service.http.openapi import problems
from service.http.parameters import RunId
from service.http.runs import json_response

router: Final = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=JsonRoute)

MOST: Final = 1_000_000
KEY: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

_Whole = Annotated[StrictInt, Field(ge=-MOST, le=MOST)]
_Number = Annotated[FiniteFloat, Field(ge=-MOST, le=MOST)]


class FeedbackIn(Strict):
    """What somebody thinks of a run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"key": "helpful", "score": 1, "comment": "The mean is right."}]
        }
    )

    key: Annotated[str, StringConstraints(strict=True, pattern=KEY)] = Field(
        description="What is judged, such as `helpful`: letters, digits, `_`, `.` and `-`."
    )
    score: StrictBool | _Whole | _Number | None = Field(
        default=None, description="How good it is: a number, or whether it is so."
    )
    comment: Reason | None = None


@router.post(
    "/{run_id}/feedback",
    operation_id="create_feedback",
    summary="Say what you think of a run",
    dependencies=[needs("runs:write")],
    response_model=Feedback,
    status_code=201,
    responses=problems(400, 404, 409, 413, 415, 422, 500),
)
async def create_feedback(
    run_id: RunId, body: FeedbackIn, request: Request, parts: Parts, caller: Caller
) -> Response:
    """Keep feedback with the run, a thousand pieces at most. Where the server sends its traces to LangSmith it is
    passed on to the run's trace; the answer does not wait for that."""
    run = await parts.runs.get(caller.tenant_id, run_id)
    given = await parts.feedback.add(
        run,
        key=body.key,
        score=body.score,
        comment=body.comment,
        by=caller.id,
        idempotency=idempotency_of(request, body),
    )
    response = json_response(given.feedback.model_dump(mode="json"))
    response.status_code = 201
    if given.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
