"""Prepared sets that several tests read; a test that changes one copies it first."""

import shutil

import pytest

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from tests.data_prep import fixtures


@pytest.fixture(autouse=True)
def _own_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SMPL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SMPL_DATA", raising=False)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The digits as prepared by default; read only."""
    folder = tmp_path_factory.mktemp("digits") / "set"
    prepare(PrepareRequest("digits", out=folder))
    return folder


@pytest.fixture(scope="session")
def moons(tmp_path_factory):
    """The moons with 5 and 1 labels; read only."""
    folder = tmp_path_factory.mktemp("moons") / "set"
    prepare(PrepareRequest("moons", out=folder, labels="5+1"))
    return folder


@pytest.fixture
def copied(digits, tmp_path):
    """A copy of the digits to damage."""
    return shutil.copytree(digits, tmp_path / "set")


@pytest.fixture
def copied_moons(moons, tmp_path):
    """A copy of the moons to damage."""
    return shutil.copytree(moons, tmp_path / "set")


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory):
    """A tiny CIFAR-10 in the official layout: 20 training and 4 test images a class; read only."""
    return fixtures.write_cifar10(tmp_path_factory.mktemp("cifar10"))


@pytest.fixture
def tiny(cifar10):
    """A request for the tiny CIFAR-10, as keywords."""
    return {"dataset": "cifar10", "source": cifar10, "checksum": False, "labels": 20, "val": 10, "shard_size": 40}
