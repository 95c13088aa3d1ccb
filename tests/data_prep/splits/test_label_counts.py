"""Numbers of labels per class: what is written is what is chosen, and an even number means what it always meant."""

import numpy as np
import pytest

from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.splits.assign import divide
from data_prep.splits.label_counts import per_class, read_labels
from data_prep.system.errors import UsageError
from tests.data_prep.fixtures import contents

CLASSES = np.arange(1000, dtype=np.int64) % 3


def chosen(*numbers, val=4, seed=0):
    return divide(CLASSES, labeled=numbers, val=[val] * len(numbers), seed=seed, include_labeled=True)[
        "labeled"
    ].tolist()


@pytest.mark.parametrize(
    ("given", "read"), [(6, 6), ("6", 6), ("06", 6), (-6, -6), ("5+1", "5+1"), ("05+01", "5+1"), ("3+3", "3+3")]
)
def test_labels_are_a_number_or_numbers(given, read):
    assert read_labels(given) == read
    assert read_labels(read_labels(given)) == read


@pytest.mark.parametrize(
    "given",
    ["", "+", "5+", "+1", "5 + 1", "5++1", "5.0", "\u0663+\u0661", "5+1\n", "1e3", "9" * 5000, 5.0, True, None, [5]],
)
def test_anything_else_is_refused(given):
    with pytest.raises(ValueError, match="is neither a number of images, one for each class"):
        read_labels(given)


def test_an_even_number_is_shared():
    assert per_class(6, (9, 9)) == per_class("3+3", (9, 9)) == (3, 3)
    assert per_class("5+1", (9, 9)) == (5, 1)


def test_every_class_has_its_number():
    assert np.bincount(CLASSES[chosen(5, 1, 3)]).tolist() == [5, 1, 3]


def test_classes_are_chosen_from_apart():
    """How many another class has never changes which of this one are labeled, and fewer are a subset of more."""
    few, more = chosen(5, 1, 3), chosen(5, 7, 4)
    assert set(few) < set(more)
    assert [index for index in few if CLASSES[index] == 0] == [index for index in more if CLASSES[index] == 0]


def test_the_moons_labeled_by_default_are_pinned(moons):
    """A change here would change everybody's labeled points: results would no longer compare."""
    assert list(load_manifest(moons).labeled_ids) == [194, 246, 376, 948, 1155, 1588]


def test_the_manifest_keeps_what_was_asked_for(moons, tmp_path):
    manifest = load_manifest(moons)
    assert manifest.options["labels"] == "5+1"
    assert manifest.counts["labeled"] == (5, 1)
    assert prepare(PrepareRequest("moons", out=tmp_path / "set")).options["labels"] == 6


def test_equal_numbers_give_the_shards_of_the_even_number(tmp_path):
    for labels in (6, "3+3"):
        prepare(PrepareRequest("moons", out=tmp_path / str(labels), labels=labels))
    even, written = contents(tmp_path / "6"), contents(tmp_path / "3+3")
    assert {name for name in even if even[name] != written[name]} == {"manifest.json"}
    with pytest.raises(UsageError, match=r"labels 6 there and '3\+3' here"):
        prepare(PrepareRequest("moons", out=tmp_path / "6", labels="3+3"))


def test_a_request_is_read_as_the_command_is(tmp_path):
    prepare(PrepareRequest("moons", out=tmp_path, labels="05+1"))
    assert load_manifest(tmp_path).options["labels"] == "5+1"
    with pytest.raises(UsageError, match="--labels: 'some' is neither"):
        prepare(PrepareRequest("moons", out=tmp_path, labels="some"))


@pytest.mark.parametrize(
    "valid",
    [
        {"labels": "5+1000"},
        {"labels": "900+5", "val": 200},
        {"labels": "600+1", "val": 800},
        {"labels": "999+1", "include_labeled": False},
    ],
)
def test_the_nearest_choices_named_are_valid(valid, tmp_path):
    """What the messages in test_cli recommend goes through."""
    manifest = prepare(PrepareRequest("moons", out=tmp_path / "set", **valid))
    assert manifest.counts["labeled"] == per_class(valid["labels"], (9, 9))
