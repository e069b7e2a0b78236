"""The tool with which an agent asks the user; nothing runs, the answer is its result."""

from __future__ import annotations

from typing import Final

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

ASK_USER: Final = "ask_user"

NOBODY: Final = (
    "Nobody can be asked in this run. Decide by yourself what is most likely meant, and say in your "
    "answer what you assumed."
)

MAX_QUESTION_CHARS: Final = 4_000


class AskUserArgs(BaseModel):
    """The arguments of `ask_user`."""

    question: str = Field(
        description="The question, complete in itself: the user sees nothing else.",
        min_length=1,
        max_length=MAX_QUESTION_CHARS,
    )


def make_ask_user() -> BaseTool:
    """Return the tool `ask_user`; called at all, it finds nobody there."""

    async def ask_user(question: str) -> str:
        del question
        return NOBODY

    return StructuredTool.from_function(
        coroutine=ask_user,
        name=ASK_USER,
        description="Ask the user one question, and only where the work cannot go on without the answer.",
        args_schema=AskUserArgs,
    )
