"""A strict API server would accept the files, in three versions of Kubernetes; custom resources by their schemas."""

import pytest

from tests.k8s.objects import FILES, load
from tests.k8s.schemas import VERSIONS, problems


def found(objects, version=VERSIONS[-1]):
    return [problem for item in objects for problem in problems(item, version)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FILES)
def test_rendered_files_fit(name, version):
    assert found(load(name), version) == []


def pod_of(item):
    """Return the pod of an object's last or only Job."""
    spec = item["spec"]["template"]["spec"] if item["kind"] == "TrainingRuntime" else item["spec"]
    spec = spec["replicatedJobs"][-1]["template"]["spec"] if "replicatedJobs" in spec else spec
    return spec["template"]["spec"]


WRONG = {
    "unknown kind": lambda item: item.update(kind="Jobs"),
    "unknown version": lambda item: item.update(apiVersion="example.org/v1"),
    "misspelt field of the object": lambda item: item["spec"].update(backofLimit=1),
    "misspelt field of metadata": lambda item: item["metadata"].update(label={}),
    "misspelt field of a pod": lambda item: pod_of(item).update(restartPolice="Never"),
    "misspelt field of a container": lambda item: pod_of(item)["containers"][0].update(arguments=[]),
    "number for a text": lambda item: pod_of(item)["containers"][0].update(args=["--seed", 1]),
    "text for a number": lambda item: pod_of(item).update(terminationGracePeriodSeconds="90"),
    "container without a name": lambda item: pod_of(item)["containers"][0].pop("name"),
}


@pytest.mark.parametrize("kind", ["Job", "Deployment", "JobSet", "TrainingRuntime"])
@pytest.mark.parametrize("wrong", WRONG)
def test_mistakes_are_refused(kind, wrong):
    (item, *_) = [item for name in FILES for item in load(name) if item["kind"] == kind]
    assert found([item]) == []
    WRONG[wrong](item)
    assert found([item])


@pytest.mark.parametrize("wrong", [{"numNodes": "2"}, {"numProcesses": 8}])
def test_a_wrong_train_job_is_refused(wrong):
    (item,) = [item for item in load("imagenet10-trainjob.yaml") if item["kind"] == "TrainJob"]
    item["spec"]["trainer"] |= wrong
    assert found([item])
