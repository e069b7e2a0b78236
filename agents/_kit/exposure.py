"""What an agent has read that neither its user nor its operator wrote: it may tell the agent what to do."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from agents._kit.outcomes import AssignmentContext
from agents._kit.prompts import write_prompt
from tools.gates import Exposure
from tools.registry import Toolbox


def exposure_of(
    messages: Sequence[AnyMessage], context: AssignmentContext, toolbox: Toolbox
) -> Exposure:
    """Return by what the calls of a conversation's next turn are judged.

    Read from the messages alone: a conversation that goes on after a pause has seen what it saw.
    """
    return Exposure(
        outside=_has_more_than_the_task(messages, context)
        or any(_is_from_outside(message, toolbox) for message in messages),
        task=context.task,
    )


def before_last_turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Return what a conversation's last turn was said after: its own results do not count for it."""
    for index in range(len(messages) - 1, -1, -1):
        if isinstance(messages[index], AIMessage):
            return messages[:index]
    return messages


def _has_more_than_the_task(messages: Sequence[AnyMessage], context: AssignmentContext) -> bool:
    """Return whether the prompt holds results of others, earlier turns of the thread or names of files."""
    if not messages:
        return False
    return messages[0].text != write_prompt(context.task, assignment=context.assignment["task"])


def _is_from_outside(message: AnyMessage, toolbox: Toolbox) -> bool:
    if not isinstance(message, ToolMessage):
        return False
    # An answer of no tool of ours is LangChain's, about a name that the model made up.
    return message.name in toolbox.names and toolbox.get(message.name).untrusted
