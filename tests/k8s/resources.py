"""Checks of the resources of a pod: CPUs, memory, disk, GPUs, claims."""

import re
from collections.abc import Iterator
from decimal import Decimal

from tests.k8s.objects import Object, Workload, workloads

SUFFIXES = {"": Decimal(1), "m": Decimal("0.001")}
SUFFIXES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGT", start=1)}
SUFFIXES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGT", start=1)}
GPU = "nvidia.com/gpu"
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
NEEDED = {"cpu", "memory", "ephemeral-storage"}
PROVIDED = {
    "imagenet-source": "ImageNet cannot be downloaded without an account, so the user provides it",
    "cifar10-out": "TensorBoard shows the runs of a job; deleting its file must not delete them",
}
"""Claims that a file reads but does not create, and why."""


def quantity(text: str | int) -> Decimal:
    """Read a quantity of Kubernetes in its base unit. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(text))
    if not match or match[2] not in SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity")
    return Decimal(match[1]) * SUFFIXES[match[2]]


def quantities(objects: list[Object]) -> Iterator[str]:
    """Every quantity is valid and positive; the schemas accept any text."""
    for place, text in _quantities(objects):
        try:
            if quantity(text) <= 0:
                yield f"{place}: {text} is nothing"
        except ValueError as error:
            yield f"{place}: {error}"


def bounded(objects: list[Object]) -> Iterator[str]:
    """Every container requests CPUs, memory and disk within its limits; its GPUs are an integer, the same in both."""
    for work in workloads(objects):
        for container in work.containers:
            place = f"{work.name}/{container['name']}"
            requests, limits = (container.get("resources", {}).get(key, {}) for key in ("requests", "limits"))
            yield from (f"{place}: no {name} in requests" for name in sorted(NEEDED - requests.keys()))
            yield from (f"{place}: no limit of {name}" for name in sorted((NEEDED | requests.keys()) - limits.keys()))
            for name in requests.keys() & limits.keys():
                if quantity(requests[name]) > quantity(limits[name]):
                    yield f"{place}: {name}: requests {requests[name]}, limit {limits[name]}"
            if requests.get(GPU) != limits.get(GPU) or not str(limits.get(GPU, "1")).isdecimal():
                yield f"{place}: {GPU}: requests {requests.get(GPU)}, limit {limits.get(GPU)}"


def shared_memory(objects: list[Object]) -> Iterator[str]:
    """A container with GPUs has /dev/shm in memory, which takes at most half of its memory limit."""
    for work in workloads(objects):
        for container in work.containers:
            place = f"{work.name}/{container['name']}"
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            shm = work.volumes.get(mounts.get("/dev/shm", ""), {}).get("emptyDir", {})
            if GPU in container["resources"]["limits"] and shm.get("medium") != "Memory":
                yield f"{place}: /dev/shm is no emptyDir in memory"
            if 2 * quantity(shm.get("sizeLimit", 0)) > quantity(container["resources"]["limits"]["memory"]):
                yield f"{place}: /dev/shm may take {shm['sizeLimit']} of {container['resources']['limits']['memory']}"


def unseen(objects: list[Object]) -> Iterator[str]:
    """A container without GPUs sees none; the image's default is all, which would show it GPUs of others."""
    for work in workloads(objects):
        for container in work.containers:
            wanted = None if GPU in container["resources"]["limits"] else "void"
            if (found := work.env(container).get(VISIBLE, {}).get("value")) != wanted:
                yield f"{work.name}/{container['name']}: {VISIBLE} is {found}, not {wanted}"


def scratch(objects: list[Object]) -> Iterator[str]:
    """Every emptyDir has a size limit, and those on disk together fit into the container's ephemeral storage."""
    for work in workloads(objects):
        folders = {name: volume["emptyDir"] for name, volume in work.volumes.items() if "emptyDir" in volume}
        unbounded = [name for name, folder in folders.items() if "sizeLimit" not in folder]
        yield from (f"{work.name}: volume {name} has no sizeLimit" for name in unbounded)
        sizes = [quantity(one.get("sizeLimit", 0)) for one in folders.values() if one.get("medium") != "Memory"]
        if sum(sizes) >= quantity(work.main["resources"]["limits"]["ephemeral-storage"]):
            yield f"{work.name}: its emptyDirs hold more than the limit of ephemeral-storage"


def claims(objects: list[Object]) -> Iterator[str]:
    """Claims are in the file, or provided and only read; all are used; those that pods share are ReadWriteMany."""
    made = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "PersistentVolumeClaim"}
    used: dict[str, int] = {}
    for work in workloads(objects):
        for name in _claims(work):
            used[name] = used.get(name, 0) + pods_at_once(work)
    foreign = used.keys() - made.keys()
    written = {name for work in workloads(objects) for name in _written(work)}
    yield from (f"claim {name} is not in this file" for name in foreign - PROVIDED.keys() | foreign & written)
    yield from (f"claim {name} is used by nobody" for name in made.keys() - used.keys())
    for name in used.keys() & made.keys():
        if used[name] > 1 and made[name]["accessModes"] != ["ReadWriteMany"]:
            yield f"claim {name}: {used[name]} pods at once, but it is {made[name]['accessModes']}"


def pods_at_once(work: Workload) -> int:
    return int(work.spec.get("replicas" if work.kind == "Deployment" else "parallelism", 1))


def _claims(work: Workload) -> set[str]:
    found = (volume.get("persistentVolumeClaim", {}).get("claimName") for volume in work.volumes.values())
    return {name for name in found if name}


def _written(work: Workload) -> set[str]:
    """Return the claims to which a container of the workload can write."""
    mounts = [mount for part in work.containers for mount in part.get("volumeMounts", []) if not mount.get("readOnly")]
    volumes = [work.volumes.get(mount["name"], {}) for mount in mounts]
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def _quantities(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for work in workloads(objects):
        for container in work.containers:
            for part, row in container.get("resources", {}).items():
                yield from ((f"{work.name}/{container['name']}: {part}.{name}", text) for name, text in row.items())
        for name, volume in work.volumes.items():
            if "sizeLimit" in volume.get("emptyDir", {}):
                yield f"{work.name}: volume {name}", volume["emptyDir"]["sizeLimit"]
    for one in objects:
        if one["kind"] == "PersistentVolumeClaim":
            yield f"claim {one['metadata']['name']}", one["spec"]["resources"]["requests"]["storage"]
