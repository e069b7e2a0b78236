"""A graph as an agent: it asks from which platform, and goes on with the answer, in whichever process."""

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from domain.agent import AgentSpec


async def announce(state: MessagesState) -> dict[str, list[AIMessage]]:
    """Ask first: whatever stands before `interrupt` is done again with the answer."""
    place = interrupt(f"From which platform? {state['messages'][-1].text}")
    return {"messages": [AIMessage(f"The train leaves from {place}. Mind the gap.")]}


AGENT = AgentSpec(
    name="announcer",
    description="Announces trains, and asks for their platform.",
    graph=StateGraph(MessagesState).add_node(announce).add_edge(START, "announce").compile(),
    hints=(r"\bannounc",),
)
