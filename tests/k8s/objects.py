"""The objects in the rendered files, and the workloads among them, which create pods."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests import ROOT

K8S = ROOT / "k8s"
FILES = sorted(path.name for path in K8S.glob("[!.]*.yaml"))

Object = dict[str, Any]
INDEX = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}


@cache
def text_of(name: str) -> str:
    return (K8S / name).read_text()


def load(name: str) -> list[Object]:
    """Return a copy of the objects of a rendered file."""
    return deepcopy(_parsed(name))


@cache
def _parsed(name: str) -> list[Object]:
    return list(yaml.load_all(text_of(name), yaml.CSafeLoader))


@dataclass(frozen=True)
class Workload:
    """An object that creates pods: a Deployment, a Job, or a Job inside a JobSet or a TrainingRuntime."""

    name: str
    """The name of its pods without their index."""
    kind: str
    """Deployment or Job."""
    owner: Object
    """The object in the file that contains it."""
    spec: Object
    subdomain: str | None
    """The DNS subdomain of the pods."""
    added: tuple[Object, ...] = ()
    """Variables that a controller adds to the main container."""

    @property
    def template(self) -> Object:
        return self.spec["template"]

    @property
    def labels(self) -> dict[str, str]:
        return self.template["metadata"]["labels"]

    @property
    def pod(self) -> Object:
        return self.template["spec"]

    @property
    def containers(self) -> list[Object]:
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def main(self) -> Object:
        return self.pod["containers"][0]

    @property
    def volumes(self) -> dict[str, Object]:
        return {volume["name"]: volume for volume in self.pod.get("volumes", [])}

    def env(self, container: Object) -> dict[str, Object]:
        added = self.added if container is self.main else ()
        return {variable["name"]: variable for variable in [*container.get("env", []), *added]}

    def value(self, name: str) -> str | None:
        """Return the value of a variable of the main container; None if it is absent or computed."""
        return self.env(self.main).get(name, {}).get("value")


def workloads(objects: list[Object]) -> list[Workload]:
    return [one for item in objects if item["kind"] in MAKERS for one in MAKERS[item["kind"]](item, objects)]


def _plain(item: Object, objects: list[Object]) -> Iterator[Workload]:
    spec = item["spec"]
    yield Workload(item["metadata"]["name"], item["kind"], item, spec, spec["template"]["spec"].get("subdomain"))


def _job_set(item: Object, objects: list[Object]) -> Iterator[Workload]:
    name, spec = item["metadata"]["name"], item["spec"]
    subdomain = spec.get("network", {}).get("subdomain", name)
    for job in spec["replicatedJobs"]:
        yield Workload(f"{name}-{job['name']}-0", "Job", item, job["template"]["spec"], subdomain)


def _runtime(item: Object, objects: list[Object]) -> Iterator[Workload]:
    """Yield what Kubeflow Trainer creates from a runtime and its TrainJob (pkg/runtime/framework/plugins/torch)."""
    for train in (one for one in objects if one["kind"] == "TrainJob"):
        if train["spec"]["runtimeRef"]["name"] != item["metadata"]["name"]:
            continue
        name, trainer = train["metadata"]["name"], train["spec"]["trainer"]
        added = (
            {"name": "PET_NNODES", "value": str(trainer["numNodes"])},
            {"name": "PET_NPROC_PER_NODE", "value": str(trainer.get("numProcPerNode", "auto"))},
            {"name": "PET_NODE_RANK", "valueFrom": INDEX},
            {"name": "PET_MASTER_ADDR", "value": f"{name}-node-0-0.{name}"},
            {"name": "PET_MASTER_PORT", "value": "29500"},
        )
        for job in item["spec"]["template"]["spec"]["replicatedJobs"]:
            spec = job["template"]["spec"]
            yield Workload(f"{name}-{job['name']}-0", "Job", item, spec, name, added if job["name"] == "node" else ())


MAKERS = {"Job": _plain, "Deployment": _plain, "JobSet": _job_set, "TrainingRuntime": _runtime}
