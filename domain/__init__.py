"""Types, errors and ports that every other room speaks in; standard library and pydantic only."""
