"""Every rendered file passes every check, and every check refuses a file with its kind of mistake."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.k8s.checks import CHECKS
from tests.k8s.objects import FILES, load, workloads
from tests.k8s.resources import VISIBLE, quantity

CIFAR, GANG, SWEEP = "cifar10-job.yaml", "imagenet10-job.yaml", "sweep-job.yaml"
BOARD, JOBSET, TRAINJOB = "tensorboard.yaml", "imagenet10-jobset.yaml", "imagenet10-trainjob.yaml"


class Objects:
    """The objects of a file, for a mutation to change them."""

    def __init__(self, name: str) -> None:
        self.all = load(name)

    def one(self, kind: str, name: str = ""):
        return next(item for item in self.all if item["kind"] == kind and item["metadata"]["name"].endswith(name))

    def job(self, name: str = "train"):
        return next(work.spec for work in workloads(self.all) if name in work.name)

    def pod(self, name: str = "train"):
        return self.job(name)["template"]["spec"]

    def main(self, name: str = "train"):
        return self.pod(name)["containers"][0]

    def data(self):
        """The container that prepares the data or waits for them."""
        return self.pod()["initContainers"][0]

    def env(self, name: str):
        return next(variable for variable in self.main()["env"] if variable["name"] == name)

    def rules(self, name: str = "train"):
        return self.job(name)["podFailurePolicy"]["rules"]


class Mutation(NamedTuple):
    check: str
    file: str
    change: Callable[[Objects], object]
    message: str


def drop(row, key):
    return lambda one: row(one).pop(key)


def put(row, key, value):
    return lambda one: row(one).__setitem__(key, value)


def security(one):
    return one.pod()["securityContext"]


def own(one):
    return one.main()["securityContext"]


def init(one):
    return one.data()["securityContext"]


def resources(part):
    return lambda one: one.main()["resources"][part]


def volume(name):
    return lambda one: next(item for item in one.pod()["volumes"] if item["name"] == name)


MUTATIONS = [
    Mutation("restricted", CIFAR, drop(security, "runAsNonRoot"), "runAsNonRoot"),
    Mutation("restricted", CIFAR, put(security, "runAsUser", 0), "runAsUser"),
    Mutation("restricted", CIFAR, drop(security, "fsGroup"), "fsGroup"),
    Mutation("restricted", CIFAR, drop(security, "fsGroupChangePolicy"), "fsGroupChangePolicy"),
    Mutation("restricted", CIFAR, put(security, "seccompProfile", {"type": "Unconfined"}), "seccompProfile"),
    Mutation("restricted", CIFAR, put(own, "allowPrivilegeEscalation", True), "allowPrivilegeEscalation"),
    Mutation("restricted", CIFAR, put(own, "readOnlyRootFilesystem", False), "readOnlyRootFilesystem"),
    Mutation("restricted", CIFAR, put(own, "capabilities", {"drop": ["ALL"], "add": ["IPC_LOCK"]}), "capabilities"),
    Mutation("restricted", CIFAR, put(own, "privileged", True), "privileged"),
    Mutation("restricted", CIFAR, drop(init, "capabilities"), "train/data: capabilities"),
    Mutation("restricted", JOBSET, drop(init, "allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    Mutation("restricted", TRAINJOB, drop(Objects.main, "securityContext"), "readOnlyRootFilesystem"),
    Mutation("restricted", CIFAR, put(Objects.pod, "hostNetwork", True), "hostNetwork"),
    Mutation("restricted", GANG, lambda one: one.main()["ports"][0].update(hostPort=1), "hostPort"),
    Mutation("no_credentials", CIFAR, drop(Objects.pod, "automountServiceAccountToken"), "automount"),
    Mutation("no_credentials", CIFAR, put(Objects.pod, "enableServiceLinks", True), "enableServiceLinks"),
    Mutation("writable", CIFAR, lambda one: one.main()["volumeMounts"].pop(), "/tmp"),
    Mutation("writable", CIFAR, put(volume("tmp"), "hostPath", {"path": "/"}), "hostPath"),
    Mutation("read_only", BOARD, lambda one: one.main("")["volumeMounts"][0].pop("readOnly"), "/out is not"),
    Mutation("read_only", GANG, lambda one: one.main("prepare")["volumeMounts"][0].pop("readOnly"), "/source"),
    Mutation("fenced", CIFAR, lambda one: one.all.remove(one.one("NetworkPolicy")), "no NetworkPolicy"),
    Mutation("fenced", CIFAR, lambda one: one.one("NetworkPolicy")["spec"].update(policyTypes=["Egress"]), "no Net"),
    Mutation("quantities", CIFAR, put(resources("limits"), "memory", "16GB"), "'16GB' is not a quantity"),
    Mutation("quantities", CIFAR, put(resources("limits"), "cpu", "four"), "'four' is not a quantity"),
    Mutation("quantities", CIFAR, lambda one: volume("shm")(one)["emptyDir"].update(sizeLimit="2 Gi"), "volume shm"),
    Mutation(
        "quantities",
        CIFAR,
        lambda one: one.one("PersistentVolumeClaim")["spec"]["resources"]["requests"].update(storage="0Gi"),
        "is nothing",
    ),
    Mutation("bounded", CIFAR, put(resources("requests"), "memory", "17Gi"), "requests 17Gi, limit 16Gi"),
    Mutation("bounded", CIFAR, put(resources("requests"), "cpu", "4001m"), "requests 4001m"),
    Mutation("bounded", CIFAR, drop(resources("limits"), "cpu"), "no limit of cpu"),
    Mutation("bounded", CIFAR, drop(resources("requests"), "ephemeral-storage"), "no ephemeral-storage"),
    Mutation("bounded", CIFAR, put(resources("limits"), "nvidia.com/gpu", "2"), "nvidia.com/gpu: requests 1, limit 2"),
    Mutation("bounded", CIFAR, drop(Objects.data, "resources"), "train/data: no cpu"),
    Mutation("shared_memory", CIFAR, lambda one: volume("shm")(one)["emptyDir"].pop("medium"), "no emptyDir in memory"),
    Mutation("shared_memory", CIFAR, lambda one: one.main()["volumeMounts"].pop(0), "no emptyDir in memory"),
    Mutation("shared_memory", CIFAR, lambda one: volume("shm")(one)["emptyDir"].update(sizeLimit="9Gi"), "9Gi of 16Gi"),
    Mutation(
        "unseen", CIFAR, lambda one: one.data()["env"][0].update(value="all"), "train/data: NVIDIA_VISIBLE_DEVICES"
    ),
    Mutation(
        "unseen", CIFAR, lambda one: one.main()["env"].append({"name": VISIBLE, "value": "void"}), "void, not None"
    ),
    Mutation("scratch", CIFAR, lambda one: volume("tmp")(one)["emptyDir"].pop("sizeLimit"), "no sizeLimit"),
    Mutation("scratch", CIFAR, lambda one: volume("tmp")(one)["emptyDir"].update(sizeLimit="6Gi"), "hold more"),
    Mutation(
        "claims",
        CIFAR,
        lambda one: one.all.remove(one.one("PersistentVolumeClaim", "-out")),
        "claim cifar10-out is not",
    ),
    Mutation(
        "claims",
        CIFAR,
        lambda one: volume("out")(one)["persistentVolumeClaim"].update(claimName="cifar10-data"),
        "nobody",
    ),
    Mutation(
        "claims",
        SWEEP,
        lambda one: one.one("PersistentVolumeClaim", "-out")["spec"].update(accessModes=["ReadWriteOnce"]),
        "2 pods at once",
    ),
    Mutation("images", CIFAR, put(Objects.main, "image", "ghcr.io/smpl-pipeline/smpl-train:latest"), "latest"),
    Mutation("images", CIFAR, put(Objects.main, "image", "ghcr.io/smpl-pipeline/smpl-train"), "smpl-train, not"),
    Mutation("images", CIFAR, put(Objects.data, "image", "busybox:1.37"), "busybox"),
    Mutation("images", CIFAR, drop(Objects.main, "imagePullPolicy"), "imagePullPolicy"),
    Mutation(
        "names", CIFAR, lambda one: one.one("Job")["metadata"].update(name="Cifar10_train"), "Cifar10_train is no"
    ),
    Mutation("names", CIFAR, lambda one: one.one("Job")["metadata"].update(name="c" * 60), "of at most 63"),
    Mutation("names", CIFAR, put(Objects.main, "name", "smpl.train"), "smpl.train is no"),
    Mutation("names", CIFAR, lambda one: one.all.append(one.all[0]), "2 times"),
    Mutation("labels", CIFAR, lambda one: one.one("Job")["metadata"].pop("labels"), "no label app.kubernetes.io/name"),
    Mutation(
        "labels",
        CIFAR,
        lambda one: one.job()["template"]["metadata"]["labels"].update({"app.kubernetes.io/instance": "svhn"}),
        "several instances",
    ),
    Mutation(
        "labels",
        CIFAR,
        lambda one: one.job()["template"]["metadata"]["labels"].update({"app.kubernetes.io/version": "0.0.9"}),
        "version 0.0.9",
    ),
    Mutation("selectors", GANG, lambda one: one.one("Service")["spec"]["selector"].update(app="x"), "Service"),
    Mutation(
        "selectors", BOARD, lambda one: one.one("Deployment")["spec"]["selector"]["matchLabels"].update(app="x"), "Depl"
    ),
    Mutation(
        "selectors",
        CIFAR,
        lambda one: one.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].update(app="x"),
        "Net",
    ),
    Mutation(
        "ports", BOARD, lambda one: one.one("Service")["spec"]["ports"][0].update(targetPort="web"), "no port web"
    ),
    Mutation("ports", BOARD, lambda one: one.main("")["livenessProbe"]["httpGet"].update(port="web"), "port web"),
    Mutation(
        "ports",
        BOARD,
        lambda one: one.one("NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port="web"),
        "no port web",
    ),
    Mutation("volumes", CIFAR, lambda one: one.pod()["volumes"].remove(volume("out")(one)), "no volume out"),
    Mutation("volumes", CIFAR, lambda one: one.pod()["volumes"].append({"name": "x", "emptyDir": {}}), "never mounted"),
    Mutation(
        "volumes", CIFAR, lambda one: one.main()["volumeMounts"][1].update(mountPath="/tmp"), "/tmp is mounted twice"
    ),
    Mutation("variables", SWEEP, lambda one: one.main().update(env=[]), "$SEED is not declared"),
    Mutation("variables", CIFAR, lambda one: one.data().update(env=[]), "$CPUS is not declared"),
    Mutation("variables", CIFAR, lambda one: one.data()["resources"]["limits"].pop("cpu"), "no limits.cpu"),
    Mutation("explained", CIFAR, drop(Objects.data, "terminationMessagePolicy"), "train/data"),
    Mutation("restarts", CIFAR, drop(Objects.pod, "restartPolicy"), "restartPolicy Always, not Never"),
    Mutation("restarts", CIFAR, put(Objects.pod, "restartPolicy", "OnFailure"), "OnFailure"),
    Mutation("failures", CIFAR, drop(Objects.job, "podFailurePolicy"), "does not ignore disruptions"),
    Mutation("failures", CIFAR, lambda one: one.rules().reverse(), "does not ignore disruptions"),
    Mutation("failures", CIFAR, lambda one: one.rules()[1].update(action="Count"), "exit code 4 is met by Count"),
    Mutation("failures", CIFAR, lambda one: one.rules().pop(), "exit code 2 is met by None"),
    Mutation("failures", CIFAR, lambda one: one.rules()[2]["onExitCodes"].update(values=[2]), "exit code 3 is met by"),
    Mutation("failures", CIFAR, lambda one: one.rules()[2]["onExitCodes"].update(operator="NotIn"), "exit code 2"),
    Mutation("failures", CIFAR, lambda one: one.rules()[2]["onExitCodes"]["values"].append(1), "1 means nothing"),
    Mutation("failures", CIFAR, lambda one: one.rules()[2]["onExitCodes"].update(containerName="main"), "no container"),
    Mutation(
        "failures", SWEEP, lambda one: one.rules()[2].update(action="FailIndex"), "exit code 2 is met by FailIndex"
    ),
    Mutation(
        "failures", GANG, lambda one: one.rules()[2].update(action="FailIndex"), "exit code 2 is met by FailIndex"
    ),
    Mutation("failures", JOBSET, put(Objects.job, "podReplacementPolicy", "TerminatingOrFailed"), "two pods"),
    Mutation("retries", CIFAR, drop(Objects.job, "backoffLimit"), "exactly one"),
    Mutation("retries", SWEEP, put(Objects.job, "backoffLimit", 6), "exactly one"),
    Mutation("retries", CIFAR, put(Objects.job, "backoffLimit", 100_000), "backoffLimit 100000"),
    Mutation("retries", SWEEP, put(Objects.job, "maxFailedIndexes", 5), "maxFailedIndexes 5 of 5"),
    Mutation("retries", SWEEP, drop(Objects.job, "maxFailedIndexes"), "maxFailedIndexes None"),
    Mutation("retries", GANG, put(Objects.job, "backoffLimit", 6), "soon used up"),
    Mutation("deadlines", CIFAR, put(Objects.pod, "terminationGracePeriodSeconds", 30), "ranks are killed after 30"),
    Mutation("deadlines", CIFAR, drop(Objects.pod, "terminationGracePeriodSeconds"), "GracePeriodSeconds 30"),
    Mutation("deadlines", CIFAR, drop(Objects.job, "ttlSecondsAfterFinished"), "too short for logs"),
    Mutation("deadlines", CIFAR, put(Objects.job, "ttlSecondsAfterFinished", 60), "too short for logs"),
    Mutation("deadlines", CIFAR, put(Objects.job, "activeDeadlineSeconds", 3600), "a long run"),
    Mutation("deadlines", JOBSET, put(Objects.job, "ttlSecondsAfterFinished", 604_800), "start it again"),
    Mutation("deadlines", JOBSET, lambda one: one.one("JobSet")["spec"].pop("ttlSecondsAfterFinished"), "too short"),
    Mutation("indexes", SWEEP, drop(Objects.job, "completionMode"), "the Job is not Indexed"),
    Mutation("indexes", SWEEP, put(Objects.job, "parallelism", 6), "parallelism 6 of 5"),
    Mutation("indexes", GANG, lambda one: one.job("prepare").update(completions=4), "--shard-range 8, but"),
    Mutation("rendezvous", GANG, put(Objects.job, "parallelism", 1), "parallelism 1"),
    Mutation("rendezvous", GANG, put(Objects.job, "completions", 4), "completions 4"),
    Mutation("rendezvous", GANG, lambda one: one.env("PET_NNODES").update(value="1:2"), "PET_NNODES 1:2"),
    Mutation("rendezvous", GANG, lambda one: one.env("PET_RDZV_ENDPOINT").update(value="x-0.y:29400"), "x-0.y"),
    Mutation("rendezvous", GANG, lambda one: one.one("Job", "train")["metadata"].update(name="renamed"), "renamed-0"),
    Mutation("rendezvous", GANG, put(Objects.pod, "subdomain", "other"), "no Service other"),
    Mutation("rendezvous", GANG, lambda one: one.one("Service")["spec"].pop("clusterIP"), "not headless"),
    Mutation(
        "rendezvous", GANG, lambda one: one.one("Service")["spec"].pop("publishNotReadyAddresses"), "does not publish"
    ),
    Mutation("rendezvous", GANG, lambda one: one.one("Service")["spec"]["ports"][0].update(port=29500), "port 29400"),
    Mutation("rendezvous", GANG, lambda one: one.main()["ports"][0].update(containerPort=29500), "port 29400"),
    Mutation("rendezvous", GANG, lambda one: one.one("Service")["spec"]["selector"].update(app="x"), "does not select"),
    Mutation("rendezvous", GANG, lambda one: one.main()["env"].remove(one.env("PET_NODE_RANK")), "PET_NODE_RANK"),
    Mutation("rendezvous", GANG, lambda one: one.env("PET_NPROC_PER_NODE").update(value="4"), "PET_NPROC_PER_NODE 4"),
    Mutation("rendezvous", JOBSET, lambda one: one.one("JobSet")["metadata"].update(name="other"), "other-train-0-0"),
    Mutation(
        "rendezvous",
        JOBSET,
        lambda one: one.one("JobSet")["spec"]["network"].pop("publishNotReadyAddresses"),
        "no names",
    ),
    Mutation(
        "rendezvous", TRAINJOB, lambda one: one.one("TrainJob")["spec"]["trainer"].update(numNodes=4), "PET_NNODES 4"
    ),
    Mutation(
        "rendezvous", TRAINJOB, lambda one: one.one("TrainJob")["spec"]["trainer"].pop("numProcPerNode"), "NODE auto"
    ),
    Mutation("open_inside", GANG, lambda one: one.one("NetworkPolicy")["spec"].pop("ingress"), "from each other"),
    Mutation(
        "open_inside",
        GANG,
        lambda one: one.one("NetworkPolicy")["spec"]["ingress"][0].update(ports=[{"port": 29400}]),
        "from each other",
    ),
    Mutation("trainer", TRAINJOB, lambda one: one.all.reverse(), "Trainer would refuse it"),
    Mutation("trainer", TRAINJOB, lambda one: one.all.remove(one.one("TrainJob")), "but no TrainJob"),
    Mutation("trainer", TRAINJOB, put(Objects.main, "name", "smpl"), "is smpl, not node"),
    Mutation("trainer", TRAINJOB, lambda one: one.one("TrainingRuntime")["spec"].pop("mlPolicy"), "mlPolicy"),
    Mutation(
        "trainer",
        TRAINJOB,
        lambda one: one.main()["env"].append({"name": "PET_NNODES", "value": "2"}),
        "sets PET_NNODES",
    ),
    Mutation(
        "trainer",
        TRAINJOB,
        lambda one: one.one("TrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"][0]["template"].pop(
            "metadata"
        ),
        "the label `trainer`",
    ),
    Mutation(
        "order", JOBSET, lambda one: one.one("JobSet")["spec"]["replicatedJobs"][2].pop("dependsOn"), "train waits for"
    ),
    Mutation("order", JOBSET, lambda one: one.one("JobSet")["spec"]["replicatedJobs"].reverse(), "waits for"),
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("check", CHECKS)
def test_rendered_files_pass(name, check):
    assert list(CHECKS[check](load(name))) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.check}-{one.message}")
def test_what_is_wrong_is_refused(mutation):
    objects = Objects(mutation.file)
    mutation.change(objects)
    problems = list(CHECKS[mutation.check](objects.all))
    assert any(mutation.message in problem for problem in problems), problems


def test_every_check_is_proven():
    assert {mutation.check for mutation in MUTATIONS} == set(CHECKS)


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("500m", 0.5), ("2Gi", 2 << 30), ("1.5k", 1500), (8, 8)])
def test_quantities_are_read(text, value):
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1GB", "2 Gi", "0x10", "Gi"])
def test_other_texts_are_no_quantities(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)
