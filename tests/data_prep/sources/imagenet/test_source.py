"""ImageNet from folders and from the official archives: the same images have the same keys, and nothing is unpacked."""

import io
import os
import random
import re
import shutil
import tarfile

import numpy as np
import pytest

from data_prep.sources.imagenet.source import SOURCE, TRAIN, VAL
from data_prep.sources.imagenet.val_labels import DEVKIT, META, READERS, TRUTH
from data_prep.system.errors import DataError
from tests.data_prep import trees
from tests.data_prep.trees import SYNSETS, names_in, tar_bytes


def load(path, **options):
    return trees.load(SOURCE, path, **{"checksum": False} | options)


def fault(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def tree(tmp_path):
    return trees.write_imagenet(tmp_path / "tree")


@pytest.fixture
def flat(tree):
    """Write the validation images into one folder; their classes take turns."""
    for path in list((tree / "val").glob("*/*")):
        path.rename(tree / "val" / path.name)
    for synset in SYNSETS:
        (tree / "val" / synset).rmdir()
    return tree


def synset_of(name):
    return SYNSETS[(int(name[-8:]) - 1) % 3]


def stems():
    return [name.removesuffix(".JPEG") for name in trees.val_names()]


def meta(synsets=SYNSETS, start=1):
    """Write the devkit's table: its classes are not sorted, and an inner node of WordNet comes last."""
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, synset, "a word", 0) for number, synset in enumerate(reversed(synsets), start)]
    table = np.array([*rows, (len(rows) + start, "n00001740", "entity", 2)], dtype=fields)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": table.reshape(-1, 1)})
    return buffer.getvalue()


def truth():
    return "".join(f"{3 - SYNSETS.index(synset_of(stem))}\n" for stem in stems()).encode()


def solution():
    rows = [f"{stem},{synset_of(stem)} 1 2 3 4 {synset_of(stem)} 5 6 7 8 \n" for stem in reversed(stems())]
    return "".join(["ImageId,PredictionString\n", *rows]).encode()


def val_list():
    return "".join(f"{stem}.JPEG {synset_of(stem)}\n" for stem in stems()).encode()


def write_labels(folder, kind):
    """Write one of the published lists."""
    inner = folder / "ILSVRC2012_devkit_t12" / "data"
    files = {
        "LOC_val_solution.csv": {"LOC_val_solution.csv": solution()},
        "val.txt": {"val.txt": val_list()},
        f"ILSVRC2012_devkit_t12/data/{TRUTH}": {
            f"ILSVRC2012_devkit_t12/data/{TRUTH}": truth(),
            f"ILSVRC2012_devkit_t12/data/{META}": meta(),
        },
        TRUTH: {TRUTH: truth(), META: meta()},
        DEVKIT: {DEVKIT: devkit()},
    }
    inner.mkdir(parents=True, exist_ok=True)
    for name, content in files[kind].items():
        (folder / name).write_bytes(content)


def devkit():
    import gzip

    base = "ILSVRC2012_devkit_t12/data"
    return gzip.compress(tar_bytes([(f"{base}/{META}", meta()), (f"{base}/{TRUTH}", truth()), (f"{base}/x.m", b"")]))


def test_folders(tree):
    raw = load(tree)
    assert raw.classes == SYNSETS
    assert np.bincount(raw.train.labels).tolist() == [6, 6, 6]
    names = [f"{synset}/{name}" for synset in SYNSETS for name in trees.imagenet_names(synset)]
    assert names_in(raw.train) == [(name, SYNSETS.index(name[:9])) for name in names]
    assert [image.content for image in raw.train.encoded()] == [
        trees.picture(100 * label + number) for label in range(3) for number in range(6)
    ]
    assert names_in(raw.test) == [
        (f"{SYNSETS[label]}/ILSVRC2012_val_{number:08d}.JPEG", label)
        for label in range(3)
        for number in (label + 1, label + 4)
    ]
    assert raw.train.references.shown(0) == f"train/{names[0]}"
    assert raw.val_ids is None


@pytest.mark.parametrize("kind", READERS)
def test_flat_val_with_each_list_of_labels(kind, flat):
    write_labels(flat, kind)
    raw = load(flat)
    assert names_in(raw.test) == [(name, SYNSETS.index(synset_of(name[:-5]))) for name in trees.val_names()]
    assert [image.content for image in raw.test.encoded()] == [trees.picture(1000 + number) for number in range(6)]


