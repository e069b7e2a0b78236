"""What must not leave the process is one list, for logs, traces and recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import known_secrets, read_settings


def test_the_secrets_are_those_of_settings_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "of-the-environment")
    monkeypatch.setenv("other_apikey", "of-an-odd-name")
    monkeypatch.setenv("MONKEY", "no-secret-at-all")
    monkeypatch.setenv("USE_TOKEN", "enabled")
    (tmp_path / ".env").write_text("OTHER_PASSWORD=of-the-file\n")
    settings = read_settings(
        OPENAI_API_KEY="of-the-settings",
        database_url="postgresql://me:of%20the%20url@db/x",
        TAVILY_BASE_URL="http://me:of-another-url@search",
        _env_file=None,
    )
    found = known_secrets(settings)
    assert found >= {
        *("of-the-environment", "of-an-odd-name", "of-the-file", "of-the-settings"),
        *("of%20the%20url", "of the url", "of-another-url"),
    }
    assert not found & {"no-secret-at-all", "enabled", ""}
