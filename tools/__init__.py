"""What agents can do: each tool is one file, and the registry hands them out by name."""
