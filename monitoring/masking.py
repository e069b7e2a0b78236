"""Takes out of texts what opens doors: keys, tokens, passwords, links to decide by; and makes them show whole.

By shape, for what nobody has told us of, and by value for what this process was given. It is a net below
lines that are written with care, not a leave to write whatever there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

MASK: Final = "***"

SHORTEST: Final = 6
"""Characters that a secret has at least to be looked for by value: shorter ones are in every other word."""

_SHAPES: Final = (
    # Ours: API keys, cookies, secrets of webhooks, and pages on which whoever has the link may decide.
    r"(?P<ours>(?<![A-Za-z0-9])(?:sbx_|sbc_|whsec_))[A-Za-z0-9_+/=-]{16,}",
    r"(?P<page>/approve/)(?!\{)[^\s?#\"'\\]+",
    # How others begin theirs: with a digit somewhere, or so long that it is no word.
    (
        r"(?P<theirs>(?<![A-Za-z0-9])(?:(?:sk|pk|rk|tvly|gsk|xai|fw|pplx|hf|r8|lsv2|ghp|gho|ghs|ghu|github_pat|glpat"
        r"|xox[abeprs]|nvapi)[_-]|AIza|ya29\.))(?:(?=[\w.-]*[0-9])[\w.-]{16,}|[\w.-]{32,})"
    ),
    r"(?P<aws>(?<![A-Za-z0-9])(?:AKIA|ASIA))[A-Z0-9]{16}(?![A-Za-z0-9])",
    r"(?P<jwt>(?<![A-Za-z0-9])eyJ)[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",
    r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    # Where they are sent.
    r"(?P<bearer>(?i:\bbearer)[\s:=]+)[A-Za-z0-9._~+/=-]{6,}",
    r"(?P<basic>(?i:\bbasic)\s+)(?=[A-Za-z0-9+/]*[0-9=])[A-Za-z0-9+/]{8,}={0,2}",
    r"(?P<url>[a-z]://)[^\s/?#\"']*@",
    r"(?P<cookie>(?i:\b(?:set-)?cookie)[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']{6,}",
    (
        r"(?P<named>(?i:(?:api[-_ ]?key|secret|password|passwd|passphrase|credential|authorization|\btoken"
        r"|(?:access|auth|refresh|id|x)[-_]token)[\"']?\s*[:=]\s*[\"']?))(?!(?i:bearer|basic)\b)[^\s\"'&,;)}\]]{6,}"
    ),
)
_ANY: Final = re.compile("|".join(_SHAPES))

_UNSEEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""What shows nothing, changes how others are shown, ends a line, or cannot be written."""


class Mask:
    """Masks texts. The secrets it looks for by value are held in this process alone."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for each in secrets if len(each) >= SHORTEST for form in _forms(each)}
        # The longest first: one may begin with another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._values: Final = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return a text without secrets."""
        if self._values:
            text = self._values.sub(MASK, text)
        return _ANY.sub(_hide, text)


def _forms(secret: str) -> set[str]:
    """Return a secret as it may stand in a text: as it is, in a URL, in JSON, in a `repr`."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def _hide(match: re.Match[str]) -> str:
    kind = str(match.lastgroup)
    return f"{match[kind]}{MASK}{'@' if kind == 'url' else ''}"


def one_line(text: str) -> str:
    """Return a text on one line, in which everything shows: what does not is written as its escape."""
    return _UNSEEN.sub(_escape, text)


def many_lines(text: str) -> str:
    """Return the same of a text that may have lines, such as a traceback."""
    return "\n".join(one_line(line.expandtabs(4)) for line in text.split("\n"))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
