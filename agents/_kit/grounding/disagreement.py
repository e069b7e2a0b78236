"""A first, rough look for contradictions; the whole one follows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from domain.validation import Disagreement


def find_disagreements(results: Sequence[tuple[str, str]]) -> list[Disagreement]:
    said = [(k, m[1], m[2], m[0]) for k, t in results for m in re.finditer(r"([a-z]+) is (\d+)", t)]
    return [
        Disagreement(agents=[a[0], b[0]], about=a[1], statements=[a[3], b[3]])
        for i, a in enumerate(said)
        for b in said[i + 1 :]
        if a[0] != b[0] and a[1] == b[1] and a[2] != b[2]
    ]
