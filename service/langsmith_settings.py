"""The settings about LangSmith, named as its own library names them."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class LangSmithSettings(BaseSettings):
    """Whether and where traces are sent."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, populate_by_name=True)

    langsmith_tracing: bool = Field(default=False, validation_alias="LANGSMITH_TRACING")
    """Send traces to LangSmith; needs `LANGSMITH_API_KEY` (docs/langsmith.md)."""
    langsmith_api_key: SecretStr | None = Field(default=None, validation_alias="LANGSMITH_API_KEY")
    """Key for LangSmith; tracing is on only where `LANGSMITH_TRACING=true` is set too."""
    langsmith_project: str = Field(
        default="signalbox", min_length=1, max_length=255, validation_alias="LANGSMITH_PROJECT"
    )
    """Project that traces are sent to; LangSmith makes it with the first one."""
    langsmith_endpoint: str = Field(
        default="https://api.smith.langchain.com", validation_alias="LANGSMITH_ENDPOINT"
    )
    """LangSmith's address: another region's, or that of one of your own."""
    langsmith_workspace_id: str | None = Field(
        default=None, validation_alias="LANGSMITH_WORKSPACE_ID"
    )
    """Workspace that traces are sent to; a key for a whole organisation needs it."""
    langsmith_hide_inputs: bool = Field(default=False, validation_alias="LANGSMITH_HIDE_INPUTS")
    """Send nothing of what runs, agents, tools and models were given."""
    langsmith_hide_outputs: bool = Field(default=False, validation_alias="LANGSMITH_HIDE_OUTPUTS")
    """Send nothing of what runs, agents, tools and models answered."""
    langsmith_tracing_sampling_rate: float = Field(
        default=1.0, ge=0, le=1, validation_alias="LANGSMITH_TRACING_SAMPLING_RATE"
    )
    """Share of the runs that are traced; whether one is follows from its id, the same in all processes."""

    @field_validator("langsmith_endpoint")
    @classmethod
    def _leads_to_langsmith(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            msg = "write a URL that starts with http:// or https://"
            raise ValueError(msg)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _tracing_has_key(self) -> LangSmithSettings:
        if self.langsmith_tracing and self.langsmith_api_key is None:
            msg = "LANGSMITH_TRACING needs LANGSMITH_API_KEY; set both or neither"
            raise ValueError(msg)
        return self
