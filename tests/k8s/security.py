"""Checks of the rights of a pod: the pod security standard "restricted" for every container, and more."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.objects import Object, workloads

POD = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "fsGroupChangePolicy": "OnRootMismatch",
}
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SHARED = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostAliases")
VOLUMES = {"persistentVolumeClaim", "emptyDir"}


def restricted(objects: list[Object]) -> Iterator[str]:
    """No container is root, gains privileges, writes to the root file system or sees the host."""
    for work in workloads(objects):
        context = work.pod.get("securityContext", {})
        yield from _differing(f"{work.name}: securityContext", context, POD)
        for key in ("runAsUser", "runAsGroup", "fsGroup"):
            if not isinstance(context.get(key), int) or context[key] < 1000:
                yield f"{work.name}: securityContext.{key} is {context.get(key)}, not a number of no system user"
        yield from (f"{work.name}: {key} is set" for key in SHARED if work.pod.get(key))
        for container in work.containers:
            place = f"{work.name}/{container['name']}"
            own = container.get("securityContext", {})
            yield from _differing(place, own, CONTAINER)
            yield from (f"{place}: {key} is set for one container" for key in own.keys() - CONTAINER.keys())
            yield from (f"{place}: hostPort" for port in container.get("ports", []) if "hostPort" in port)


def no_credentials(objects: list[Object]) -> Iterator[str]:
    """A pod gets no token of the API server, and no variables of services that it does not use."""
    for work in workloads(objects):
        for key in ("automountServiceAccountToken", "enableServiceLinks"):
            if work.pod.get(key) is not False:
                yield f"{work.name}: {key} is not false"


def writable(objects: list[Object]) -> Iterator[str]:
    """Every container has a /tmp, since its root is read-only; no volume is from the host."""
    for work in workloads(objects):
        for name, volume in work.volumes.items():
            yield from (f"{work.name}: volume {name} is a {kind}" for kind in volume.keys() - VOLUMES - {"name"})
        for container in work.containers:
            mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
            if "emptyDir" not in work.volumes.get(mounts.get("/tmp", {}).get("name"), {}):
                yield f"{work.name}/{container['name']}: /tmp is no emptyDir"


def read_only(objects: list[Object]) -> Iterator[str]:
    """Volumes that are only read are mounted read-only: the runs of TensorBoard, the source of a preparation."""
    for work in workloads(objects):
        for container in work.containers:
            for mount in container.get("volumeMounts", []):
                looks = mount["mountPath"] == "/source" or container["args"][0] == "tensorboard"
                if looks and mount["mountPath"] != "/tmp" and not mount.get("readOnly"):
                    yield f"{work.name}/{container['name']}: {mount['mountPath']} is not readOnly"


def fenced(objects: list[Object]) -> Iterator[str]:
    """Every pod has a NetworkPolicy; without it any pod could connect to torch's store or TensorBoard."""
    fences = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    for work in workloads(objects):
        if not any(_matches(fence, work.labels) for fence in fences):
            yield f"{work.name}: no NetworkPolicy selects its pods"


def _matches(fence: Object, labels: dict[str, str]) -> bool:
    wanted = fence["podSelector"].get("matchLabels", {})
    return bool(wanted) and "Ingress" in fence["policyTypes"] and wanted.items() <= labels.items()


def _differing(place: str, found: Object, wanted: dict[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if found.get(key) != value:
            yield f"{place}: {key} is {found.get(key)}, not {value}"
