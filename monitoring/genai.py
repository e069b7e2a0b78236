"""The names that spans and their attributes have: OpenTelemetry's for generative AI and HTTP, and our own.

Those of generative AI are still being developed (semantic conventions 1.42): here is the one place that knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OPERATION: Final = "gen_ai.operation.name"
WORKFLOW: Final = "gen_ai.workflow.name"
AGENT: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOOL: Final = "gen_ai.tool.name"
TOOL_CALL: Final = "gen_ai.tool.call.id"

INVOKE_WORKFLOW: Final = "invoke_workflow"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
CHAT: Final = "chat"
"""The operations."""

PRODUCT: Final = "signalbox"
"""The name of the workflow, and of the service where nobody names it otherwise."""

ERROR: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"

RUN: Final = "signalbox.run.id"
STATUS: Final = "signalbox.run.status"
STOP_REASON: Final = "signalbox.run.stop_reason"
DEGRADED: Final = "signalbox.run.degraded"
ROUNDS: Final = "signalbox.run.rounds"
ATTEMPTS: Final = "signalbox.run.attempts"
ENGINE: Final = "signalbox.run.engine"
COST: Final = "signalbox.cost_usd"
ROUND: Final = "signalbox.round"
PATH: Final = "signalbox.path"
TIER: Final = "signalbox.tier"
ATTEMPT: Final = "signalbox.attempt"
TRY: Final = "signalbox.try"
CALL_STATUS: Final = "signalbox.call.status"
RETRIES: Final = "signalbox.retries"
APPROVAL: Final = "signalbox.approval.id"
APPROVAL_TYPE: Final = "signalbox.approval.type"
OUTCOME: Final = "signalbox.approval.outcome"

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure_ai": "azure.ai.inference",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""What the conventions call providers that we call otherwise."""


def provider_and_model(name: str) -> tuple[str, str]:
    """Return the two of a `provider:model`, the provider as the conventions call it."""
    provider, _, model = name.partition(":")
    return _PROVIDERS.get(provider, provider), model or name
