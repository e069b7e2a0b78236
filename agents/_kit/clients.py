"""Opens the chat models of a chain: each provider's client with what it understands of our settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx2
import openai
from langchain.chat_models import init_chat_model
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

from agents._kit.chains import Candidate
from domain.agent import Tier
from domain.errors import ConfigurationError

CONNECTIONS: Final = 128
"""Connections to the model provider: more than runs make calls at once."""

_LIMITS: Final = ("max_tokens", "num_predict", "max_output_tokens")
"""What providers call the tokens of an answer."""

_EXTRAS: Final = {
    "anthropic": "signalbox[anthropic]",
    "ollama": "signalbox[ollama]",
}


class _ChatOpenAI(ChatOpenAI):
    """OpenAI's protocol, also from servers that say with each part of a stream what was used until then:
    LangChain would add that up. What was said last holds, where the stream has come to its end."""

    async def _astream(
        self,
        *args: Any,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        used: UsageMetadata | None = None
        finished = apart = False
        async for chunk in super()._astream(*args, **kwargs):
            message = chunk.message
            if isinstance(message, AIMessageChunk) and message.usage_metadata:
                used, message.usage_metadata = message.usage_metadata, None
                apart = not (message.content or message.tool_call_chunks)
            else:
                apart = False
            finished = finished or bool((chunk.generation_info or {}).get("finish_reason"))
            yield chunk
        # Some give no reason for the end, and tell what was used apart from all parts of the answer.
        if used and (finished or apart):
            yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=used))


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What the gateway needs to know; the service fills it from the environment."""

    tiers: dict[Tier, str] | None
    """The chain of each tier, as it is written; `None` means that no model is configured."""
    variables: dict[Tier, Tier] | None = None
    """For each tier, the one whose setting names its model; for errors."""
    timeout_seconds: float = 60.0
    max_output_tokens: int = 4096
    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    first_delay_seconds: float = 0.5
    """Wait before the first retry; it doubles, with jitter."""


class OpensModels(Protocol):
    """Opens the models of chains."""

    def talking(self, candidate: Candidate, variable: str) -> BaseChatModel:
        """Return a model whose tokens reach the client; `variable` names its setting in errors."""
        ...

    def deciding(self, candidate: Candidate, variable: str) -> BaseChatModel:
        """Return a model that is not streamed."""
        ...

    async def aclose(self) -> None:
        """Close what they hold open."""
        ...


class Clients:
    """Builds chat models that share one pool of connections. Built once: the first costs up to 2 s."""

    def __init__(self, settings: ModelSettings, relay: BaseCallbackHandler) -> None:
        self._settings = settings
        self._relay = relay
        # One bounded pool of our own: the library's default outlives the event loop it was made in.
        self._http: Final = httpx2.AsyncClient(
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS
            ),
            timeout=settings.timeout_seconds,
            follow_redirects=True,
        )
        self._ollama: Final[list[Any]] = []
        """The models whose package opens connections for each of them."""

    async def aclose(self) -> None:
        """Close the connections, but for those that a provider's package shares in the whole process."""
        await self._http.aclose()
        for model in self._ollama:
            await model._async_client.close()  # noqa: SLF001 - it has no other way to be closed

    def talking(self, candidate: Candidate, variable: str) -> BaseChatModel:
        """Return a model whose tokens reach the client; `variable` names its setting in errors."""
        options: dict[str, Any] = {"callbacks": [self._relay]}
        if candidate.provider == "openai":
            # Always, so that a model behaves the same whether or not anybody reads its tokens.
            options["streaming"] = True
        return self._open(candidate, variable, options)

    def deciding(self, candidate: Candidate, variable: str) -> BaseChatModel:
        """Return a model that is not streamed: what nobody reads as it comes costs less whole."""
        return self._open(candidate, variable, {"disable_streaming": True})

    def _open(self, candidate: Candidate, variable: str, more: dict[str, Any]) -> BaseChatModel:
        provider = candidate.provider
        options: dict[str, Any] = {**self._options(candidate), **more}
        if candidate.temperature is not None:
            options["temperature"] = candidate.temperature
        try:
            model: BaseChatModel = (
                _ChatOpenAI(model=candidate.model.partition(":")[2], **options)
                if provider == "openai"
                else init_chat_model(candidate.model, **options)
            )
        except ImportError as error:
            package = _EXTRAS.get(provider, f"langchain-{provider.replace('_', '-')}")
            msg = f"{variable} needs a package that is not installed: pip install {package!r}."
            raise ConfigurationError(msg) from error
        except (ValueError, TypeError, openai.OpenAIError) as error:
            msg = (
                f"{variable} cannot be used ({type(error).__name__}): "
                "write it as provider:model, such as openai:gpt-4o-mini, and set that provider's API key."
            )
            raise ConfigurationError(msg) from error
        if provider == "ollama":
            self._ollama.append(model)
        return model

    def _options(self, candidate: Candidate) -> dict[str, Any]:
        """Return the constructor arguments a provider understands. `max_retries=0`: the gateway retries."""
        settings, provider = self._settings, candidate.provider
        limit = candidate.max_tokens or settings.max_output_tokens
        if provider == "ollama":
            # Left out, Ollama takes a small window of its own, and drops without a word what does not fit.
            window = {"num_ctx": candidate.context} if candidate.context else {}
            return {
                "num_predict": limit,
                "client_kwargs": {"timeout": settings.timeout_seconds},
                **window,
            }
        options: dict[str, Any] = {
            "timeout": settings.timeout_seconds,
            # Google's package takes 0 for its own number of tries, and 1 for no second one.
            "max_retries": 1 if provider == "google_genai" else 0,
            "max_tokens": limit,
        }
        if provider == "openai":
            options["stream_usage"] = True
            options["http_async_client"] = self._http
            if settings.openai_base_url:
                options["base_url"] = settings.openai_base_url
            # A local server wants no key, the client insists on one.
            options["api_key"] = settings.openai_api_key or "not-needed"
        return options


def limited(model: BaseChatModel, max_tokens: int) -> BaseChatModel:
    """Return the same client, answering with at most so many tokens."""
    for name in _LIMITS:
        if name in type(model).model_fields:
            return model.model_copy(update={name: max_tokens})
    return model
