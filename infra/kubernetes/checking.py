"""Checks of the Kubernetes deployment by those who will read it: kustomize, and the schemas of Kubernetes and KEDA.

kustomize is built by Go on first use, in the cache folder of the user; the schemas lie in the Go modules of Kubernetes
and KEDA. No cluster is needed. A field that a schema does not know is an error, as to `kubectl --validate=strict`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from infra.errors import MissingPartError
from infra.servers.installing import installed, program, run
from infra.settings import load_settings

FOLDER = Path(__file__).parent
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.0"
KUBERNETES = "k8s.io/kubernetes@v1.34.2"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
_OPEN = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
}
"""Types that the schemas name as texts and that may be numbers as well."""

Schema = dict[str, Any]


def main() -> None:
    """Render the base and look at every object; the first line for each that is not as its schema says."""
    try:
        objects = rendered(kustomize_program(load_settings().cache))
        schemas = {**kubernetes_schemas(_module(KUBERNETES)), **keda_schemas(_module(KEDA))}
    except MissingPartError as error:
        sys.exit(str(error))
    found = [text for item in objects for text in faults(item, schemas)]
    for text in found:
        print(text)
    if found:
        sys.exit(1)
    print(f"{len(objects)} objects are as Kubernetes and KEDA want them")


def kustomize_program(cache: Path) -> Path:
    """kustomize, built on first use.

    Raises:
        MissingPartError: There is no Go, or it cannot build it.
    """

    def install(folder: Path) -> None:
        go = program("go", "to build kustomize (https://go.dev/dl)")
        run([go, "install", KUSTOMIZE], {**os.environ, "GOBIN": str(folder)})

    return installed(cache / f"kustomize-{KUSTOMIZE.rpartition('@')[2]}", install) / "kustomize"


def rendered(kustomize: Path) -> list[dict[str, Any]]:
    """The objects of the base, as `kubectl apply` gets them."""
    done = subprocess.run([kustomize, "build", FOLDER], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingPartError(f"kustomize build {FOLDER}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def faults(item: dict[str, Any], schemas: dict[str, Schema]) -> Iterator[str]:
    """What is not as the schema of an object's kind says.

    Args:
        item: The object.
        schemas: By API version and kind.
    """
    kind, name = f"{item['apiVersion']} {item['kind']}", item["metadata"]["name"]
    if kind not in schemas:
        yield f"{name}: {kind} is known to neither {KUBERNETES} nor {KEDA}"
        return
    for error in Draft202012Validator(schemas[kind]).iter_errors(item):
        yield f"{kind} {name}: {'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


def kubernetes_schemas(module: Path) -> dict[str, Schema]:
    """The schemas of Kubernetes' own kinds."""
    definitions = json.loads((module / "api" / "openapi-spec" / "swagger.json").read_text())["definitions"]
    closed = {name: _closed(_OPEN.get(name, schema)) for name, schema in definitions.items()}
    found = {}
    for name, schema in closed.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            version = "/".join(part for part in (kind["group"], kind["version"]) if part)
            found[f"{version} {kind['kind']}"] = {"$ref": f"#/definitions/{name}", "definitions": closed}
    return found


def keda_schemas(module: Path) -> dict[str, Schema]:
    """The schemas of KEDA's kinds."""
    found = {}
    for path in (module / "config" / "crd" / "bases").glob("keda.sh_*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{spec['group']}/{version['name']} {spec['names']['kind']}"] = schema
    return found


def _closed(schema: Any) -> Any:
    """A schema in which an object has no fields but those that are named."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(item) for name, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type", "object") == "object":
        closed.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
    return closed


def _module(name: str) -> Path:
    """The folder of a Go module, fetched on first use."""
    go = program("go", "to fetch the schemas (https://go.dev/dl)")
    done = subprocess.run([go, "mod", "download", "-json", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingPartError(f"go mod download {name}: {(done.stderr or done.stdout).strip()}")
    return Path(json.loads(done.stdout)["Dir"])


if __name__ == "__main__":
    main()