def test_layout_of_kaggle(flat, tmp_path):
    write_labels(tmp_path, "LOC_val_solution.csv")
    (tmp_path / "ILSVRC/Data").mkdir(parents=True)
    flat.rename(tmp_path / "ILSVRC/Data/CLS-LOC")
    assert load(tmp_path).test.labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_in_place_are_the_folders(form, tree, tmp_path):
    archives = trees.write_archives(tmp_path / "archives", tree, form)
    write_labels(archives, DEVKIT)
    before = {path.name for path in archives.rglob("*")}
    packed, unpacked = load(archives), load(tree)
    assert names_in(packed.train) == names_in(unpacked.train)
    assert packed.classes == unpacked.classes
    pick = np.array([7, 3, 17])
    for part, other in ((packed.train, unpacked.train), (packed.train.select(pick), unpacked.train.select(pick))):
        assert [image.content for image in part.encoded()] == [image.content for image in other.encoded()]
    by_name = {
        name.rpartition("/")[2]: image.content
        for (name, _), image in zip(names_in(unpacked.test), unpacked.test.encoded(), strict=True)
    }
    assert [
        (name, image.content) for (name, _), image in zip(names_in(packed.test), packed.test.encoded(), strict=True)
    ] == sorted(by_name.items())
    assert packed.train.references.shown(0) == f"{TRAIN}: n01440764/n01440764_0.JPEG"
    assert {path.name for path in archives.rglob("*")} == before


def test_train_archive_with_val_folders(tree, tmp_path):
    archives = trees.write_archives(tmp_path / "archives", tree)
    shutil.copytree(tree / "val", archives / "val")
    assert names_in(load(archives).test) == names_in(load(tree).test)


def test_long_names_and_folders_in_archives(tree, tmp_path):
    archives = trees.write_archives(tmp_path / "archives", tree)
    long = "x" * 150 + ".JPEG"
    inner = tar_bytes([(f"./deep/{long}", trees.picture(5))], tarfile.GNU_FORMAT)
    members = [
        (f"./{SYNSETS[0]}.tar", inner),
        (f"{SYNSETS[1]}.tar", tar_bytes([(long, trees.picture(6))], tarfile.PAX_FORMAT)),
    ]
    (archives / TRAIN).write_bytes(tar_bytes(members, tarfile.PAX_FORMAT))
    write_labels(archives, "val.txt")
    raw = load(archives)
    assert [name for name, _ in names_in(raw.train)] == [f"{synset}/{long}" for synset in SYNSETS[:2]]
    assert [image.content for image in raw.train.encoded()] == [trees.picture(5), trees.picture(6)]


def test_some_classes_take_their_test_images_alone(flat, tree):
    shutil.rmtree(tree / "train" / SYNSETS[1])
    write_labels(flat, "val.txt")
    raw = load(flat)
    assert raw.classes == (SYNSETS[0], SYNSETS[2])
    assert [name[-13:-5] for name, _ in names_in(raw.test)] == ["00000001", "00000003", "00000004", "00000006"]
    assert raw.test.labels.tolist() == [0, 1, 0, 1]


def test_more_classes_in_val_folders(tree):
    shutil.rmtree(tree / "train" / SYNSETS[1])
    assert load(tree).test.labels.tolist() == [0, 0, 1, 1]


def test_numbers_need_all_classes(flat):
    (flat / "val.txt").write_text("".join(f"{stem}.JPEG 0\n" for stem in stems()))
    assert "number 0 needs all 1000 classes" in fault(flat)


def test_numbers_are_indices_into_all_classes(tmp_path):
    synsets = [f"n{number:08d}" for number in range(1000)]
    for synset in synsets:
        trees.write(tmp_path / "train" / synset, [])
        (tmp_path / "train" / synset).mkdir(parents=True)
        (tmp_path / "train" / synset / "a.JPEG").write_bytes(b"")
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / f"ILSVRC2012_val_{int(synset[1:]):08d}.JPEG").write_bytes(b"")
    places = random.Random(0).sample(range(1000), 1000)
    (tmp_path / "val.txt").write_text(
        "".join(f"ILSVRC2012_val_{n:08d}.JPEG {place}\n" for n, place in enumerate(places))
    )
    assert load(tmp_path).test.labels.tolist() == places


