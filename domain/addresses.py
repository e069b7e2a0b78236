"""How the address of a server or a database is shown."""

from __future__ import annotations

import re
from typing import Final

SQLITE_PREFIX: Final = "sqlite:///"


def shown_url(url: str) -> str:
    """Return the URL as it may be shown: without who logs in and with which password."""
    if "://" not in url and re.search("[@=]", url):
        return "***"  # of no form we know, so that anything in it may be the password
    # Greedy: a password may hold an "@" or an "&" that should have been escaped.
    if not url.startswith(SQLITE_PREFIX):
        url = re.sub(r"//.*@", "//***@", url)
    return re.sub(r"([?&]\w*password=).*", r"\1***", url)
