"""What all models have in common."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

Money = Annotated[
    Decimal,
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""US dollars, never a float."""


class Model(BaseModel):
    """Something that a server has answered with.

    What a newer server adds is kept (`model_extra`); values of a closed set are plain strings here, so that
    one that this version does not know is read too.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())
