"""The only reader of the environment."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agents._kit.chains import parse_chain
from domain.agent import TIERS, Tier
from domain.errors import ConfigurationError
from domain.gates import GateRule, OnExpiry
from domain.limits import BudgetRules
from domain.oidc import OidcRules
from domain.validation import Validation
from service.agent_settings import AgentServiceSettings, NamedSource, is_agent_url
from service.langsmith_settings import LangSmithSettings
from service.policies import read_budgets, read_gates
from service.setting_faults import one_line, variable
from tools.net.targets import parse_allow
from tools.sandbox.choice import Choice

DEFAULT_MODELS: Final[dict[Tier, str]] = {
    "fast": "openai:gpt-4o-mini",
    "standard": "openai:gpt-4.1",
    "deep": "openai:gpt-5",
}
"""What the tiers mean when only an OpenAI key or base URL is set."""

PREFIX: Final = "SIGNALBOX_"

OF_THE_CLIENT: Final = "SIGNALBOX_URL"
"""Where the Python client and the commands find a server; the service itself does not read it."""

_SECRET_VARIABLE: Final = re.compile(
    r"(?:^|_)(?:(?:API)?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|DSN)$", re.IGNORECASE
)

_LEAST_SECRET: Final = 8  # characters: under such a name a shorter value is a switch or a number


class Settings(AgentServiceSettings, LangSmithSettings):
    """Everything that can be set, each from the environment or from `.env`; an empty value means unset."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    env: Literal["development", "production"] = "development"
    """`production` refuses what is only safe on your own machine, such as running a model's code without a
    sandbox, and needs a key or `SIGNALBOX_OIDC` from the start. Which tool calls ask a person is the same in both."""
    database_url: str = "sqlite:///data/signalbox.db"
    """Where runs are kept: `sqlite:///path`, `postgresql://user:password@host/name` or
    `memory://`."""
    database_pool: int = Field(default=10, ge=2, le=200)
    """Connections to Postgres a process may hold for each of its pools: runs, checkpoints, queue."""
    dispatch: Literal["auto", "local", "queue"] = "auto"
    """Who executes runs: `local` this process alone, `queue` every process on the same Postgres, `auto`
    the queue on Postgres and this process otherwise."""
    takeover_seconds: float = Field(default=8.0, ge=1, le=300)
    """Seconds without a sign of life after which a worker's runs go on in another one. The same in all
    processes: each of them watches the others."""
    data_dir: Path = Path("data")
    """Folder for workspaces, artifacts, sources and the document index; processes on several machines share
    it."""
    revision: str | None = Field(default=None, max_length=100)
    """Revision of the source that this server was built from, to be told by `GET /v1/info` and in receipts."""
    host: str = "127.0.0.1"
    """Address the server listens on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port the server listens on; 0 picks a free one."""
    public_url: str | None = None
    """Address under which people reach this server, as in `https://signalbox.example.com`: what asks for a
    decision is sent to webhooks with links to pages below it, in production over https only. Unset means without
    links."""
    oidc: Annotated[OidcRules | None, NoDecode] = None
    """Whose tokens are taken beside keys, a JSON object: `issuer`, `audience`, and as they are wanted `jwks_url`,
    `tenant_claim`, `scopes_claim` (docs/keys.md). Unset means nobody's."""
    api_key: SecretStr | None = None
    """Key that `signalbox run` sends to a server that is running (docs/keys.md)."""
    model_fast: str | None = None
    """Model of the tier `fast`, as `provider:model`, its options behind a `?` (docs/models.md); after commas those
    that take its place when it fails."""
    model_standard: str | None = None
    """Model of the tier `standard`, as `provider:model`, its options behind a `?` (docs/models.md); after commas those
    that take its place when it fails."""
    model_deep: str | None = None
    """Model of the tier `deep`, as `provider:model`, its options behind a `?` (docs/models.md); after commas those
    that take its place when it fails."""
    model_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that a model may be silent. All tries of one call together may take twice as many, and 30 more."""
    model_max_output: int = Field(default=4096, ge=16, le=1_000_000)
    """Tokens one model call may produce; the option `max_tokens` of a model wins."""
    prices: Path | None = None
    """YAML file of what models cost, which wins over the built-in table; docs/costs.md shows it. With an
    `OPENAI_BASE_URL` that is not OpenAI's, the models of that server cost what this file says or are of
    unknown price."""
    knowledge_dir: Path | None = None
    """Folder of *.md, *.rst and *.txt that `search_documents` searches instead of Python's own docs."""
    agents: Annotated[tuple[str, ...], NoDecode] = ()
    """More agents, comma-separated: modules, folders, or the entry point group `signalbox.agents`."""
    gates: Annotated[tuple[GateRule, ...], NoDecode] = ()
    """Which tool calls run, ask a person or are denied: a TOML file with `[[gates]]` tables, or a JSON
    array of such rules; docs/approvals.md shows them. The first rule that fits a call counts, then the
    built-in ones."""
    sandbox: Choice = "auto"
    """What runs the programs that a model writes: `auto` a confined process on Linux (`native`), an
    interpreter that can reach nothing elsewhere (`monty`) · `remote` confined processes in another container
    · `off` nothing · `unsafe-local` a process that can read what the server can, never in production. Where
    programs cannot be confined, none are run."""
    sandbox_python: Path | None = None
    """Interpreter of programs; unset means the one with NumPy, pandas and Matplotlib that `make` installs."""
    sandbox_socket: Path | None = None
    """Unix socket of `signalbox sandbox`, for `remote`."""
    approval_seconds: float = Field(default=30 * 86_400, ge=0, le=366 * 86_400)
    """Seconds that people have to decide; 0 means as long as the run is kept."""
    approval_on_expiry: OnExpiry = "reject"
    """What becomes of an approval that nobody decided in time: `reject` refuses the call and the run goes
    on, `fail` ends the run."""
    http_allow: Annotated[frozenset[str], NoDecode] = frozenset()
    """Hosts that you vouch for, each as `host:port`, comma-separated: agents and webhooks reach them even where
    they are private or on another port than the web's, and agents ask nobody to read there. Public hosts are
    reached in any case."""
    validation: Validation = "auto"
    """Whether answers are checked before they are given: `on` every one · `auto` those that more than one
    agent worked on, and where the task asks for it · `off` none. A run may say otherwise."""
    search_keyless: bool = True
    """Let `web_search` ask Tavily without a key, which answers a few queries for free; set it to false and
    without `TAVILY_API_KEY` only the local documents are searched."""
    output_dir: Path | None = None
    """Folder that `publish_file` copies files to, each below the id of its run; where not set it refuses.
    Workers on several machines share it."""
    budgets: Annotated[BudgetRules, NoDecode] = BudgetRules()
    """What runs may spend: a TOML file, or a JSON object, with the tables `default` (where a run does not say
    otherwise), `most` (no run may have more) and `per_day` (all runs of one API key), and with `unknown_prices`
    (`allow`, `ask` or `deny`); docs/budgets.md shows them. Unset means no limits."""
    cache_seconds: int = Field(default=3600, ge=0, le=366 * 86_400)
    """Seconds for which an answer, or a piece of work, is given to others who ask the same; 0 reuses only where
    a run asks for it. What rests on the web is reused only where a run says how old it may be."""
    max_rounds: int = Field(default=10, ge=1, le=50)
    """Rounds a run may take; a run may ask for fewer."""
    max_concurrent_runs: int = Field(default=16, ge=1, le=1000)
    """Runs that a process executes at the same time; the others wait."""
    max_concurrent_per_key: int | None = Field(default=None, ge=1, le=10_000)
    """Runs that execute at the same time over all processes, for each API key, and without keys for all
    together; a key may have its own number. Unset means no limit. The same in all processes."""
    requests_per_minute: int = Field(default=600, ge=0, le=1_000_000)
    """Requests of each caller in a minute, counted by each process for itself; a key may have its own number.
    0 means no limit, and who needs no key has none."""
    max_queued: int = Field(default=10_000, ge=0, le=10_000_000)
    """Runs that may wait for their turn, of all callers together, before more are refused with 503; 0 means no
    limit."""
    max_connections: int = Field(default=1000, ge=4, le=1_000_000)
    """Connections that a process holds at the same time before more are refused with 503; one address has half
    of them. There are no more than file descriptors allow (`ulimit -n`)."""
    max_wait: float = Field(default=60.0, ge=0, le=3600)
    """Seconds a request may wait for its run."""
    keep_runs_days: float = Field(default=90.0, ge=0, le=36_500)
    """Days a finished run is kept, with everything that belongs to it; 0 keeps runs for ever."""
    keep_events_days: float = Field(default=30.0, ge=0, le=36_500)
    """Days the events of a finished run can be replayed; 0 keeps them as long as the run."""
    keep_checkpoints_days: float = Field(default=7.0, ge=0, le=36_500)
    """Days a finished run keeps the steps from which it can be retried; then only the last. 0 keeps them all."""

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    """Key for OpenAI; setting it turns the model on."""
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    """Any OpenAI-compatible server; a base URL alone needs no key."""
    tavily_api_key: SecretStr | None = Field(default=None, validation_alias="TAVILY_API_KEY")
    """Key for web search with Tavily."""
    tavily_base_url: str | None = Field(default=None, validation_alias="TAVILY_BASE_URL")
    """Another server that speaks Tavily's protocol."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from: the addresses of agents have names that nobody knows beforehand."""
        named = NamedSource(settings_cls, (dotenv_settings, env_settings))
        return (init_settings, named, env_settings, dotenv_settings, file_secret_settings)

    @field_validator("agents", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("gates", mode="before")
    @classmethod
    def _read_gates(cls, value: object) -> object:
        return read_gates(value) if isinstance(value, str) else value

    @field_validator("oidc", mode="before")
    @classmethod
    def _read_oidc(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            msg = f"write a JSON object: {error}"
            raise ValueError(msg) from error

    @field_validator("budgets", mode="before")
    @classmethod
    def _read_budgets(cls, value: object) -> object:
        return read_budgets(value) if isinstance(value, str) else value

    @field_validator("http_allow", mode="before")
    @classmethod
    def _read_hosts(cls, value: object) -> object:
        return parse_allow(value) if isinstance(value, str) else value

    @field_validator("model_fast", "model_standard", "model_deep")
    @classmethod
    def _is_chain(cls, value: str | None) -> str | None:
        if value is not None:
            parse_chain(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _is_plain_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", value):
            msg = "write a URL with https:// or http://, without user, query or fragment"
            raise ValueError(msg)
        return value and value.rstrip("/")

    @field_validator("openai_base_url", "tavily_base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            msg = "write a URL that starts with http:// or https://"
            raise ValueError(msg)
        return value

    @field_validator("knowledge_dir")
    @classmethod
    def _is_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            msg = "name an existing folder"
            raise ValueError(msg)
        return value

    @field_validator("output_dir")
    @classmethod
    def _can_be_written(cls, value: Path | None) -> Path | None:
        if value is not None and not (value.is_dir() and os.access(value, os.W_OK | os.X_OK)):
            msg = "name an existing folder that this process may write to"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _production_is_confined(self) -> Settings:
        if self.env == "production" and self.sandbox == "unsafe-local":
            msg = (
                "SIGNALBOX_SANDBOX='unsafe-local' is no security boundary and not for production; set it to "
                "auto, native, remote, monty or off"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _production_has_private_links(self) -> Settings:
        url = self.public_url or "https://"
        if self.env == "production" and not url.startswith("https://"):
            msg = (
                f"SIGNALBOX_PUBLIC_URL={self.public_url!r} has to begin with https:// in production: "
                "whoever reads a link may decide"
            )
            raise ValueError(msg)
        return self

    @property
    def tiers(self) -> dict[Tier, str] | None:
        """Return the model of each tier, or `None` where no model is configured.

        A tier that is not set takes the nearest one that is.
        """
        sources = self.tier_variables
        if sources:
            return {tier: str(getattr(self, f"model_{sources[tier]}")) for tier in TIERS}
        if self.openai_api_key or self.openai_base_url:
            return DEFAULT_MODELS
        return None

    @property
    def tier_variables(self) -> dict[Tier, Tier] | None:
        """Return for each tier the one whose variable names its model; `None` where none is set."""
        order: tuple[Tier, ...] = ("standard", "fast", "deep")
        given = [tier for tier in order if getattr(self, f"model_{tier}")]
        return {tier: tier if tier in given else given[0] for tier in TIERS} if given else None


def read_settings(**overrides: Any) -> Settings:
    """Return the settings; raises `ConfigurationError` in one line: which, what it was, what it may be."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(one_line(error, Settings.model_fields)) from None


def prepare_environment() -> None:
    """Set what libraries read from the environment at import; call it before LangGraph is imported."""
    # Without it a checkpoint row can name a class to import and call.
    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
    # LangChain traces of its own accord where it is told to; what is sent, and where to, is ours to say. Of all
    # the variables it looks at this one wins; the oldest would have every call fail, others name more receivers.
    os.environ["LANGSMITH_TRACING_V2"] = "false"
    for name in ("LANGCHAIN_TRACING", "LANGSMITH_RUNS_ENDPOINTS", "LANGCHAIN_RUNS_ENDPOINTS"):
        os.environ.pop(name, None)


def known_secrets(settings: Settings) -> frozenset[str]:
    """Return every value that must not leave this process in logs, traces or recordings: keys, passwords in URLs, and
    what the environment or `.env` has under a name that says so, where libraries look for theirs. Blocks."""
    found = {
        value
        for name, value in environment().items()
        if value and len(value) >= _LEAST_SECRET and _SECRET_VARIABLE.search(name)
    }
    found |= set(settings.agent_secrets)  # the variable may have several
    for _, value in settings:
        if isinstance(value, SecretStr):
            found.add(value.get_secret_value())
        elif isinstance(value, str) and "://" in value:
            found |= _passwords(value)
    return frozenset(found - {""})


def _passwords(url: str) -> set[str]:
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        return set()
    return {password, unquote(password)}


def telemetry_variables() -> dict[str, str]:
    """Return OpenTelemetry's own variables, which its packages read themselves."""
    return {name: text for name, text in os.environ.items() if name.startswith("OTEL_")}


def without_telemetry() -> None:
    """Have this process send no traces, whatever its environment says."""
    os.environ["OTEL_SDK_DISABLED"] = "true"


def wants_colour() -> bool:
    """Return whether a terminal may be coloured (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def known_variables() -> set[str]:
    """Return the variables of all settings."""
    return {variable(name, Settings.model_fields) for name in Settings.model_fields}


def unknown_variables() -> list[str]:
    """Return the `SIGNALBOX_` variables that name no setting: most often a slip of the pen."""
    known = known_variables() | {OF_THE_CLIENT}
    given = environment()
    ours = (name for name in given if name.startswith(PREFIX) and not is_agent_url(name))
    return sorted(name for name in ours if name not in known)


def environment(*, dotenv: bool = True) -> dict[str, str | None]:
    """Return every variable; `dotenv`: with those of `.env`."""
    return {**(dotenv_values(".env") if dotenv else {}), **os.environ}
