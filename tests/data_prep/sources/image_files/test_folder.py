"""The user's own folders and tables: every layout, the same listing on every file system, every fault in one line."""

import os
import random
import re
import shutil

import numpy as np
import pytest

from data_prep.sources.base import LoadOptions
from data_prep.sources.image_files.folder import SOURCE, list_classes
from data_prep.sources.image_files.listing import listing_digest
from data_prep.sources.image_files.references import Root
from data_prep.system.errors import DataError, UsageError, UserError
from tests.data_prep import trees
from tests.data_prep.trees import names_in, names_of


def load(path, **options):
    return trees.load(SOURCE, path, **options)


def fault(path, kind=DataError, **options):
    """Return the one line of the error that a wrong source raises."""
    with pytest.raises(UserError) as caught:
        load(path, **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(folder, *lines, name="labels.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes("\n".join(lines).encode(encoding) + b"\n")
    return path


@pytest.fixture
def classes(tmp_path):
    """Return a folder with two classes of ten images."""
    return trees.write(tmp_path / "tree", names_of("cat", "dog", count=10))


@pytest.fixture
def divided(tmp_path):
    """Return a folder with train/, val/ and test/ of two classes."""
    names = [*names_of("cat", "dog", prefix="train/"), *names_of("cat", "dog", prefix="val/", count=2)]
    return trees.write(tmp_path / "tree", [*names, *names_of("cat", "dog", prefix="test/", count=3)])


def test_folder_of_classes(classes):
    raw = load(classes)
    assert raw.classes == ("cat", "dog")
    assert np.bincount(raw.train.labels).tolist() == [8, 8]
    assert np.bincount(raw.test.labels).tolist() == [2, 2]
    both = sorted(names_in(raw.train) + names_in(raw.test))
    assert both == [(name, int(name.startswith("dog"))) for name in names_of("cat", "dog", count=10)]
    assert raw.val_ids is raw.labeled_ids is None


def test_images_are_those_of_their_names(classes):
    raw = load(classes)
    order = names_of("cat", "dog", count=10)
    contents = [image.content for image in raw.train.encoded()]
    assert contents == [trees.picture(order.index(name)) for name, _ in names_in(raw.train)]


def test_suffixes_depth_hidden_and_other_files(tmp_path):
    names = ["cat/a.JPG", "cat/b.Jpeg", "cat/deep/er/c.png", "dog/d.webp", "dog/e.jpg", "dog/f.jpg"]
    ignored = ["cat/.hidden.jpg", "cat/.deep/x.jpg", ".hidden/x.jpg", "cat/readme.txt", "cat/x.gif", "dog/jpg", "x.txt"]
    raw = load(trees.write(tmp_path, [*names, *ignored]), test="2")
    assert sorted(name for name, _ in names_in(raw.train) + names_in(raw.test)) == names


def test_creation_order_never_matters(tmp_path):
    names = names_of("b", "a", "a-b", "B", "é", prefix="train/") + names_of("b", "a", "a-b", "B", "é", prefix="test/")
    names += [name.replace("/00", "/sub/00") for name in names] + names_of("unlabeled")
    listings = []
    for seed in range(3):
        shuffled = random.Random(seed).sample(names, len(names))
        folder = trees.write(tmp_path / str(seed), [])
        for name in shuffled:
            trees.write(folder, [name], names.index(name))
        raw = load(folder)
        listings.append((raw.classes, names_in(raw.train), names_in(raw.test), raw.checksums))
    assert listings[0] == listings[1] == listings[2]
    assert listings[0][0] == ("B", "a", "a-b", "b", "é")


def test_names_are_sorted_by_their_bytes(tmp_path):
    raw = load(
        trees.write(
            tmp_path,
            names_of("a", "a-b", "a!b", "B", prefix="train/") + names_of("a", "a-b", "a!b", "B", prefix="test/"),
        )
    )
    names = [name for name, _ in names_in(raw.train)]
    assert names == sorted(names, key=str.encode)


def test_train_val_and_test_folders(divided):
    raw = load(divided)
    assert len(raw.train.labels) == 14
    assert [names_in(raw.train)[index][0] for index in raw.val_ids] == names_of("cat", "dog", prefix="val/", count=2)
    assert [name for name, _ in names_in(raw.test)] == names_of("cat", "dog", prefix="test/", count=3)


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_other_names_of_val(name, divided):
    before = load(divided)
    (divided / "val").rename(divided / name)
    raw = load(divided)
    assert raw.val_ids.tolist() == before.val_ids.tolist() == [10, 11, 12, 13]


def test_train_folder_alone_provides_test_images(divided):
    shutil.rmtree(divided / "test")
    shutil.rmtree(divided / "val")
    raw = load(divided)
    assert np.bincount(raw.test.labels).tolist() == [1, 1]
    assert len(raw.train.labels) == 8
    assert raw.val_ids is None


def test_class_may_be_called_train(tmp_path):
    raw = load(trees.write(tmp_path, names_of("train", "plane")))
    assert raw.classes == ("plane", "train")


@pytest.mark.parametrize(("wanted", "counts"), [("20%", [2, 2]), ("6", [3, 3]), ("1+4", [1, 4]), ("1%", [1, 1])])
def test_test_images_are_taken_from_every_class(wanted, counts, classes):
    raw = load(classes, test=wanted)
    assert np.bincount(raw.test.labels).tolist() == counts
    assert not {name for name, _ in names_in(raw.train)} & {name for name, _ in names_in(raw.test)}


def test_it_says_that_test_images_are_taken_unless_they_are_given_or_asked_for(classes, tmp_path):
    (line,) = load(classes).remarks()
    assert "has no test images: 20% of the images of every class are set apart to test on; " in line
    assert list(load(classes, test="10%").remarks()) == []
    names = [*names_of("cat", "dog", prefix="train/"), *names_of("cat", "dog", prefix="test/", count=3)]
    assert list(load(trees.write(tmp_path / "divided", names)).remarks()) == []


def test_it_says_which_files_are_not_read(classes):
    for name in ("cat/a.bmp", "cat/b.BMP", "dog/deep/c.gif", "notes", ".hidden.bmp"):
        (classes / name).parent.mkdir(exist_ok=True)
        (classes / name).write_bytes(b"x")
    (line,) = load(classes, test="10%").remarks()
    assert "files that are not read, by suffix: 2 .bmp, 1 " in line
    assert "1 .gif" in line
    assert "1 no suffix" in line
    assert line.endswith("; convert those that are images to one of .jpg, .jpeg, .png, .webp")
    path = table(classes, "file,label", *(f"cat/00{number}.jpg,{'ab'[number % 2]}" for number in range(10)))
    assert list(load(classes, csv=path, test="2").remarks()) == []


def test_more_test_images_contain_fewer(classes):
    few, many = ({name for name, _ in names_in(load(classes, test=wanted).test)} for wanted in ("2", "10"))
    assert few < many


@pytest.mark.parametrize("wanted", ["5", "0", "0%", "-2", "half", "1+2+3", "100+1", "list"])
def test_wrong_number_of_test_images(wanted, classes):
    kind = DataError if wanted == "100+1" else UsageError
    assert "--test" in fault(classes, kind, test=wanted)


def test_test_images_never_take_a_whole_class(classes):
    shutil.rmtree(classes / "dog")
    trees.write(classes, ["dog/a.jpg"])
    assert "takes 1 of the 1 images of class 'dog'" in fault(classes)


@pytest.mark.parametrize("place", ["", "train/"])
def test_unlabeled_folder_beside(place, tmp_path):
    prefix = "train/" if place else ""
    names = [*names_of("cat", "dog", prefix=prefix), f"{place}unlabeled/x.jpg", f"{place}unlabeled/a/b/y.jpg"]
    raw = load(trees.write(tmp_path, names))
    unknown = [name for name, label in names_in(raw.train) if label == -1]
    assert unknown == [f"{place}unlabeled/a/b/y.jpg", f"{place}unlabeled/x.jpg"]
    assert raw.classes == ("cat", "dog")
    assert raw.test.labels.min() == 0


def test_unlabeled_images_never_move_the_keys_of_others(classes):
    before = load(classes)
    trees.write(classes, names_of("unlabeled"))
    after = load(classes)
    assert names_in(after.train)[: len(before.train.labels)] == names_in(before.train)
    assert names_in(after.test) == names_in(before.test)


def test_unlabeled_folder_elsewhere(classes, tmp_path):
    other = trees.write(tmp_path / "heap", ["z.jpg", "deep/y.jpg"], 500)
    raw = load(classes, unlabeled=other)
    assert names_in(raw.train)[-2:] == [("deep/y.jpg", -1), ("z.jpg", -1)]
    assert raw.train.references.shown(16) == "heap/deep/y.jpg"
    assert [image.content for image in raw.train.encoded()][-2:] == [trees.picture(501), trees.picture(500)]


@pytest.mark.parametrize("place", ["unlabeled", "more"])
def test_unlabeled_folder_inside_is_listed_once(place, classes):
    trees.write(classes, [f"{place}/x.jpg"])
    raw = load(classes, unlabeled=classes / place)
    assert names_in(raw.train)[16:] == [(f"{place}/x.jpg", -1)]
    assert raw.classes == ("cat", "dog")


def test_unlabeled_folder_of_labeled_images_is_refused(classes):
    trees.write(classes, ["cat/deep/x.jpg"])
    assert "no image" in fault(classes, unlabeled=classes / "cat" / "deep")
    assert "no image" in fault(classes, unlabeled=classes)
    assert "holds --source" in fault(classes, UsageError, unlabeled=classes.parent)
    (classes.parent / "empty").mkdir()
    assert "no image" in fault(classes, unlabeled=classes.parent / "empty")
    assert "does not exist" in fault(classes, unlabeled=classes.parent / "none")


def test_csv_and_folders_give_the_same_set(classes):
    trees.write(classes, names_of("unlabeled"))
    by_folder = load(classes)
    names = names_of("cat", "dog", count=10)
    lines = [f"{name},{name[:3]}" for name in random.Random(0).sample(names, 20)]
    by_table = load(classes, csv=table(classes, "file,label", *lines, *(f"{name}," for name in names_of("unlabeled"))))
    assert names_in(by_table.train) == names_in(by_folder.train)
    assert names_in(by_table.test) == names_in(by_folder.test)
    assert by_table.checksums == by_folder.checksums


def test_csv_with_splits(classes):
    rows = [
        ("cat/000.jpg", "b", "train"),
        ("cat/001.jpg", "a", ""),
        ("./cat//002.jpg", "a", "VAL"),
        ("cat/003.jpg", "b", "test"),
        ("cat/004.jpg", "a", "unlabeled"),
        ("dog/005.jpg", "", ""),
    ]
    path = table(classes, "split, Label ,Path", *(f"{split},{label},{file}" for file, label, split in rows))
    raw = load(classes, csv=path)
    assert raw.classes == ("a", "b")
    train = [("cat/000.jpg", 1), ("cat/001.jpg", 0), ("cat/002.jpg", 0), ("cat/004.jpg", -1), ("dog/005.jpg", -1)]
    assert names_in(raw.train) == train
    assert raw.val_ids.tolist() == [2]
    assert names_in(raw.test) == [("cat/003.jpg", 1)]


def test_csv_of_quotes_newlines_and_bom(tmp_path):
    names = ['a "b", c.jpg', "new\nline.jpg", "é.jpg", "d"]
    trees.write(tmp_path, names)
    lines = [f'"{name.replace(chr(34), chr(34) * 2)}","{label}"' for name, label in zip(names, "xxyy", strict=True)]
    path = table(tmp_path, "\ufefffilename,class", *lines, "")
    raw = load(tmp_path, csv=path, test="2")
    found = names_in(raw.train) + names_in(raw.test)
    assert sorted(found) == sorted(zip(names, [0, 0, 1, 1], strict=True))


def test_csv_with_the_rest_unlabeled(classes):
    path = table(classes, "file,label", *(f"cat/00{number}.jpg,{'ab'[number % 2]}" for number in range(6)))
    raw = load(classes, csv=path, unlabeled=classes, test="2")
    assert (raw.train.labels == -1).sum() == 14
    names = [name for name, _ in names_in(raw.train) + names_in(raw.test)]
    assert sorted(names) == names_of("cat", "dog", count=10)


CSV_FAULTS = {
    "no label column": (["file,kind", "cat/000.jpg,a"], "no column label or class"),
    "no file column": (["cat/000.jpg,a"], "no column file or path"),
    "empty": ([], "no column file"),
    "semicolons": (["file;label", "cat/000.jpg;a"], "'file;label'; separate the columns by commas, not by ';'"),
    "tabs": (["file\tlabel", "cat/000.jpg\ta"], r"separate the columns by commas, not by '\\t'"),
    "two label columns": (["file,label,class", "cat/000.jpg,a,a"], "'label' and 'class' both hold the label"),
    "two file columns": (["file,file,class", "cat/000.jpg,a,a"], "'file' and 'file' both hold the file"),
    "too few cells": (["file,label", "cat/000.jpg"], "line 2: 1 cells under 2 columns"),
    "too many cells": (["file,label", "cat/000.jpg,a,b"], "line 2: 3 cells under 2 columns"),
    "missing file": (["file,label", "cat/000.jpg,a", "cat/nope.jpg,a"], "line 3: .*nope.jpg: No such file"),
    "twice": (["file,label", "cat/000.jpg,a", "", "./cat/000.jpg,b"], r"line 4: .* is in line 2 already"),
    "traversal": (["file,label", "../x.jpg,a"], "line 2: '../x.jpg' leads out of --source"),
    "hidden traversal": (["file,label", "cat/../../x.jpg,a"], "line 2: .* leads out of --source"),
    "absolute": (["file,label", "/etc/passwd,a"], "line 2: '/etc/passwd' leads out of --source"),
    "no name": (["file,label", ",a"], "line 2: '' is no name of a file"),
    "zero byte": (["file,label", "a\0b,a"], "line 2: .* is no name of a file"),
    "unknown split": (["file,label,split", "cat/000.jpg,a,dev"], "line 2: split 'dev'"),
    "test without label": (["file,label,split", "cat/000.jpg,,test"], "line 2: a test image without a label"),
    "open quote": (["file,label", 'cat/000.jpg,"a'], "after line 1: .*fix the quotes"),
    "nothing labeled": (["file,label", "cat/000.jpg,"], "no image with a label"),
    "nothing to train": (["file,label,split", "cat/000.jpg,a,test", "cat/001.jpg,b,val"], "no training image"),
    "one class": (["file,label", "cat/000.jpg,a"], "only one class, a"),
    "class of two lines": (["file,label", 'cat/000.jpg,"a\nb"', "cat/001.jpg,c"], r"class 'a\\nb': the name must be"),
}


@pytest.mark.parametrize("case", CSV_FAULTS)
def test_csv_faults(case, classes):
    lines, text = CSV_FAULTS[case]
    line = fault(classes, csv=table(classes, *lines))
    assert re.search(text, line), line


def test_csv_that_is_no_text(classes):
    line = fault(classes, csv=table(classes, "file,label", "cat/000.jpg,é", encoding="latin-1"))
    assert "not UTF-8" in line
    assert "No such file" in fault(classes, csv=classes / "none.csv")


def test_source_faults(tmp_path):
    assert "--source is missing" in fault(None, UsageError)
    assert "does not exist" in fault(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    assert "is a file" in fault(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "no folder of images" in fault(tmp_path / "empty")
    assert "only one class, cat" in fault(trees.write(tmp_path / "one", names_of("cat")))
    assert "only one class, cat" in fault(trees.write(tmp_path / "two", names_of("train/cat", "test/cat")))


def test_empty_class_folder(classes):
    (classes / "bird" / "deep").mkdir(parents=True)
    (classes / "bird" / "x.gif").write_bytes(b"")
    assert "bird: a class without images" in fault(classes)


def test_image_beside_the_classes(classes):
    trees.write(classes, ["a.jpg"])
    assert "a.jpg: an image beside the classes" in fault(classes)


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_of_splits_must_be_those_of_train(split, divided):
    shutil.rmtree(divided / split / "dog")
    assert f"{split}/ has no 'dog'" in fault(divided)
    trees.write(divided, names_of(f"{split}/dog", f"{split}/eel"))
    assert "train/ has no 'eel'" in fault(divided)


def test_mixed_layouts(divided):
    trees.write(divided, names_of("valid/cat", "valid/dog"))
    assert "val and valid are both" in fault(divided)
    shutil.rmtree(divided / "valid")
    (divided / "notes").mkdir()
    load(trees.write(divided, ["notes/read.me"]))
    trees.write(divided, names_of("eel"))
    assert "eel/ with images beside train/" in fault(divided)


def test_test_folder_without_train(classes):
    trees.write(classes, names_of("test/cat", "test/dog"))
    assert "test/ with folders, but no train/" in fault(classes)


@pytest.mark.parametrize("name", [b"a\nb", b"\xff"])
def test_class_whose_name_is_no_line_of_text(name, classes):
    (classes / os.fsdecode(name)).mkdir()
    assert "rename it" in fault(classes)


def test_linked_folder_is_refused(classes):
    (classes / "eel").symlink_to(classes / "dog")
    assert "eel is a link to a folder: refused" in fault(classes)
    (classes / "eel").unlink()
    (classes / "dog" / "again").symlink_to(classes)
    assert "again is a link to a folder: refused" in fault(classes)


def test_folder_without_rights(classes):
    (classes / "dog").chmod(0)
    with trees.without_rights(classes):
        line = fault(classes)
    (classes / "dog").chmod(0o755)
    assert "dog: cannot be listed: Permission denied" in line.replace("dog/:", "dog:")


def test_checksum_sees_names_sizes_and_labels(classes):
    digests = [load(classes).checksums["listing"]]
    (classes / "cat" / "000.jpg").write_bytes(b"shorter")
    digests.append(load(classes).checksums["listing"])
    (classes / "cat" / "000.jpg").rename(classes / "cat" / "000b.jpg")
    digests.append(load(classes).checksums["listing"])
    (classes / "cat" / "000b.jpg").rename(classes / "dog" / "000b.jpg")
    digests.append(load(classes).checksums["listing"])
    assert len(set(digests)) == 4
    raw = load(classes)
    assert listing_digest({"train": raw.train}) != listing_digest({"val": raw.train})


def label_list(folder, *lines):
    path = folder.parent / "labeled.txt"
    path.write_bytes(b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines))
    return path


def test_label_list_of_paths_and_names(divided):
    trees.write(divided, ["train/cat/only.jpg"])
    path = label_list(divided, "train/cat/000.jpg", "dog/001.jpg", "", "./train/dog/002.jpg\r", "only.jpg")
    raw = load(divided, label_list=path)
    names = [names_in(raw.train)[index][0] for index in raw.labeled_ids]
    assert names == ["train/cat/000.jpg", "train/cat/only.jpg", "train/dog/001.jpg", "train/dog/002.jpg"]
    assert raw.labeled_ids.tolist() == sorted(raw.labeled_ids.tolist())


def test_label_list_prefers_the_whole_path(tmp_path):
    trees.write(tmp_path / "tree", ["x.jpg", "y.jpg", "sub/x.jpg", "z.jpg", "w.jpg", "v.jpg"])
    rows = ["x.jpg,a", "y.jpg,b", "sub/x.jpg,b", "z.jpg,a", "w.jpg,a,", "v.jpg,b"]
    path = table(
        tmp_path, "file,label,split", *(f"{row.rstrip(',')},{'test' if row[0] in 'wv' else ''}" for row in rows)
    )
    raw = load(tmp_path / "tree", csv=path, label_list=label_list(tmp_path / "tree", "x.jpg", "y.jpg"))
    assert [names_in(raw.train)[index][0] for index in raw.labeled_ids] == ["x.jpg", "y.jpg"]


def test_label_list_of_any_bytes(divided):
    name = "train/cat/\udcff.jpg"
    trees.write(divided, [name])
    raw = load(divided, label_list=label_list(divided, name, "dog/000.jpg"))
    assert names_in(raw.train)[raw.labeled_ids[0]][0] == name


LIST_FAULTS = {
    "unknown": (["dog/000.jpg", "cat/nope.jpg"], "line 2: 'cat/nope.jpg' is no image of this source"),
    "twice": (["dog/000.jpg", "", "train/dog/000.jpg"], "line 3: 'train/dog/000.jpg' is in line 1 already"),
    "not clear": (["000.jpg"], "line 1: '000.jpg' is the name of several images"),
    "missing class": (["dog/000.jpg"], "no image of class 'cat'"),
    "empty": ([], "no image of class 'cat'"),
    "val image": (["val/dog/000.jpg"], "line 1: 'val/dog/000.jpg' is a validation image"),
    "test image": (["test/dog/000.jpg"], "line 1: 'test/dog/000.jpg' is a test image"),
    "unlabeled image": (["u.jpg"], "line 1: 'u.jpg' is an image without a label"),
}


@pytest.mark.parametrize("case", LIST_FAULTS)
def test_label_list_faults(case, divided):
    trees.write(divided, ["unlabeled/u.jpg"])
    lines, text = LIST_FAULTS[case]
    assert text in fault(divided, label_list=label_list(divided, *lines))


def test_label_list_that_is_missing(divided):
    assert "No such file" in fault(divided, label_list=divided / "none.txt")


def test_test_images_are_taken_from_those_that_the_list_leaves(classes):
    listed = [f"{name}/{number:03d}.jpg" for name in ("cat", "dog") for number in range(8)]
    raw = load(classes, label_list=label_list(classes, *listed))
    train, test = names_in(raw.train), names_in(raw.test)
    assert [train[index][0] for index in raw.labeled_ids] == listed
    assert [name for name, _ in test] == [f"{name}/{number:03d}.jpg" for name in ("cat", "dog") for number in (8, 9)]


def test_a_list_that_leaves_the_drawn_images_alone_changes_none_of_them(classes):
    drawn = names_in(load(classes).test)
    free = sorted(set(names_of("cat", "dog", count=10)) - {name for name, _ in drawn})
    raw = load(classes, label_list=label_list(classes, free[0], free[-1]))
    assert names_in(raw.test) == drawn
    assert [names_in(raw.train)[index][0] for index in raw.labeled_ids] == [free[0], free[-1]]


def test_a_list_that_leaves_too_few_to_test_on(classes):
    path = label_list(classes, *names_of("cat", count=9), "dog/000.jpg")
    said = "--test 20% takes 2 images of class 'cat', of which only 1 are not in --label-list"
    assert said in fault(classes, label_list=path)


class Unsearched(list):
    """Class names that cannot be searched, because searches for all of them would take quadratic time."""

    def index(self, *_):
        raise AssertionError("searched")

    __contains__ = index


def test_classes_are_numbered_without_searching(classes):
    root = Root(os.fsencode(classes))
    part = list_classes(root, b"", Unsearched([b"cat", b"dog"]), LoadOptions(classes, image_format="original"))
    assert np.bincount(part.labels).tolist() == [10, 10]
