"""The workflow: a supervisor, agents in parallel, one final answer."""
