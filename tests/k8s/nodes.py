"""Checks of a run on several nodes: how the nodes find each other."""

from collections.abc import Iterator

from tests.k8s.objects import INDEX, Object, Workload, workloads
from tests.k8s.resources import GPU


def rendezvous(objects: list[Object]) -> Iterator[str]:
    """The nodes are the pods of an Indexed Job that run at the same time; the first one is node 0."""
    for work in workloads(objects):
        nodes = work.value("PET_NNODES")
        if nodes is None:
            continue
        spec, pods = work.spec, str(work.spec.get("completions"))
        if not nodes == pods == str(spec.get("parallelism")) or spec.get("completionMode") != "Indexed":
            yield f"{work.name}: PET_NNODES {nodes}, completions {pods}, parallelism {spec.get('parallelism')}"
        host, port = _endpoint(work)
        if host != f"{work.name}-0.{work.subdomain}":
            yield f"{work.name}: node 0 is said to be {host}, but pod 0 is {work.name}-0.{work.subdomain}"
        yield from _service(work, objects, port)
        env = work.env(work.main)
        if env.get("PET_NODE_RANK", {}).get("valueFrom") != INDEX:
            yield f"{work.name}: PET_NODE_RANK is not the completion index"
        if work.value("PET_NPROC_PER_NODE") != str(work.main["resources"]["limits"].get(GPU)):
            yield f"{work.name}: PET_NPROC_PER_NODE {work.value('PET_NPROC_PER_NODE')} is not the number of its GPUs"


def _endpoint(work: Workload) -> tuple[str, str]:
    endpoint = work.value("PET_RDZV_ENDPOINT") or f"{work.value('PET_MASTER_ADDR')}:{work.value('PET_MASTER_PORT')}"
    host, _, port = endpoint.rpartition(":")
    return host, port


def _service(work: Workload, objects: list[Object], port: str) -> Iterator[str]:
    """Pods have names before they are ready; for a JobSet its controller creates the Service."""
    if work.owner["kind"] != "Job":
        network = work.owner["spec"].get("template", work.owner)["spec"]["network"]
        if not (network.get("enableDNSHostnames") and network.get("publishNotReadyAddresses")):
            yield f"{work.name}: its JobSet gives pods no names before they are ready"
        return
    services = [one for one in objects if one["kind"] == "Service" and one["metadata"]["name"] == work.subdomain]
    if not services:
        yield f"{work.name}: no Service {work.subdomain}"
        return
    spec = services[0]["spec"]
    if spec.get("clusterIP") != "None" or spec.get("publishNotReadyAddresses") is not True:
        yield f"Service {work.subdomain}: not headless, or it does not publish pods that are not ready"
    if not spec["selector"].items() <= work.labels.items():
        yield f"Service {work.subdomain}: does not select the pods of {work.name}"
    opened = [str(own["containerPort"]) for own in work.main.get("ports", [])]
    if [str(own["port"]) for own in spec["ports"]] != [port] or opened != [port]:
        yield f"{work.name}: node 0 listens at port {port}, the Service has {spec['ports']}, the container {opened}"


def open_inside(objects: list[Object]) -> Iterator[str]:
    """The NetworkPolicy lets pods of one run connect on any port, because collectives choose their ports."""
    for work in workloads(objects):
        if work.value("PET_NNODES") is None:
            continue
        rules = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
        inside = [
            source["podSelector"]["matchLabels"].items() <= work.labels.items()
            for spec in rules
            for rule in spec.get("ingress", [])
            if "ports" not in rule
            for source in rule["from"]
        ]
        if rules and not any(inside):
            yield f"{work.name}: the NetworkPolicy keeps its pods from each other"


def trainer(objects: list[Object]) -> Iterator[str]:
    """Kubeflow Trainer finds the names that it requires, and the runtime does not set what Trainer sets."""
    kinds = [one["kind"] for one in objects]
    for position, one in enumerate(objects):
        if one["kind"] != "TrainJob":
            continue
        name, wanted = one["metadata"]["name"], one["spec"]["runtimeRef"]["name"]
        before = [item for item in objects[:position] if item["kind"] == "TrainingRuntime"]
        runtimes = [item for item in before if item["metadata"]["name"] == wanted]
        if not runtimes:
            yield f"TrainJob {name}: no TrainingRuntime {wanted} comes before it; Trainer would refuse it"
        for runtime in runtimes:
            yield from _runtime(runtime, one["spec"]["trainer"]["numNodes"])
    if "TrainingRuntime" in kinds and "TrainJob" not in kinds:
        yield "a TrainingRuntime, but no TrainJob"


def _runtime(runtime: Object, nodes: int) -> Iterator[str]:
    jobs = {job["name"]: job for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]}
    labels = jobs.get("node", {}).get("template", {}).get("metadata", {}).get("labels", {})
    if labels.get("trainer.kubeflow.org/trainjob-ancestor-step") != "trainer" or jobs["node"]["replicas"] != 1:
        yield "the runtime has no single Job `node` with the label `trainer`"
        return
    main = jobs["node"]["template"]["spec"]["template"]["spec"]["containers"][0]
    if main["name"] != "node":
        yield f"the runtime's container is {main['name']}, not node"
    reserved = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_RDZV_ENDPOINT"}
    yield from (f"the runtime sets {own['name']}" for own in main["env"] if own["name"] in reserved)
    if runtime["spec"].get("mlPolicy") != {"numNodes": nodes, "torch": {}}:
        yield f"the runtime's mlPolicy is not torch on {nodes} nodes"


def order(objects: list[Object]) -> Iterator[str]:
    """A part of a JobSet waits for what it needs: preparation, then the manifest, then training."""
    for one in objects:
        if one["kind"] != "JobSet":
            continue
        seen: list[str] = []
        for job in one["spec"]["replicatedJobs"]:
            needs = [(need["name"], need["status"]) for need in job.get("dependsOn", [])]
            if needs != [(name, "Complete") for name in seen[-1:]]:
                yield f"JobSet {one['metadata']['name']}: {job['name']} waits for {needs}, not for {seen[-1:]}"
            seen.append(job["name"])
