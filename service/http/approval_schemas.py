"""What clients send and get about approvals, actions and tools."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from domain.approval import MAX_MESSAGE_CHARS, Approval, Decision, ToolAction, Verb
from domain.gates import GateRule
from domain.tool import Effect
from service.http.fields import (
    SAFE_INTEGER,
    SAYING,
    Name,
    Reason,
    Strict,
    can_be_kept,
    says_something,
    text_schema,
)
from service.http.parameters import APPROVAL

DEEPEST: Final = 50
"""How deep the arguments of an edited call may be nested."""

Message = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_MESSAGE_CHARS),
    AfterValidator(says_something),
    WithJsonSchema(text_schema(SAYING, MAX_MESSAGE_CHARS, shortest=1)),
]

_NOTHING: Final[JsonDict] = {"type": "null"}
_KINDS: Final[JsonDict] = {
    "oneOf": [
        {
            "title": "approve",
            "properties": {
                "type": {"const": "approve"},
                "edited_action": _NOTHING,
                "message": _NOTHING,
            },
        },
        {
            "title": "edit",
            "properties": {
                "type": {"const": "edit"},
                "edited_action": {"type": "object"},
                "message": _NOTHING,
            },
            "required": ["edited_action"],
        },
        {
            "title": "reject",
            "properties": {
                "type": {"const": "reject"},
                "edited_action": _NOTHING,
                "remember": _NOTHING,
            },
        },
        {
            "title": "respond",
            "properties": {
                "type": {"const": "respond"},
                "edited_action": _NOTHING,
                "message": {"type": "string"},
                "remember": _NOTHING,
            },
            "required": ["message"],
        },
    ]
}
"""What goes with which type."""


def _storable(value: object, depth: int = 0) -> None:
    """Refuse what a database cannot keep in a document."""
    if depth > DEEPEST:
        msg = f"must not be nested deeper than {DEEPEST}"
        raise ValueError(msg)
    if isinstance(value, str):
        can_be_kept(value)
    elif isinstance(value, int) and abs(value) > SAFE_INTEGER:
        msg = "must have no integer beyond 2**53"
        raise ValueError(msg)
    elif isinstance(value, dict):
        for name, each in value.items():
            can_be_kept(str(name))
            _storable(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _storable(each, depth + 1)


class DecisionIn(Strict):
    """The body of a decision."""

    model_config = ConfigDict(
        json_schema_extra={
            **_KINDS,
            "examples": [
                {"type": "approve", "comment": "Checked with accounting."},
                {
                    "type": "edit",
                    "edited_action": {
                        "name": "http_request",
                        "args": {
                            "method": "POST",
                            "url": "http://127.0.0.1:9000/orders",
                            "body": '{"amount": 10}',
                        },
                    },
                },
                {"type": "reject", "message": "Not before Monday."},
                {"type": "respond", "message": "Use the account 4711."},
            ],
        }
    )

    type: Verb = Field(
        description="`approve` the call runs as it stands · `edit` it runs with other arguments · "
        "`reject` it does not run, and the agent reads why · `respond` the message is its result."
    )
    edited_action: ToolAction | None = Field(
        default=None, description="With `edit`, and only there: the call that runs instead."
    )
    message: Message | None = Field(
        default=None, description="With `respond` the result; with `reject` why, for the agent."
    )
    comment: Reason | None = Field(default=None, description="A note for the record.")
    remember: Literal["run"] | None = Field(
        default=None, description="Do not ask about this tool again in this run."
    )
    args_digest: StrictStr | None = Field(
        default=None,
        max_length=100,
        description="The digest of the call you looked at; refused where it is another by now.",
    )

    @model_validator(mode="after")
    def _is_a_decision(self) -> DecisionIn:
        self.decision()
        return self

    @field_validator("edited_action")
    @classmethod
    def _can_be_stored(cls, action: ToolAction | None) -> ToolAction | None:
        if action is not None:
            _storable(action.args)
        return action

    def decision(self) -> Decision:
        """Return what was decided, without what goes with it."""
        try:
            return Decision(type=self.type, edited_action=self.edited_action, message=self.message)
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


ApprovalName = Annotated[
    Name,
    WithJsonSchema({"type": "string", "format": "approval-id", "pattern": APPROVAL}),
]


class RunDecisionIn(DecisionIn):
    """One of several decisions."""

    model_config = ConfigDict(
        json_schema_extra={
            **_KINDS,
            "examples": [
                {"approval_id": "apr_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f", "type": "approve"}
            ],
        }
    )

    approval_id: ApprovalName


class DecisionsIn(Strict):
    """The body of several decisions about one run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "decisions": [
                        {"approval_id": "apr_0193f2c4a1b27c3d8e4f5a6b7c8d9e0f", "type": "approve"}
                    ]
                }
            ]
        }
    )

    decisions: list[RunDecisionIn] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _each_once(self) -> DecisionsIn:
        ids = [each.approval_id for each in self.decisions]
        if len(set(ids)) < len(ids):
            msg = "an approval stands twice; decide about each once"
            raise ValueError(msg)
        return self


class ResolutionIn(Strict):
    """The body that settles an action in doubt."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"outcome": "done", "result": "The order 77 is there."}]}
    )

    outcome: Literal["done", "not_done"] = Field(
        description="`done`: it took effect · `not_done`: it did not."
    )
    result: Reason | None = Field(default=None, description="What was found out.")


class ApprovalPage(BaseModel):
    """A page of approvals, newest first; or those that were decided, in the order sent."""

    data: list[Approval]
    next_cursor: str | None
    has_more: bool


class ToolOut(BaseModel):
    """A tool and its gate."""

    name: str
    description: str
    effect: Effect
    gate: Literal["auto", "ask", "deny", "rules"]
    """`rules`: it depends on the call; the rules say how."""
    rules: list[GateRule]
    off_reason: str | None
    args_schema: dict[str, Any]


class ToolList(BaseModel):
    """The tools with their gates."""

    data: list[ToolOut]
    next_cursor: str | None = None
    has_more: bool = False
