"""Whose tokens are trusted, beside keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class OidcRules(BaseModel):
    """What a token has to be, and where in it stands what its caller may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    """The `iss` of its tokens, to the letter."""
    audience: tuple[str, ...] = Field(min_length=1)
    """The `aud` of tokens for this server; one of several is enough."""
    jwks_url: str | None = None
    """Where the issuer's keys are; where not given, its `/.well-known/openid-configuration` says it."""
    tenant_claim: str | None = None
    """The claim that names the tenant; where not given all callers are of the tenant `default`."""
    scopes_claim: str = "scope"
    """The claim with the scopes, as one text with spaces or as a list; what is no scope of ours does not count."""

    @field_validator("audience", mode="before")
    @classmethod
    def _one_is_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        local = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")
        if value is not None and not value.startswith(("https://", *local)):
            msg = "write a URL that starts with https:// (http:// only for a port of this machine)"
            raise ValueError(msg)
        return value
