"""The table of docs/metrics.md: `python -m tests.docs.metrics_page` writes it anew."""

from __future__ import annotations

from typing import Final

from monitoring.metrics import Metrics
from tests.conftest import ROOT

PAGE: Final = ROOT / "docs" / "metrics.md"
BEGIN: Final = "<!-- begin: written by `python -m tests.docs.metrics_page` -->\n"
END: Final = "<!-- end -->\n"


def table() -> str:
    """Return what there is to read, by name."""
    lines = ["| Name | Kind | Labels | What it is |", "|---|---|---|---|"]
    for family in Metrics(agents=(), tools=()).families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.about} |")
    return "\n".join(lines) + "\n"


def write(page: str) -> str:
    """Return the page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
