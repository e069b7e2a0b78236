"""What is said at the start of agents elsewhere that are spoken to unencrypted."""

from __future__ import annotations

import logging
from typing import Final

from service.agent_settings import in_clear
from service.settings import Settings

IN_CLEAR: Final = (
    "The agent %s is asked over http:// at %s: whoever reads along has SIGNALBOX_AGENT_SECRET, and what runs are "
    "about. Use https://."
)

_log = logging.getLogger("signalbox.agents")


def warn_of_readers(settings: Settings) -> None:
    """Say in the log to which agents this process speaks so that others can read along."""
    for name, hosts in in_clear(settings.agent_urls).items():
        fields = {"action": "agent_in_clear", "agent": name}
        _log.warning(IN_CLEAR, name, ", ".join(hosts), extra=fields)
