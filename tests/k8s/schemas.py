"""Strict schemas of Kubernetes' own kinds in several versions, and of custom resources."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.k8s.objects import Object

VERSIONS = ("1.31", "1.34", "1.37")
"""The oldest has podFailurePolicy as a stable feature; backoffLimitPerIndex is on in all."""
CUSTOM = Path(__file__).with_name("schemas")
METADATA = {"name", "namespace", "labels", "annotations"}


def problems(item: Object, version: str) -> Iterator[str]:
    """Yield what a strict API server of this version would refuse; a kind without a schema is refused too."""
    place = f"{item.get('kind')} {item.get('metadata', {}).get('name')}"
    validator = _builtin(version, item["kind"], item["apiVersion"]) or _custom(item["kind"], item["apiVersion"])
    if validator is None:
        yield f"{place}: no schema for {item['apiVersion']} in {version}"
        return
    for error in validator.iter_errors(item):
        yield f"{place}: {error.json_path}: {error.message}"
    for inner in _jobs_inside(item):
        yield from (f"{place}: {problem}" for problem in problems(inner, version))


def _jobs_inside(item: Object) -> Iterator[Object]:
    """Yield the Jobs that a controller would create from a custom resource; Kubernetes' own schema is stricter."""
    template = item["spec"].get("template", item) if item["kind"] == "TrainingRuntime" else item
    for job in template["spec"].get("replicatedJobs", []):
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": job["name"]},
            "spec": job["template"]["spec"],
        }


@cache
def _builtin(version: str, kind: str, api_version: str) -> Draft202012Validator | None:
    """Return kubernetes-validate's schema of a kind."""
    group, _, short = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], short) if part)
    file = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict" / f"{name}.json"
    if not file.is_file():
        return None
    schema = Resource.from_contents(json.loads(file.read_text()))
    return Draft202012Validator(schema.contents, registry=schema @ _definitions(version))


@cache
def _definitions(version: str) -> Registry[Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ Registry()


@cache
def _custom(kind: str, api_version: str) -> Draft202012Validator | None:
    file = CUSTOM / f"{api_version.replace('/', '-')}-{kind.lower()}.json"
    if not file.is_file():
        return None
    schema = _strict(json.loads(file.read_text()))
    schema["properties"]["metadata"] = {"additionalProperties": False, "properties": {key: {} for key in METADATA}}
    return Draft202012Validator(schema)


def _strict(schema: Any) -> Any:
    """Return the schema with unknown fields refused, which an API server would drop."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _strict(value) for key, value in schema.items()}
    if isinstance(inner.get("properties"), dict) and "additionalProperties" not in inner:
        inner["additionalProperties"] = bool(inner.get("x-kubernetes-preserve-unknown-fields", False))
    return inner
