"""The run's life: accepting it, executing it, remembering it, and telling what happened."""