@pytest.mark.parametrize("form", ["{name}", "{synset}/{name}", "train/{synset}/{name}"])
def test_list_of_ten_percent(form, tree, tmp_path):
    chosen = [(synset, trees.imagenet_names(synset)[number]) for synset in reversed(SYNSETS) for number in (4, 1)]
    path = tmp_path / "10percent.txt"
    path.write_text("".join(form.format(synset=synset, name=name) + "\n" for synset, name in chosen))
    archives = trees.write_archives(tmp_path / "archives", tree)
    shutil.copytree(tree / "val", archives / "val")
    assert load(tree, label_list=path).labeled_ids.tolist() == [1, 4, 7, 10, 13, 16]
    assert load(archives, label_list=path).labeled_ids.tolist() == [1, 4, 7, 10, 13, 16]
    path.write_text("ILSVRC2012_val_00000001.JPEG\n")
    assert "line 1: 'ILSVRC2012_val_00000001.JPEG' is a test image" in fault(tree, label_list=path)


def test_missing_parts(tree, tmp_path):
    assert "does not exist" in fault(tmp_path / "none")
    shutil.rmtree(tree / "val")
    assert f"neither val/ nor {VAL}" in fault(tree)
    shutil.rmtree(tree / "train")
    assert f"neither train/ nor {TRAIN}" in fault(tree)
    trees.write(tree / "train" / "cat", ["a.jpg"])
    assert "no class folder such as n01440764" in fault(tree)
    trees.write(tree / "train" / SYNSETS[0], ["a.jpg"])
    trees.write(tree / "val" / SYNSETS[0], ["b.jpg"])
    assert f"only one class, {SYNSETS[0]}" in fault(tree)


def test_class_without_images(tree):
    shutil.rmtree(tree / "val" / SYNSETS[1])
    assert f"no image of {SYNSETS[1]}" in fault(tree)
    (tree / "val" / SYNSETS[1]).mkdir()
    assert "a class without images" in fault(tree)


def test_flat_val_needs_labels(flat):
    assert "need labels; put one of these there: LOC_val_solution.csv, val.txt" in fault(flat)
    write_labels(flat, "val.txt")
    (flat / "val" / "ILSVRC2012_val_00000077.JPEG").write_bytes(trees.picture())
    assert "ILSVRC2012_val_00000077.JPEG: no label for it" in fault(flat)


