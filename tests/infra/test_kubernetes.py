"""The Kubernetes deployment against the project: which jobs it starts, what they may do, and how they are watched."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.parts import JOBS
from docs.reference import ROOT, settings
from infra.kubernetes.checking import FOLDER, faults, kubernetes_schemas
from schemas.catalogue import CATALOGUE
from tests.infra.test_containers import SERVICES

KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    item for name in KUSTOMIZATION["resources"] for item in yaml.safe_load_all((FOLDER / name).read_text())
]
RUNNING = [item for item in OBJECTS if item["kind"] in {"Deployment", "StatefulSet"}]
POD = yaml.safe_load((FOLDER / "pod.yaml").read_text())["spec"]["template"]["spec"]
SCALED = {item["metadata"]["name"]: item["spec"] for item in OBJECTS if item["kind"] == "ScaledObject"}


def container(item: dict[str, Any]) -> dict[str, Any]:
    (found,) = item["spec"]["template"]["spec"]["containers"]
    assert found["name"] == "job", "pod.yaml is laid over the container of this name"
    return dict(found)


def test_every_job_of_the_stack_but_the_inbox_runs_with_the_same_command() -> None:
    commands = {item["metadata"]["name"]: tuple(container(item)["args"][1:]) for item in RUNNING}
    assert commands == {name: command for name, command in JOBS.items() if name != "inbox"}


def test_what_runs_is_selected_by_its_own_labels_and_bounded() -> None:
    for item in OBJECTS:
        if item["kind"] in {"Deployment", "StatefulSet", "Job"}:
            labels = {"app.kubernetes.io/name": item["metadata"]["name"]}
            assert item["spec"]["template"]["metadata"]["labels"] == labels
            assert item["kind"] == "Job" or item["spec"]["selector"]["matchLabels"] == labels
            resources = container(item)["resources"]
            assert resources["requests"]["memory"]
            assert resources["requests"]["cpu"]
            assert "cpu" not in resources["limits"], (
                "a bound of CPU slows a job down while the machine is idle"
            )


def test_memory_is_that_of_the_containers() -> None:
    for item in RUNNING:
        limit = container(item)["resources"]["limits"]["memory"].removesuffix("i").lower()
        assert limit == SERVICES[item["metadata"]["name"]]["mem_limit"]


def test_nobody_is_root_and_nothing_writes_to_its_image() -> None:
    (job,) = POD["containers"]
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["runAsUser"] == 10001
    assert not POD["automountServiceAccountToken"]
    assert job["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    targets = {(patch["path"], patch["target"]["kind"]) for patch in KUSTOMIZATION["patches"]}
    assert {("pod.yaml", kind) for kind in ("Deployment", "StatefulSet", "Job")} <= targets


def test_every_job_is_asked_how_it_is() -> None:
    for item in RUNNING:
        by_metrics = item["kind"] == "StatefulSet" or item["metadata"]["labels"].get("probed") == "by-metrics"
        own = {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container(item))
        assert by_metrics != own, item["metadata"]["name"]


def test_workers_have_names_of_their_own_and_are_scaled_by_the_lag_of_their_group() -> None:
    workers = {item["metadata"]["name"] for item in RUNNING if item["kind"] == "StatefulSet"}
    assert set(SCALED) <= workers
    for item in RUNNING:
        named = [entry["name"] for entry in container(item).get("env", [])]
        assert named == (["HEADRACE_STREAM__WORKER"] if item["kind"] == "StatefulSet" else [])
    partitions = dict(line.split("=") for line in (FOLDER / "settings.env").read_text().splitlines())
    for name, spec in SCALED.items():
        assert spec["scaleTargetRef"] == {"kind": "StatefulSet", "name": name}
        assert spec["maxReplicaCount"] == int(partitions["HEADRACE_SALES_PARTITIONS"])
        (trigger,) = spec["triggers"]
        assert trigger["metadata"]["consumerGroup"] == name
        assert trigger["metadata"]["topic"] in CATALOGUE


def test_every_setting_that_is_given_exists() -> None:
    known = set(re.findall(r"`(HEADRACE_[A-Z0-9_]+)`", settings()))
    for path in FOLDER.glob("*.*"):
        for name in re.findall(r"HEADRACE_[A-Z0-9_]+", path.read_text()):
            assert name in known or name.startswith("HEADRACE_KAFKA__"), f"{path.name}: {name} is no setting"


def test_the_image_is_of_this_version() -> None:
    (version,) = re.findall(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text())
    assert KUSTOMIZATION["images"] == [{"name": "headrace", "newTag": version}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replicaz": 2}, "replicaz"),
        ({"replicas": "two"}, "is not of type"),
        ({"template": None}, "template"),
    ],
)
def test_the_check_finds_what_a_schema_does_not_allow(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    spec = {"type": "object", "properties": {"replicas": {"type": "integer"}, "template": {"type": "object"}}}
    kind = {"group": "apps", "version": "v1", "kind": "Deployment"}
    thing = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("apiVersion", "kind")}
        | {"metadata": {"type": "object"}, "spec": {"$ref": "#/definitions/spec"}},
        "x-kubernetes-group-version-kind": [kind],
    }
    (tmp_path / "api" / "openapi-spec").mkdir(parents=True)
    swagger = tmp_path / "api" / "openapi-spec" / "swagger.json"
    swagger.write_text(json.dumps({"definitions": {"thing": thing, "spec": spec}}))
    schemas = kubernetes_schemas(tmp_path)
    good = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 1}}
    assert list(faults(good, schemas)) == []
    (found,) = faults({**good, "spec": {**good["spec"], **change}}, schemas)  # type: ignore[dict-item]
    assert words in found
    assert list(faults({**good, "kind": "Nothing"}, schemas))
