"""Takes secrets out of texts that leave the service: known ones by their value, others by their shape.

Shapes are guesses: they know the marks of common keys, not every password.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, quote_plus

SECRET: Final = "[secret]"  # noqa: S105 - what stands in the place of one
"""What stands where a secret was. No shape finds it again, so to scrub twice changes nothing more."""

LEAST_CHARS: Final = 6
"""A shorter value is not looked for: it would be found in the midst of words."""

LEAST_PART: Final = 12
"""So much of the beginning or end of a longer value is taken for it, as where a text was cut."""

_MARKED: Final = re.compile(
    r"""
    \bsk-[A-Za-z0-9_-]{8,}                                     # OpenAI, Anthropic and their like
    | \b(?:sbx|gh[pousr]|github_pat|glpat|hf|npm|pypi|gsk|xai|r8)[_-][A-Za-z0-9_-]{16,}
    | \b(?:whsec|tvly|lsv2|ls__|xox[abprs])[_-][A-Za-z0-9_+/=-]{8,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                            # AWS
    | \bAIza[A-Za-z0-9_-]{30,}                                 # Google
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*    # a JSON web token
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)

_NAMED: Final = re.compile(
    r"""
    (?P<before>
        \b(?:bearer|basic)\s+                                  # of a header
        | [?&;](?:[a-z0-9_.-]*[_.-])?(?:key|apikey|token|secret|password|passwd|pwd|sig|signature|auth|code)=
        | ://[^\s/?\#@:"'<>]*:(?=[^\s/?\#@"'<>]+@)             # of a URL, before its host
        | ["']?\b(?:[a-z0-9]+[_-])*(?:api[_-]?key|access[_-]?token|auth[_-]?token|secret[_-]?key
            |client[_-]?secret|password|passwd)["']?\s*[=:]\s*["']?
    )
    (?P<value>[^\s&;,"'<>@\[\](){}]{6,})
    """,
    re.VERBOSE | re.IGNORECASE,
)

_SECRET_NAME: Final = re.compile(
    r"(?:^|[-_.])(?:authorization|cookie|password|passwd|secret|token|credentials?"
    r"|api[-_]?key|apikey|access[-_]?key|private[-_]?key|secret[-_]?key|auth[-_]?key)$",
    re.IGNORECASE,
)


class Scrubber:
    """Takes out secrets whose values are known, and what looks like one."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        wanted = {form for value in values if len(value) >= LEAST_CHARS for form in _forms(value)}
        # The longest first: a value may be the beginning of another.
        self._values: Final = tuple(sorted(wanted, key=lambda value: (-len(value), value)))
        self._long: Final = tuple(each for each in self._values if len(each) >= LEAST_PART + 4)

    def scrub(self, text: str) -> str:
        """Return a text without secrets; what has none comes back as it is."""
        for value in self._values:
            text = text.replace(value, SECRET)
        # Then what was cut: the end of one form of a value may be in the midst of another.
        for value in self._long:
            text = _without_part(text, value)
            text = _without_part(text[::-1], value[::-1], put=SECRET[::-1])[::-1]
        text = _MARKED.sub(SECRET, text)
        return _NAMED.sub(lambda found: found["before"] + SECRET, text)

    def scrub_value(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a JSON value without secrets: in its texts, in its names, and under names that say so."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, dict):
            return {self.scrub(str(name)): self._member(name, each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.scrub_value(each) for each in value]
        return value

    def _member(self, name: object, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, str) and value and _SECRET_NAME.search(str(name)):
            return SECRET
        return self.scrub_value(value)


def _forms(value: str) -> set[str]:
    """Return a value as it is and as texts may carry it."""
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode()
    escaped = json.dumps(value)[1:-1]
    safe = base64.urlsafe_b64encode(value.encode("utf-8", "replace")).decode()
    # A server that is given it after something else encodes it with other bits at both ends.
    return {
        value,
        quote(value, safe=""),
        quote_plus(value),
        escaped,
        encoded.rstrip("="),
        safe.rstrip("="),
    }


def _without_part(text: str, value: str, *, put: str = SECRET) -> str:
    start, pieces, at = value[:LEAST_PART], [], 0
    while (found := text.find(start, at)) >= 0:
        end = found + LEAST_PART
        while end < len(text) and end - found < len(value) and text[end] == value[end - found]:
            end += 1
        pieces += [text[at:found], put]
        at = end
    return "".join([*pieces, text[at:]]) if pieces else text
