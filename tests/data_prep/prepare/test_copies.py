"""Copies of an image in two classes or splits are counted, and a pair is named; other copies are no fault."""

import pytest

from data_prep.prepare import copies
from data_prep.prepare.copies import remark_on_copies
from data_prep.prepare.options import PrepareRequest, resolve
from tests.data_prep.trees import names_of, write


@pytest.fixture
def source(tmp_path):
    names = [*names_of("cat", "dog", prefix="train/", count=10), *names_of("cat", "dog", prefix="test/", count=2)]
    return write(tmp_path / "source", names)


def copy(source, name, *others):
    for other in others:
        (source / other).write_bytes((source / name).read_bytes())


def remark(source, dataset="folder", **options):
    return remark_on_copies(resolve(PrepareRequest(dataset, source=source, val=0, **options)).plan)


def test_different_images_of_the_same_size_are_no_copies(source):
    for number, path in enumerate(source.glob("*/*/*")):
        path.write_bytes(b"%08d" % number)
    assert remark(source) == ""


def test_copies_in_two_classes(source):
    copy(source, "train/cat/003.jpg", "train/dog/004.jpg", "train/dog/005.jpg")
    assert remark(source) == (
        "image files with the same bytes in two classes or splits: 3, such as train/cat/003.jpg (training, class cat) "
        "and train/dog/004.jpg (training, class dog); remove all but one of each"
    )


def test_copies_in_two_splits(source):
    copy(source, "train/cat/003.jpg", "test/cat/001.jpg")
    assert "2, such as train/cat/003.jpg (training, class cat) and test/cat/001.jpg (test, class cat)" in remark(source)


def test_copies_of_one_class_to_train_on_are_no_fault_but_one_that_validates_is(source):
    copy(source, "train/cat/000.jpg", *(f"train/cat/{number:03d}.jpg" for number in range(1, 10)))
    assert remark(source) == ""
    found = remark_on_copies(resolve(PrepareRequest("folder", source=source, labels=2, val=2)).plan)
    assert "splits: 10, such as " in found
    assert "(val, class cat)" in found


def test_unlabeled_copies_of_training_images_are_no_fault(source):
    write(source, ["unlabeled/a.jpg"])
    copy(source, "train/cat/003.jpg", "unlabeled/a.jpg")
    assert remark(source) == ""


def test_images_that_cannot_be_read_are_no_copies(source):
    for name in ("train/cat/003.jpg", "train/dog/003.jpg"):
        (source / name).unlink()
        (source / name).symlink_to("nowhere")
    assert remark(source) == ""


def test_too_many_bytes_are_not_read(source, monkeypatch):
    copy(source, "train/cat/003.jpg", "test/cat/001.jpg")
    monkeypatch.setattr(copies, "MOST_BYTES", 100)
    assert remark(source).startswith("copies of images in two classes or splits are not looked for: ")


def test_a_source_without_files_has_none():
    assert remark(None, "digits", labels=20) == ""
