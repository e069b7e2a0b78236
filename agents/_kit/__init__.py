"""The machinery every agent shares: registry, model gateway, agent loop, offline planner."""
