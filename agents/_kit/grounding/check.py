"""A first, rough check of numbers; the whole one follows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domain.agent import Citation
from domain.validation import Fault


@dataclass(frozen=True, kw_only=True)
class Evidence:
    outputs: Sequence[str]
    programs: Sequence[str] = ()
    given: str = ""
    results: str = ""
    citations: Sequence[Citation] = ()
    pages: Mapping[int, str] = field(default_factory=dict)


def find_faults(agent: str, output: str, evidence: Evidence) -> list[Fault]:
    known = " ".join([*evidence.outputs, evidence.given, evidence.results])
    return [
        Fault(agent=agent, kind="number", text=n, reason=f"No tool yielded {n}.")
        for n in re.findall(r"\d{3,}", output)
        if n not in known
    ]
