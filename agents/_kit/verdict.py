"""The validator's structured verdict: the schema a model is asked for, and how its answer is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict, ValidationError

from agents._kit.structured import json_in
from domain.validation import Verdict


class Criterion(BaseModel):
    """One thing that an answer to the task has to have."""

    model_config = ConfigDict(frozen=True)

    criterion: str
    met: bool
    why: str = ""


class JudgedDisagreement(BaseModel):
    """Two agents who say things that cannot both be true."""

    model_config = ConfigDict(frozen=True)

    agents: list[str]
    about: str
    statements: list[str]


class Fix(BaseModel):
    """What an agent has to mend."""

    model_config = ConfigDict(frozen=True)

    agent: str
    fix: str


class Judgement(BaseModel):
    """What a model says of the results."""

    model_config = ConfigDict(frozen=True)

    criteria: list[Criterion] = []
    disagreements: list[JudgedDisagreement] = []
    verdict: Verdict
    reasons: list[str] = []
    fixes: list[Fix] = []


def judgement_schema(agents: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of a judgement about the results of these agents."""
    text: dict[str, Any] = {"type": "string"}
    agent = {"type": "string", "enum": list(agents)}
    return {
        "title": "Judgement",
        **_object(
            criteria=_list(_object(criterion=text, met={"type": "boolean"}, why=text)),
            disagreements=_list(_object(agents=_list(agent), about=text, statements=_list(text))),
            verdict={"type": "string", "enum": ["accept", "revise", "reject"]},
            reasons=_list(text),
            fixes=_list(_object(agent=agent, fix=text)),
        ),
    }


def read_judgement(message: AIMessage) -> Judgement | None:
    """Return the judgement in a message's content or in its tool call; `None` where there is none."""
    for candidate in json_in(message):
        try:
            return Judgement.model_validate(candidate)
        except ValidationError:
            continue
    return None


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
