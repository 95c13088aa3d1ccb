"""Checks of references: images, ports, selectors, volumes, labels, variables."""

import configparser
import re
from collections import Counter
from collections.abc import Iterator

from tests.k8s.objects import ROOT, Object, workloads

IMAGE = "ghcr.io/smpl-pipeline/smpl-train"
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "part-of", "component")}
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST = 63
REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def version() -> str:
    """The project's version."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup["metadata"]["version"]


def images(objects: list[Object]) -> Iterator[str]:
    """All containers run this version of one image, which is not pulled if the node has it."""
    for work in workloads(objects):
        for container in work.containers:
            if container["image"] != f"{IMAGE}:{version()}":
                yield f"{work.name}/{container['name']}: image {container['image']}, not {IMAGE}:{version()}"
            if container.get("imagePullPolicy") != "IfNotPresent":
                yield f"{work.name}/{container['name']}: imagePullPolicy is not IfNotPresent"


def names(objects: list[Object]) -> Iterator[str]:
    """Names are unique DNS labels, also the names of pods and hosts with their suffixes."""
    given = Counter((one["kind"], one["metadata"]["name"]) for one in objects)
    yield from (f"{kind} {name} is there {count} times" for (kind, name), count in given.items() if count > 1)
    pods = [f"{work.name}-{work.spec.get('completions', 1)}-abcde" for work in workloads(objects)]
    parts = [part["name"] for work in workloads(objects) for part in [*work.containers, *work.volumes.values()]]
    for name in [*(name for _, name in given), *pods, *parts]:
        if not DNS_LABEL.fullmatch(name) or len(name) > LONGEST:
            yield f"{name} is no DNS label of at most {LONGEST} characters"


def labels(objects: list[Object]) -> Iterator[str]:
    """Objects and pods have the standard labels, with one instance per file and this version."""
    places = [(f"{one['kind']} {one['metadata']['name']}", one["metadata"].get("labels", {})) for one in objects]
    places += [(f"pods of {work.name}", work.labels) for work in workloads(objects)]
    for place, found in places:
        yield from (f"{place}: no label {name}" for name in sorted(LABELS - found.keys()))
        if found.get("app.kubernetes.io/version") not in {None, version()}:
            yield f"{place}: version {found['app.kubernetes.io/version']}, not {version()}"
    if len(instances := {found.get("app.kubernetes.io/instance") for _, found in places}) > 1:
        yield f"several instances in one file: {instances}"


def selectors(objects: list[Object]) -> Iterator[str]:
    """Every selector selects pods of the same file."""
    pods = [work.labels for work in workloads(objects)]
    for one in objects:
        for path, wanted in _selectors(one):
            if not any(wanted.items() <= found.items() for found in pods):
                yield f"{one['kind']} {one['metadata']['name']}: {path} matches no pod of this file"


def _selectors(item: Object) -> Iterator[tuple[str, dict[str, str]]]:
    spec = item.get("spec", {})
    if item["kind"] == "Service":
        yield "selector", spec["selector"]
    if item["kind"] == "Deployment":
        yield "selector", spec["selector"]["matchLabels"]
    if item["kind"] == "NetworkPolicy":
        sources = [source for rule in spec.get("ingress", []) for source in rule.get("from", [])]
        for selector in [spec["podSelector"], *(source["podSelector"] for source in sources)]:
            yield "podSelector", selector.get("matchLabels", {})


def ports(objects: list[Object]) -> Iterator[str]:
    """Every port that a Service, a probe or a policy names is a port of a container in the file."""
    works = workloads(objects)
    known = {port["name"] for work in works for part in work.containers for port in part.get("ports", [])}
    for one in objects:
        rules = one["spec"].get("ingress", []) if one["kind"] == "NetworkPolicy" else []
        named = [port["port"] for rule in rules for port in rule.get("ports", [])]
        named += [port["targetPort"] for port in one["spec"]["ports"]] if one["kind"] == "Service" else []
        yield from (f"{one['kind']} {one['metadata']['name']}: no port {name}" for name in named if name not in known)
    for work in works:
        own = {port["name"] for port in work.main.get("ports", [])}
        probes = [probe for key, probe in work.main.items() if key.endswith("Probe")]
        wanted = [probe["httpGet"]["port"] for probe in probes]
        yield from (
            f"{work.name}: a probe asks port {name}, which is none of its" for name in wanted if name not in own
        )


def volumes(objects: list[Object]) -> Iterator[str]:
    """Every mount has its volume, every volume is mounted, no path is mounted twice."""
    for work in workloads(objects):
        mounts = [(part["name"], mount) for part in work.containers for mount in part.get("volumeMounts", [])]
        wanted = {mount["name"] for _, mount in mounts}
        yield from (f"{work.name}: no volume {name}" for name in sorted(wanted - work.volumes.keys()))
        yield from (f"{work.name}: volume {name} is never mounted" for name in sorted(work.volumes.keys() - wanted))
        paths = Counter((container, mount["mountPath"]) for container, mount in mounts)
        yield from (
            f"{work.name}/{part}: {path} is mounted twice" for (part, path), count in paths.items() if count > 1
        )


def variables(objects: list[Object]) -> Iterator[str]:
    """What arguments refer to as $(NAME), which Kubernetes fills in, is declared.

    Kubernetes leaves an unknown $(NAME) as it is, and adds JOB_COMPLETION_INDEX by itself only to Indexed Jobs.
    """
    for work in workloads(objects):
        for part in work.containers:
            place, known = f"{work.name}/{part['name']}", work.env(part)
            for argument in part["args"]:
                named = set(REFERENCE.findall(argument))
                yield from (f"{place}: ${name} is not declared" for name in sorted(named - known.keys()))
            for variable in known.values():
                resource = variable.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource", "limits.cpu")
                if resource.removeprefix("limits.") not in part["resources"]["limits"]:
                    yield f"{place}: {variable['name']}: there is no {resource}"


def explained(objects: list[Object]) -> Iterator[str]:
    """`kubectl describe` shows the end of the log of a container that fails."""
    for work in workloads(objects):
        for part in work.containers:
            if part.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                yield f"{work.name}/{part['name']}: terminationMessagePolicy is not FallbackToLogsOnError"
