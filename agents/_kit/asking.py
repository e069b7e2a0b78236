"""Asks a model for an answer by a JSON schema, in the way that loses neither its text nor its usage."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableSequence
from langchain_core.utils.function_calling import convert_to_openai_function
from langchain_openai import ChatOpenAI

from agents._kit.emulation import InWords


def by_schema(model: BaseChatModel, schema: dict[str, Any]) -> Runnable[Any, Any]:
    """Return what answers with a message whose text follows a schema, as far as the model keeps to it."""
    if isinstance(model, InWords):
        return model.bind_schema(schema)
    if isinstance(model, ChatOpenAI) and not model._use_responses_api({}):  # noqa: SLF001 - no other word for it
        # Named as `response_format`, the client reads the answer itself: what is cut off or filtered then
        # raises, and what it cost is lost.
        function = convert_to_openai_function(schema, strict=False)
        function["schema"] = function.pop("parameters")
        form = {"type": "json_schema", "json_schema": function}
        return model.bind(extra_body={"response_format": form})
    structured = model.with_structured_output(schema, method="json_schema", include_raw=True)
    return RunnableSequence(structured, RunnableLambda(_raw))


def _raw(answer: dict[str, Any]) -> AIMessage:
    return cast("AIMessage", answer["raw"])
