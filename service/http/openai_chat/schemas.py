"""What chat clients send, as far as a run can honour it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from service.http.fields import JsonSchemaIn, Metadata, can_be_kept

MAX_MESSAGES: Final = 1_000
MAX_TEXT: Final = 200_000

IGNORED: Final = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "temperature",
        "top_p",
        "user",
        "verbosity",
    }
)
"""What is told to a single model and has no meaning for a team; the answer's header names those that came."""

USUAL: Final = (("n", 1), ("tool_choice", "auto"), ("tool_choice", "none"))
"""What asks for nothing more than there is anyway, as `tools: null` and the like do."""

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(can_be_kept)]


class TextPart(BaseModel):
    """A part of a message; of other kinds than text there are none here."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Text


class MessageIn(BaseModel):
    """One turn of the conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """Return what was said."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class SchemaFormat(BaseModel):
    """A schema with the name that clients give it."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    own: JsonSchemaIn = Field(alias="schema")


class FormatIn(BaseModel):
    """How the answer is to look."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_schema"]
    json_schema: SchemaFormat | None = None


class StreamOptionsIn(BaseModel):
    """What a stream has beside the answer."""

    model_config = ConfigDict(extra="ignore")

    include_usage: StrictBool = False


class LooseIn(BaseModel):
    """A body that may have more members than are known here: each of them is ignored by name, or refused."""

    model_config = ConfigDict(extra="allow")

    meaningless: ClassVar[frozenset[str]] = IGNORED

    @property
    def ignored(self) -> list[str]:
        """Return what was sent and makes no difference."""
        return sorted((self.model_extra or {}).keys() & self.meaningless)

    @property
    def refused(self) -> list[str]:
        """Return what was sent and cannot be honoured."""
        given: dict[str, Any] = self.model_extra or {}
        nothing: tuple[object, ...] = (None, False, [], {})
        return sorted(
            name
            for name, value in given.items()
            if name not in self.meaningless and value not in nothing and (name, value) not in USUAL
        )


class ChatIn(LooseIn):
    """The body of a chat completion."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "signalbox",
                    "messages": [{"role": "user", "content": "What is 17% of 80?"}],
                }
            ]
        },
    )

    model: str = Field(
        max_length=100,
        description="`signalbox`, or `signalbox/` and an agent's name: that agent alone.",
    )
    messages: list[MessageIn] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: StrictBool | None = None
    stream_options: StreamOptionsIn | None = None
    response_format: FormatIn | None = None
    metadata: Metadata | None = None


class ModelOut(BaseModel):
    """Something that can be named as a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsOut(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[ModelOut]


class ChatOut(BaseModel):
    """An answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    signalbox: dict[str, Any]
    """The run behind it: `run_id`, `thread_id`, `status`, `stop_reason`, `degraded`, `approval_ids`, `cost_usd`."""
