"""The responses of OpenAI's API over our runs: a response is a run from an event on."""
