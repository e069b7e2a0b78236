"""Takes secrets out of texts that leave the service: known ones by their value, others by their shape.

Shapes are guesses: they know the marks of common keys, not every password. It is a net below texts that are
written with care, not a leave to write whatever there is.
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

# A secret that is out already, in the midst of what is taken out with it: it counts as one character.
_GONE: Final = r"\[secret\]"
_PARAMETERS: Final = r"key|apikey|token|pwd|sig|signature|auth|code"
_SURELY: Final = r"(?:sk-|tvly-|lsv2_|ls__|xox[abeprs]-)"
_THEIRS: Final = (
    r"[prs]k|tvly|gsk|xai|fw|pplx|hf|r8|lsv2|gh[oprsu]|github_pat|glpat|npm|pypi|xox[abeprs]|nvapi"
)
_PEM: Final = r"[A-Z ]*PRIVATE KEY"
_NAMES: Final = (
    r"api[-_ ]?key|(?:access|auth|private|secret)[-_]key|secret|password|passwd|passphrase|credentials?"
    r"|authorization|\btoken|(?:access|auth|refresh|id|x)[-_]token"
)
# With a digit somewhere, or too long for a word.
_SEVERAL: Final = r"(?:(?=[\w.-]*[0-9])[\w.-]{16,}|[\w.-]{32,})"

_SHAPES: Final = (
    # Ours: API keys, cookies, secrets of webhooks, and pages on which whoever has the link may decide.
    (("_",), r"()(?<![A-Za-z0-9])(?:sb[xc]_[A-Za-z0-9_+/=-]{16,}|whsec_[A-Za-z0-9_+/=-]{8,})"),
    (("/approve/",), r"(/approve/)(?!\{)[^\s?#\"'\\]+"),
    # How others begin theirs.
    (
        ("-", "_"),
        rf"()(?<![A-Za-z0-9])(?:{_SURELY}(?=[\w-]*[0-9])[\w-]{{8,}}|(?:{_THEIRS})[_-]{_SEVERAL})",
    ),
    (("AIza", "ya29."), rf"()(?<![A-Za-z0-9])(?:AIza|ya29\.){_SEVERAL}"),
    (("AKIA", "ASIA"), r"()(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (("eyJ",), r"()(?<![A-Za-z0-9])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"),
    (("-----BEGIN",), rf"()-----BEGIN {_PEM}-----[\s\S]*?(?:-----END {_PEM}-----|\Z)"),
    # Where they are sent.
    (("earer", "EARER"), r"(\b(?i:bearer)[\s:=]+)[A-Za-z0-9._~+/=-]{6,}"),
    (
        ("asic", "ASIC"),
        r"(\b(?i:basic)\s+)(?=[A-Za-z0-9+/]*[0-9=])[A-Za-z0-9+/]{8,}={0,2}",
    ),
    (("@",), r"([a-z]://)[^\s/?#\"']+(?=@)"),
    (
        (":", "="),
        rf"(\b(?i:(?:set-)?cookie)[\"']?\s*[:=]\s*[\"']?)(?>{_GONE}|[^\r\n\"']){{6,}}",
    ),
    (
        (":", "="),
        rf"((?i:{_NAMES})[\"']?\s*[:=]\s*[\"']?)(?!(?i:bearer|basic)\b)(?>{_GONE}|[^\s\"'&,;)}}\]]){{6,}}",
    ),
    (
        ("=",),
        rf"([?&;](?i:(?:[a-z0-9_.-]*[_.-])?(?:{_PARAMETERS}))=)(?>{_GONE}|[^\s&;,\"'<>@()\[\]{{}}]){{6,}}",
    ),
)
"""What secrets look like: of what a text has that has one, and an expression, whose first group stays."""

_FINDERS: Final = [(needs, re.compile(shape)) for needs, shape in _SHAPES]

_SECRET_NAME: Final = re.compile(
    r"(?:^|[-_.])(?:authorization|cookie|password|passwd|secret|token|credentials?"
    r"|api[-_]?key|apikey|access[-_]?key|private[-_]?key|secret[-_]?key|auth[-_]?key)$",
    re.IGNORECASE,
)


class Scrubber:
    """Takes out secrets whose values are known, and what looks like one. It holds the values in this process alone.

    `mark` is what stands in their place, `cut` whether a value is also found that was cut off: that takes long.
    """

    def __init__(self, values: Iterable[str] = (), *, mark: str = SECRET, cut: bool = True) -> None:
        wanted = {value for value in values if len(value) >= LEAST_CHARS and value not in mark}
        # The longest first: one may be the beginning of another.
        ordered = sorted(
            {form for value in wanted for form in forms_of(value)},
            key=lambda form: (-len(form), form),
        )
        self._values: Final = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._long: Final = [each for each in ordered if cut and len(each) >= LEAST_PART + 4]
        self._mark: Final = mark

    def scrub(self, text: str) -> str:
        """Return a text without secrets; what has none comes back as it is."""
        if len(text) < LEAST_CHARS:
            return text
        if self._values:
            text = self._values.sub(lambda _: self._mark, text)
        # Then what was cut: the end of one form of a value may be in the midst of another.
        for value in self._long:
            text = _without_part(text, value, self._mark)
            text = _without_part(text[::-1], value[::-1], self._mark[::-1])[::-1]
        # What is taken out may have stood between the parts of something else that is found then.
        while (less := self._without_shapes(text)) != text:
            text = less
        return text

    def _without_shapes(self, text: str) -> str:
        for needs, shape in _FINDERS:
            # Most texts have little of it, and lines are many.
            for need in needs:
                if need in text:
                    text = shape.sub(self._hide, text)
                    break
        return text

    def _hide(self, found: re.Match[str]) -> str:
        return f"{found[1]}{self._mark}"

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
            return self._mark
        return self.scrub_value(value)


def forms_of(value: str) -> set[str]:
    """Return a value as texts may carry it: as it is, in a URL, in JSON, in a `repr`, in Base64."""
    data = value.encode("utf-8", "replace")
    return {
        value,
        quote(data, safe=""),
        quote_plus(data),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        # Whoever encodes it behind something else has other bits at both ends.
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
    }


def _without_part(text: str, value: str, mark: str) -> str:
    start, pieces, at = value[:LEAST_PART], list[str](), 0
    while (found := text.find(start, at)) >= 0:
        end = found + LEAST_PART
        while end < len(text) and end - found < len(value) and text[end] == value[end - found]:
            end += 1
        pieces += [text[at:found], mark]
        at = end
    return "".join([*pieces, text[at:]]) if pieces else text
