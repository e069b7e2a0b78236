"""What clients send and get about notes."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from domain.notes import NOTE_CHARS
from domain.run import UtcTime
from service.http.fields import SAYING, Strict, says_something, text_schema

NoteText = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=NOTE_CHARS),
    AfterValidator(says_something),
    WithJsonSchema(text_schema(SAYING, NOTE_CHARS, shortest=1)),
]


class NoteIn(Strict):
    """What to tell a run that is under way."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Leave out 2019, and answer in French."}]}
    )

    text: NoteText


class NoteOut(BaseModel):
    """A note to a run."""

    id: str
    text: str
    by: str
    """The key that has sent it."""
    at: UtcTime = Field(description="When it was accepted.")
