"""The settings about agents in services of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

_URL: Final = re.compile(r"SIGNALBOX_AGENT_([A-Z0-9][A-Z0-9_]{0,39})_URL")
_VISIBLE: Final = re.compile(r"[!-~]{16,}")
MOST_INSTANCES: Final = 32


class AgentServiceSettings(BaseSettings):
    """Which agents work elsewhere, and the secret that is shared with them."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, populate_by_name=True)

    agent_urls: Mapping[str, tuple[str, ...]] = Field(
        default={}, validation_alias="SIGNALBOX_AGENT_<NAME>_URL"
    )
    """Where the agent `<name>` is served by `signalbox agent <name>` (docs/agent-services.md); its instances with
    commas between them. Unset means in this process."""
    agent_secret: SecretStr | None = Field(default=None, validation_alias="SIGNALBOX_AGENT_SECRET")
    """Secret that servers and the services of agents share, of at least 16 characters; without it such a service
    listens on this machine alone. While it is changed, several with commas between them: a server sends the first, a
    service takes each (docs/deployment.md)."""

    @property
    def agent_secrets(self) -> tuple[str, ...]:
        """Return the secrets that a service of an agent takes."""
        return tuple(self.agent_secret.get_secret_value().split(",")) if self.agent_secret else ()

    @property
    def sent_agent_secret(self) -> str | None:
        """Return the secret that a server sends to the services of agents."""
        return next(iter(self.agent_secrets), None)

    @field_validator("agent_secret")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not all(map(_VISIBLE.fullmatch, value.get_secret_value().split(","))):
            msg = (
                "write it in at least 16 visible ASCII characters, without spaces: it travels in a header. A comma "
                "ends it, and another one follows"
            )
            raise ValueError(msg)
        return value

    @field_validator("agent_urls")
    @classmethod
    def _are_urls(cls, value: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        for name, urls in value.items():
            if not 1 <= len(urls) <= MOST_INSTANCES or not all(map(_is_url, urls)):
                msg = (
                    f"write the {name}'s as http://host:port or https://host:port, without user, query or "
                    f"fragment, and at most {MOST_INSTANCES} with commas between them"
                )
                raise ValueError(msg)
        return value


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and port != 0


def in_clear(agent_urls: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return by agent the hosts that are spoken to unencrypted, beyond this machine.

    A name without a dot is not among them: it is one of a network of containers, which nobody else is in."""
    found = {name: [*filter(None, map(_read_along, urls))] for name, urls in agent_urls.items()}
    return {name: hosts for name, hosts in found.items() if hosts}


def _read_along(url: str) -> str | None:
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    try:
        near = ip_address(host).is_loopback
    except ValueError:
        near = "." not in host or host.endswith(".localhost")
    return None if near or parts.scheme == "https" else host


def is_agent_url(variable: str) -> bool:
    """Return whether a variable says where an agent is served."""
    return _URL.fullmatch(variable) is not None


class NamedSource(PydanticBaseSettingsSource):
    """Reads the variables that have an agent's name in theirs: no field can be named after them."""

    def __init__(
        self, settings: type[BaseSettings], sources: Sequence[PydanticBaseSettingsSource]
    ) -> None:
        """Read what the sources have read already, of which the last one counts."""
        super().__init__(settings)
        self._given: dict[str, str | None] = {}
        for source in sources:
            if isinstance(source, EnvSettingsSource):
                self._given |= {name.upper(): text for name, text in source.env_vars.items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return nothing: there is one field, and `__call__` fills it."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the field with every agent that is named."""
        urls = {
            found[1].lower(): tuple(u.strip().rstrip("/") for u in text.split(",") if u.strip())
            for variable, text in self._given.items()
            if text and (found := _URL.fullmatch(variable))
        }
        return {"agent_urls": urls} if urls else {}
