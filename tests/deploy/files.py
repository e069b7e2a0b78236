"""The files that deploy the product, read as what reads them would."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "docker-compose.yml"
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
SCHEMAS: Final = Path(__file__).parent / "schemas"

AGENT_VARIABLE: Final = re.compile(r"SIGNALBOX_AGENT_([A-Z]+_URL|SECRET)")

_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+):-([^}]*)\}")

Document = dict[str, Any]


@functools.cache
def compose() -> Document:
    """Return the compose file, its anchors and merges resolved."""
    document: Document = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return document


def services(profile: str | None = None) -> dict[str, Document]:
    """Return the services that a profile adds; without one those that are always there."""
    wanted = [profile] if profile else []
    return {
        name: service
        for name, service in compose()["services"].items()
        if service.get("profiles", []) == wanted
    }


def own_services() -> dict[str, Document]:
    """Return the services that run the product's image."""
    return {n: s for n, s in compose()["services"].items() if s["image"].startswith("signalbox:")}


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """Return a text with its variables put in, as compose does."""
    return _VARIABLE.sub(lambda found: given.get(found[1]) or found[2], text)


@functools.cache
def manifests() -> tuple[tuple[str, Document], ...]:
    """Return every Kubernetes object with the name of its file."""
    return tuple(
        (path.name, document)
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    )


def objects(*kinds: str) -> list[Document]:
    """Return the Kubernetes objects of these kinds."""
    return [document for _, document in manifests() if document["kind"] in kinds]


def pods() -> Iterator[tuple[str, Document]]:
    """Yield the template of each pod by the name of what makes it."""
    for made in objects("Deployment", "Job"):
        yield made["metadata"]["name"], made["spec"]["template"]


def containers() -> Iterator[tuple[str, Document]]:
    """Yield each container by the name of what makes its pod."""
    for name, pod in pods():
        for container in pod["spec"]["containers"]:
            yield name, container


@functools.cache
def compose_schema() -> Validator:
    """Return what checks a compose file: the compose specification's own schema, without its descriptions."""
    return Draft202012Validator(json.loads((SCHEMAS / "compose-spec.json").read_text()))


@functools.cache
def kubernetes_schema(kind: str) -> Validator:
    """Return what checks an object, `kind` as in `apps/v1/Deployment`: Kubernetes' own schemas of the kinds that are
    used, which take no field that is not known."""
    found = json.loads((SCHEMAS / "kubernetes-1.37.json").read_text())
    reference = {"$ref": f"#/$defs/{found['kinds'][kind]}", "$defs": found["$defs"]}
    return Draft202012Validator(reference)


def faults(validator: Validator, document: Document) -> list[str]:
    """Return what a schema says against a document."""
    return [
        f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)
    ]
