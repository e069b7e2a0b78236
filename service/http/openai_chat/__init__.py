"""The chat completions of OpenAI's API over our runs: for clients that speak nothing else."""
