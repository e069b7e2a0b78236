"""An agent that is a prompt, a tier and a sentence for the supervisor."""

from domain.agent import AgentSpec

AGENT = AgentSpec(
    name="haiku",
    description="Writes a haiku about what it is given.",
    prompt="You write haiku: three lines of five, seven and five syllables. Answer with the haiku alone.",
    tier="fast",
    hints=(r"\bhaiku\b",),
)
