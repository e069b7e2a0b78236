"""The tables of docs/settings.md: `python -m tests.docs.settings_page` writes them anew."""

from __future__ import annotations

from typing import Final

from service.commands.env_example import _model, _range, _value, _variable
from service.settings import Settings
from tests.conftest import ROOT

PAGE: Final = ROOT / "docs" / "settings.md"
BEGIN: Final = "<!-- begin: written by `python -m tests.docs.settings_page` -->\n"
END: Final = "<!-- end -->\n"

GROUPS: Final[dict[str, str]] = {
    "The server": "env host port public_url revision data_dir output_dir max_connections max_wait",
    "Where runs are kept and who executes them": (
        "database_url database_pool dispatch takeover_seconds max_concurrent_runs max_queued "
        "keep_runs_days keep_events_days keep_checkpoints_days"
    ),
    "Callers": "api_key oidc requests_per_minute max_concurrent_per_key",
    "Agents in services of their own": "agent_urls agent_secret",
    "Models": (
        "openai_api_key openai_base_url model_fast model_standard model_deep model_timeout "
        "model_max_output prices"
    ),
    "What runs may do": (
        "agents gates approval_seconds approval_on_expiry budgets max_rounds validation cache_seconds"
    ),
    "Tools": (
        "knowledge_dir search_keyless tavily_api_key tavily_base_url http_allow sandbox "
        "sandbox_python sandbox_socket"
    ),
}
"""Which settings belong together; what begins with `langsmith_` is LangSmith's, and what is not named stands last."""


def groups() -> dict[str, list[str]]:
    """Return the names of all settings by what they are about."""
    found = {title: names.split() for title, names in GROUPS.items()}
    left = [name for name in Settings.model_fields if not any(name in g for g in found.values())]
    found["LangSmith"] = [name for name in left if name.startswith("langsmith_")]
    found["More"] = [name for name in left if not name.startswith("langsmith_")]
    return {title: names for title, names in found.items() if names}


def tables() -> str:
    """Return a table for each group."""
    properties = Settings.model_json_schema(by_alias=False)["properties"]
    lines = []
    for title, names in groups().items():
        lines += [f"\n## {title}\n", "| Variable | Default | What it is |", "|---|---|---|"]
        for name in names:
            about = properties[name]
            value = _value(Settings.model_fields[name].default)
            default = f"`{value}`" if value else ""
            said = [" ".join(about["description"].split()), _range(about), _model(name)]
            meaning = " ".join(filter(None, said)).replace("|", "\\|")
            lines.append(f"| `{_variable(name)}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n\n"


def write(page: str) -> str:
    """Return the page with the tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
