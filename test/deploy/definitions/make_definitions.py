"""Cuts the definitions of Kubernetes, Knative, KEDA and KServe to what deploy/ uses, into definitions.json.

Every name of a level is kept, so that an unknown one can be told. What lies below a name that no manifest uses becomes
{"x-trimmed": true}: the test fails where a manifest comes to use such a name, and this script is then run again:

    pip install kubernetes-validate==1.37.0 pyyaml
    python make_definitions.py FOLDER

FOLDER has the files that SOURCES names, from the repositories and commits that stand there.
"""

import importlib.util
import json
import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).parent
DEPLOY = HERE.parents[2] / "deploy"
KUBERNETES = "1.37"

CORE = {
    "apps/v1 Deployment": "deployment-apps-v1.json",
    "v1 Service": "service-v1.json",
    "autoscaling/v2 HorizontalPodAutoscaler": "horizontalpodautoscaler-autoscaling-v2.json",
    "policy/v1 PodDisruptionBudget": "poddisruptionbudget-policy-v1.json",
    "networking.k8s.io/v1 NetworkPolicy": "networkpolicy-networking-v1.json",
}
SOURCES = {
    "serving.kserve.io_servingruntimes.yaml": "kserve/kserve aaac4e294dae2c7b1aa1886447793f3aa1c30912 config/crd/full",
    "serving.kserve.io_inferenceservices.yaml": "kserve/kserve aaac4e294dae2c7b1aa1886447793f3aa1c30912 config/crd/full",
    "serving.knative.dev_services.yaml": "knative/serving 98e5ef90aa7033797aa0a61ef97f3ff7e49a3944 "
    "config/core/300-resources/service.yaml",
    "keda.sh_scaledobjects.yaml": "kedacore/keda 8b4f083ca8c8c2baf8477e322bd4d16ac4dfa09a config/crd/bases",
}

# Parts that Knative does not define, with Kubernetes' definitions of them.
LEFT_OPEN = {
    "metadata": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    "emptyDir": "#/$defs/io.k8s.api.core.v1.EmptyDirVolumeSource",
}

TRIMMED = {"x-trimmed": True}
KEPT = {
    "type", "required", "enum", "const", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "oneOf", "anyOf", "allOf", "not", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def read_yaml(path):
    return list(yaml.load_all(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


class Core:
    """The definitions of Kubernetes itself, whose files refer to each other."""

    def __init__(self):
        package = pathlib.Path(importlib.util.find_spec("kubernetes_validate").origin).parent
        [self.folder] = [path.parent for path in package.rglob("deployment-apps-v1.json") if f"/v{KUBERNETES}" in str(path) and "strict" not in str(path)]

    def read(self, name):
        return json.loads((self.folder / pathlib.PurePath(name).name).read_text())

    def resolved(self, schema):
        while "$ref" in schema:
            file, _, pointer = schema["$ref"].partition("#")
            schema = self.read(file or "_definitions.json")
            for part in pointer.strip("/").split("/"):
                schema = schema[part] if part else schema
        return schema


def trimmed(schema, values, resolved, name=""):
    """Keeps of a definition what is needed to check these values of it."""
    if "x-kubernetes-preserve-unknown-fields" in schema and name in LEFT_OPEN:
        schema = {"$ref": LEFT_OPEN[name]}
    schema = resolved(schema)
    result = {name: value for name, value in schema.items() if name in KEPT}
    if "items" in schema:
        items = [item for value in values if isinstance(value, list) for item in value]
        result["items"] = trimmed(schema["items"], items, resolved)
    maps = [value for value in values if isinstance(value, dict)]
    if "properties" in schema:
        used = {name: [value[name] for value in maps if name in value] for name in schema["properties"]}
        result["properties"] = {
            name: trimmed(inner, used[name], resolved, name) if used[name] else TRIMMED
            for name, inner in schema["properties"].items()
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        inner = [item for value in maps for item in value.values()]
        result["additionalProperties"] = trimmed(schema["additionalProperties"], inner, resolved)
    return result


def main(folder):
    core = Core()
    manifests = [
        manifest
        for path in sorted(DEPLOY.rglob("*.yaml"))
        if path.name != "kustomization.yaml" and path.parent.name != "behind-a-mesh"
        for manifest in read_yaml(path)
    ]
    values = lambda kind: [one for one in manifests if f"{one['apiVersion']} {one['kind']}" == kind]
    definitions = {kind: trimmed(core.read(file), values(kind), core.resolved) for kind, file in CORE.items()}
    object_meta = core.read(CORE["v1 Service"])["properties"]["metadata"]
    for file in SOURCES:
        definition = read_yaml(pathlib.Path(folder, file))[0]["spec"]
        version = next(one for one in definition["versions"] if one["served"] and one.get("storage", True))
        kind = f"{definition['group']}/{version['name']} {definition['names']['kind']}"
        schema = version["schema"]["openAPIV3Schema"]
        schema = {**schema, "properties": {**schema["properties"], "metadata": object_meta}}
        definitions[kind] = trimmed(schema, values(kind), core.resolved)
    sources = [f"Kubernetes {KUBERNETES}, by kubernetes-validate of PyPI", *(f"{name}: {SOURCES[name]}" for name in SOURCES)]
    output = {"licence": "Apache License 2.0: LICENSE.txt", "sources": sources, "definitions": definitions}
    (HERE / "definitions.json").write_text(json.dumps(output, separators=(",", ":")) + "\n")


main(*sys.argv[1:])
