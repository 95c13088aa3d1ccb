"""The split is a pure function of labels and seed, balanced, nested and without overlap."""

import hashlib

import numpy as np
import pytest

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.splits.assign import divide, rank, shuffled
from tests.data_prep import fixtures

LABELS = np.arange(1000, dtype=np.int64) * 7 % 10


def division(seed=0, labeled=4, val=2, include_labeled=True):
    return divide(LABELS, labeled=[labeled] * 10, val=[val] * 10, seed=seed, include_labeled=include_labeled)


def test_split_is_pinned():
    """A change here would change everybody's labeled images: results would no longer compare."""
    text = repr({name: indices.tolist() for name, indices in division().items()})
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "03ffc93d8a62254b"
    assert rank(0, "labeled", 1).hex() == "5fa5355bbf801573aeb1c59b132c7238"


def test_digits_labeled_ids_are_pinned(digits):
    from data_prep.dataset.manifest import load_manifest

    expected = [57, 122, 158, 192, 194, 246, 265, 372, 376, 461, 501, 550, 687, 813, 831, 883, 948, 995, 1155, 1383]
    assert list(load_manifest(digits).labeled_ids) == expected


def test_split_is_balanced_and_disjoint():
    parts = division(include_labeled=False)
    assert np.bincount(LABELS[parts["labeled"]]).tolist() == [4] * 10
    assert np.bincount(LABELS[parts["val"]]).tolist() == [2] * 10
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1000))


def test_including_adds_exactly_the_labeled_images():
    inside, outside = division(), division(include_labeled=False)
    assert set(inside["unlabeled"]) - set(outside["unlabeled"]) == set(inside["labeled"])
    assert not set(inside["val"]) & set(inside["unlabeled"])


def test_fewer_labels_are_a_subset_and_seeds_differ():
    assert set(division(labeled=2)["labeled"]) < set(division(labeled=8)["labeled"])
    assert set(division(seed=1)["labeled"]) != set(division(seed=2)["labeled"])


def test_shuffling_does_not_depend_on_the_input_order():
    assert shuffled(range(50), 3, "x") == shuffled(reversed(range(50)), 3, "x") != list(range(50))


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_test_split_ignores_seed_and_options(dataset, tmp_path, tiny):
    base = tiny if dataset == "cifar10" else {"dataset": "digits"}
    folders = []
    for seed, val in ((0, 10), (7, 20)):
        folders.append(tmp_path / str(seed))
        prepare(PrepareRequest(**base | {"out": folders[-1], "seed": seed, "val": val}))
    first, second = ({k: v for k, v in fixtures.contents(f).items() if k.startswith("test-")} for f in folders)
    assert first == second
    assert first


def test_validation_images_are_never_listed_ones():
    listed = np.arange(0, len(LABELS), 3)
    splits = divide(LABELS, labeled=[0] * 10, val=[3] * 10, seed=0, include_labeled=True, labeled_ids=listed)
    assert splits["labeled"].tolist() == listed.tolist()
    assert len(splits["val"]) == 30
    assert not set(splits["val"].tolist()) & set(listed.tolist())


def test_given_validation_images_are_taken_and_unknown_ones_never_labeled():
    labels = np.where(np.arange(len(LABELS)) % 2, LABELS, -1)
    val = np.array([5, 1])
    splits = divide(labels, labeled=[2] * 10, val=[0] * 10, seed=0, include_labeled=False, val_ids=val)
    assert splits["val"].tolist() == [1, 5]
    assert (labels[splits["labeled"]] >= 0).all()
    assert not set(splits["labeled"].tolist()) & {1, 5}
    assert set(np.flatnonzero(labels < 0).tolist()) <= set(splits["unlabeled"].tolist())