def test_flat_val_without_a_class(flat):
    write_labels(flat, "val.txt")
    for number in (2, 5):
        (flat / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").unlink()
    assert f"no image of {SYNSETS[1]}" in fault(flat)


def test_linked_train_folder_is_refused(tree):
    (tree / "train").rename(tree.parent / "elsewhere")
    (tree / "train").symlink_to(tree.parent / "elsewhere")
    assert "train is a link to a folder: refused" in fault(tree)


DAMAGED_LABELS = {
    "words": ("val.txt", b"ILSVRC2012_val_00000001.JPEG cat\n", "line 1: no class such as n01440764"),
    "no label": ("val.txt", b"ILSVRC2012_val_00000001.JPEG\n", "line 1: no class such as"),
    "twice": ("val.txt", val_list() + b"ILSVRC2012_val_00000001.JPEG n01440764\n", "line 7: .* is there twice"),
    "no text": ("val.txt", b"\xff\xfe", "not a readable text"),
    "cut solution": ("LOC_val_solution.csv", solution()[:-60], "line 7: no class such as"),
    "number out of range": (TRUTH, b"1\n77\n", "number 2 of .*: no class such as"),
    "no number": (TRUTH, b"1\nx\n", "number 2 of .*: no class such as"),
    "no devkit": (DEVKIT, tar_bytes([("x", bytes(900))])[:700], "not a readable tar archive"),
    "other devkit": (DEVKIT, tar_bytes([("ILSVRC2012_devkit_t12/data/x", b"")]), f"{TRUTH}, {META} missing"),
    "unsafe devkit": (DEVKIT, tar_bytes([("../data/meta.mat", meta())]), "leads out of the archive"),
}


@pytest.mark.parametrize("case", DAMAGED_LABELS)
def test_damaged_labels(case, flat):
    name, content, text = DAMAGED_LABELS[case]
    (flat / META).write_bytes(meta())
    (flat / name).write_bytes(content)
    line = fault(flat)
    assert re.search(text, line), line


def test_damaged_table_of_classes(flat):
    (flat / TRUTH).write_bytes(truth())
    assert f"put {META} of the devkit beside {TRUTH}" in fault(flat)
    for content in (b"", b"MATLAB 5.0 MAT-file" + bytes(200), meta()[:400]):
        (flat / META).write_bytes(content)
        assert "is not the devkit's" in fault(flat)


def test_other_devkit_is_refused_unless_checksums_are_off(flat):
    write_labels(flat, DEVKIT)
    assert "is not the published file (md5 " in fault(flat, checksum=True)


@pytest.fixture
def archives(tree, tmp_path):
    folder = trees.write_archives(tmp_path / "archives", tree)
    write_labels(folder, "val.txt")
    return folder


def special(name, kind, link="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


UNSAFE = {
    "symlink": (special("a.JPEG", tarfile.SYMTYPE), "is a link or a device"),
    "hard link": (special("a.JPEG", tarfile.LNKTYPE), "is a link or a device"),
    "device": (special("a.JPEG", tarfile.CHRTYPE), "is a link or a device"),
    "pipe": (special("a.JPEG", tarfile.FIFOTYPE), "is a link or a device"),
    "sparse": (special("a.JPEG", tarfile.GNUTYPE_SPARSE), "is a link or a device"),
    "traversal": (special("../a.JPEG", tarfile.REGTYPE), "leads out of the archive"),
    "absolute": (special("/a.JPEG", tarfile.REGTYPE), "leads out of the archive"),
}


@pytest.mark.parametrize("place", ["outer", "inner", "val"])
@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_members_of_archives(case, place, archives):
    info, text = UNSAFE[case]
    bad = tar_bytes([(info, b"")])
    contents = {"outer": bad, "inner": tar_bytes([(f"{SYNSETS[0]}.tar", bad)]), "val": bad}
    (archives / (VAL if place == "val" else TRAIN)).write_bytes(contents[place])
    line = fault(archives)
    assert text in line
    assert "archives" in line


def test_huge_member_of_an_archive(archives):
    info = tarfile.TarInfo("ILSVRC2012_val_00000001.JPEG")
    info.size = 5 << 30
    (archives / VAL).write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    assert "would take 5368709120 bytes" in fault(archives)


@pytest.mark.parametrize("name", [TRAIN, VAL])
def test_archive_cut_anywhere_is_refused(name, archives):
    content = (archives / name).read_bytes()
    with tarfile.open(archives / name) as archive:
        members = archive.getmembers()
    end = members[-1]
    last = end.offset_data + -(-end.size // 512) * 512
    edges = [members[1].offset, last]  # where a member ends, tarfile raises no error
    for size in [*edges, *(edge + step for edge in edges for step in (-300, -1, 1, 300)), 100, 0]:
        (archives / name).write_bytes(content[:size])
        line = fault(archives)
        assert name in line, size
        assert "get it again" in line or "is there twice" in line, line


def test_archive_with_a_broken_header_is_refused(archives):
    content = bytearray((archives / VAL).read_bytes())
    with tarfile.open(archives / VAL) as archive:
        content[archive.getmembers()[2].offset] ^= 1
    (archives / VAL).write_bytes(content)
    assert "cut or damaged after" in fault(archives)


def test_inner_tar_that_lies_about_its_end(archives):
    """An inner tar is never read beyond its end into the next one."""
    whole = tar_bytes([("a.JPEG", trees.picture()), ("b.JPEG", trees.picture())])
    members = [(f"{SYNSETS[0]}.tar", whole[:1024]), (f"{SYNSETS[1]}.tar", whole)]
    (archives / TRAIN).write_bytes(tar_bytes(members))
    assert f"{SYNSETS[0]}.tar" in fault(archives)


def test_other_archives_are_refused(archives):
    import gzip

    content = (archives / TRAIN).read_bytes()
    (archives / TRAIN).write_bytes(gzip.compress(content))
    assert "not a readable tar without compression" in fault(archives)
    (archives / TRAIN).write_bytes(tar_bytes([("a.JPEG", trees.picture())]))
    assert "'a.JPEG' is no class such as n01440764.tar" in fault(archives)
    inner = tar_bytes([("a.JPEG", trees.picture())])
    (archives / TRAIN).write_bytes(tar_bytes([(f"{SYNSETS[0]}.tar", inner)] * 2))
    assert "is there twice" in fault(archives)
    (archives / TRAIN).write_bytes(tar_bytes([(f"{SYNSETS[0]}.tar", tar_bytes([("a.txt", b"")]))]))
    assert "holds no image" in fault(archives)
    (archives / TRAIN).write_bytes(
        tar_bytes([(f"{SYNSETS[0]}.tar", tar_bytes([("x/a.JPEG", b""), ("y/a.JPEG", b"")]))])
    )
    assert "is there twice" in fault(archives)


def test_nothing_of_the_tree_but_names_and_sizes_is_read(tree):
    for path in tree.rglob("*.JPEG"):
        size = path.stat().st_size
        path.unlink()
        os.mknod(path) if size == 0 else path.write_bytes(bytes(size))
    assert load(tree).checksums == load(trees.write_imagenet(tree.parent / "other")).checksums
