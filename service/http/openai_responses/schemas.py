"""What clients of the responses send, as far as a run can honour it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from service.http.fields import JsonSchemaIn, Metadata
from service.http.openai_chat.schemas import MAX_MESSAGES, LooseIn, MessageIn, Text

IGNORED: Final = frozenset(
    {
        "include",
        "max_output_tokens",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "temperature",
        "top_p",
        "truncation",
        "user",
    }
)
"""What is told to a single model and has no meaning for a team; the answer's header names those that came."""


class TextPartIn(BaseModel):
    """A part of a message; of other kinds than text there are none here."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["input_text", "output_text", "text"]
    text: Text


class ItemIn(BaseModel):
    """One turn of the conversation, or the progress that an earlier answer came with."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["message", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: list[TextPartIn] | Text | None = None

    @model_validator(mode="after")
    def _is_somebodys(self) -> Self:
        if self.type == "message" and self.role is None:
            msg = "a message needs a role"
            raise ValueError(msg)
        return self

    @property
    def message(self) -> MessageIn | None:
        """Return the turn; progress is none."""
        if self.type == "reasoning" or self.role is None:
            return None
        said = self.content
        text = "".join(part.text for part in said) if isinstance(said, list) else said
        return MessageIn(role=self.role, content=text)


class FormatIn(BaseModel):
    """How the answer is to look."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    type: Literal["text", "json_schema"]
    own: JsonSchemaIn | None = Field(default=None, alias="schema")


class WordingIn(BaseModel):
    """What the text of the answer is to be."""

    model_config = ConfigDict(extra="forbid")

    format: FormatIn | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class StreamOptionsIn(BaseModel):
    """What a stream has beside the answer: padding, which ours never has."""

    model_config = ConfigDict(extra="forbid")

    include_obfuscation: StrictBool | None = None


class ConversationIn(BaseModel):
    """The thread to follow up on."""

    model_config = ConfigDict(extra="forbid")

    id: str


class ResponseIn(LooseIn):
    """The body that asks for a response."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "signalbox", "input": "What is 17% of 80?"}],
        }
    )

    meaningless: ClassVar[frozenset[str]] = IGNORED

    model: str = Field(
        max_length=100,
        description="`signalbox`, or `signalbox/` and an agent's name: that agent alone.",
    )
    input: Annotated[list[ItemIn], Field(min_length=1, max_length=MAX_MESSAGES)] | Text
    instructions: Text | None = None
    previous_response_id: str | None = Field(default=None, max_length=200)
    conversation: ConversationIn | str | None = None
    background: StrictBool | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptionsIn | None = None
    text: WordingIn | None = None
    metadata: Metadata | None = None

    @property
    def said(self) -> list[MessageIn]:
        """Return what was said, the last thing last; the rules for this turn are before it."""
        rules = [MessageIn(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*rules, MessageIn(role="user", content=self.input)]
        return [*rules, *(item.message for item in self.input if item.message)]

    @property
    def thread(self) -> str | None:
        """Return the thread to follow up on."""
        given = self.conversation
        return given.id if isinstance(given, ConversationIn) else given

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """Return what the answer is to fit."""
        return self.text.format.own if self.text and self.text.format else None

    @property
    def ignored(self) -> list[str]:
        """Return what was sent and makes no difference."""
        silent = ["text.verbosity"] if self.text and self.text.verbosity else []
        return sorted([*super().ignored, *silent])

    @property
    def wishes(self) -> list[str]:
        """Return what was sent of which only a new run takes notice."""
        given = {
            "instructions": self.instructions,
            "metadata": self.metadata,
            "text.format": self.schema_wanted,
        }
        return [name for name, value in given.items() if value]


class ResponseOut(BaseModel):
    """A response."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any]
    signalbox: dict[str, Any]
    """The run behind it: `run_id`, `thread_id`, `status`, `stop_reason`, `degraded`, `approval_ids`, `cost_usd`."""


class DeletedOut(BaseModel):
    """What is left of a response: that it is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]
