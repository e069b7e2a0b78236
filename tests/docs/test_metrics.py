"""The page of metrics is the code's, and what is shipped for Prometheus and Grafana names what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from monitoring.metrics import Family, Metrics
from tests.conftest import ROOT
from tests.docs.metrics_page import PAGE, write

FOLDER: Final = ROOT / "deploy" / "observability"
FAMILIES: Final = {f.name: f for f in Metrics(agents=(), tools=()).families}
_NAME: Final = re.compile(r"\bsignalbox_\w+")
_MATCHER: Final = re.compile(r"\b(signalbox_\w+)\{(\w+)=")
_BY: Final = re.compile(r"\bby \(([^)]*)\) \([^()]*\(?(signalbox_\w+)")


def family(name: str) -> Family | None:
    """Return what a name in an expression is about."""
    plain = re.sub(r"_(bucket|count|sum)$", "", name)
    found = FAMILIES.get(name) or FAMILIES.get(plain)
    return found if found and (name == found.name or found.kind == "histogram") else None


def expressions() -> Iterator[tuple[str, str]]:
    """Yield where an expression stands, and the expression."""
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_the_page_has_what_is_counted() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == write(page), "run `python -m tests.docs.metrics_page`"


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_what_is_shipped_names_what_there_is(where: str, expression: str) -> None:
    """Metrics, and the labels that are asked for."""
    names = _NAME.findall(expression)
    assert names, where
    for name in names:
        assert family(name), name
    for name, label in _MATCHER.findall(expression):
        found = family(name)
        assert found, name
        assert label in found.labels, (name, label)
    for labels, name in _BY.findall(expression):
        found = family(name)
        assert found, name
        assert {each.strip() for each in labels.split(",")} <= {*found.labels, "le"}, (name, labels)


def test_everything_that_is_counted_is_on_the_dashboard() -> None:
    """What nobody looks at need not be counted."""
    shown = {
        found.name for _, text in expressions() for n in _NAME.findall(text) if (found := family(n))
    }
    assert shown == FAMILIES.keys()


def test_prometheus_reads_the_rules_beside_it() -> None:
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert [(FOLDER / name).is_file() for name in settings["rule_files"]] == [True]
    assert [job["job_name"] for job in settings["scrape_configs"]] == [
        "signalbox",
        "signalbox-worker",
    ]
