"""The manifests in `deploy/kubernetes`, as far as they can be looked at without a cluster."""

from __future__ import annotations

import copy
import re
from typing import Final

import pytest

from service.settings import known_variables
from tests.deploy.files import (
    AGENT_VARIABLE,
    Document,
    containers,
    faults,
    kubernetes_schema,
    manifests,
    objects,
    own_services,
    pods,
)
from tests.deploy.test_compose import FOREIGN

ALL: Final = [pytest.param(d, id=f"{d['kind']}-{d['metadata']['name']}") for _, d in manifests()]
PODS: Final = [pytest.param(pod, id=name) for name, pod in pods()]
CONTAINERS: Final = [pytest.param(container, id=name) for name, container in containers()]
SERVING: Final = [p for p in CONTAINERS if p.id != "signalbox-upgrade"]


def check(document: Document) -> list[str]:
    return faults(kubernetes_schema(f"{document['apiVersion']}/{document['kind']}"), document)


@pytest.mark.parametrize("document", ALL)
def test_an_object_is_what_kubernetes_takes(document: Document) -> None:
    assert check(document) == []
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] == "signalbox"


def test_the_schema_finds_what_is_wrong() -> None:
    deployment = copy.deepcopy(objects("Deployment")[0])
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    assert check(deployment)
    deployment = copy.deepcopy(objects("Deployment")[0])
    deployment["spec"]["replicas"] = "two"
    assert check(deployment)


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_runs_as_nobody(pod: Document) -> None:
    spec = pod["spec"]
    security = spec["securityContext"]
    assert security["runAsNonRoot"]
    assert (security["runAsUser"], security["fsGroup"]) == (10001, 10001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    mounted = {m["name"] for c in spec["containers"] for m in c["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_bounded_and_confined(container: Document) -> None:
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    resources = container["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    # A limit of the processor would slow a process down that others could well let run.
    assert resources["limits"].keys() == {"memory"}
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("container", SERVING)
def test_a_process_is_looked_after(container: Document) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    # What is slow or degraded is taken out of the service, and restarted only where it does not answer at all.
    assert container["livenessProbe"]["httpGet"]["path"] != "/health/ready"
    assert container["readinessProbe"]["httpGet"]["path"] in {
        "/health/ready",
        "/health",
        "/metrics",
    }
    command = container["command"]
    if "--metrics-port" in command:
        assert int(command[-1]) == ports["metrics"]


def test_commands_and_image_are_those_of_the_compose_file() -> None:
    """Those run, wired as that file says, in `tests/e2e/test_compose.py`."""
    known = [service.get("command") for service in own_services().values()]
    images = {service["image"] for service in own_services().values()}
    for name, container in containers():
        assert container["command"] in known, name
        assert container["image"] in images, name


@pytest.mark.parametrize("container", CONTAINERS)
def test_secrets_are_only_named(container: Document) -> None:
    for variable in container["env"]:
        assert variable.keys() == {"name", "valueFrom"}
        assert variable["valueFrom"]["secretKeyRef"]["name"] == "signalbox"
    assert not objects("Secret")


def test_variables_are_settings() -> None:
    given = {e["name"] for _, container in containers() for e in container["env"]}
    for config in objects("ConfigMap"):
        given |= config["data"].keys()
        assert not re.search(r"://[^/]*:[^/]*@|sk-", str(config["data"]))
    unknown = {v for v in given - known_variables() - FOREIGN if not AGENT_VARIABLE.fullmatch(v)}
    assert not unknown
    maps = {config["metadata"]["name"] for config in objects("ConfigMap")}
    assert maps == {e["configMapRef"]["name"] for _, c in containers() for e in c["envFrom"]}


def labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "signalbox", "app.kubernetes.io/component": component}


def test_what_selects_pods_finds_some() -> None:
    templates = {name: pod["metadata"]["labels"] for name, pod in pods()}
    for deployment in objects("Deployment"):
        name = deployment["metadata"]["name"]
        assert deployment["spec"]["selector"]["matchLabels"] == templates[name]
        assert templates[name] == labels(name.removeprefix("signalbox-"))
    for service in objects("Service"):
        assert service["spec"]["selector"] == templates[service["metadata"]["name"]]
    for budget in objects("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == templates[budget["metadata"]["name"]]
        assert budget["spec"]["maxUnavailable"] == 1
    for policy in objects("NetworkPolicy"):
        wanted = policy["spec"]["podSelector"]
        found = wanted.get("matchLabels") or labels(wanted["matchExpressions"][0]["values"][0])
        assert found in templates.values()


def test_what_can_be_interrupted_has_a_budget_and_no_less_than_two() -> None:
    deployments = {d["metadata"]["name"]: d["spec"] for d in objects("Deployment")}
    budgets = {b["metadata"]["name"] for b in objects("PodDisruptionBudget")}
    assert budgets == deployments.keys()
    scaled = {
        h["spec"]["scaleTargetRef"]["name"]: h["spec"]["minReplicas"]
        for h in objects("HorizontalPodAutoscaler")
    }
    # An autoscaler and a number in the manifest would take turns.
    counted = {n: spec["replicas"] for n, spec in deployments.items() if "replicas" in spec}
    assert counted.keys() ^ scaled.keys() == deployments.keys()
    assert min([*counted.values(), *scaled.values()]) >= 2


def test_claims_and_services_that_are_named_are_there() -> None:
    claims = {claim["metadata"]["name"] for claim in objects("PersistentVolumeClaim")}
    for _, pod in pods():
        for volume in pod["spec"]["volumes"]:
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in claims
    services = {service["metadata"]["name"] for service in objects("Service")}
    for ingress in objects("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert path["backend"]["service"]["name"] in services
