"""STL-10's binary files: pixels are upright, labels begin at 0, unlabeled images are never in memory at once."""

import gzip
import hashlib
import shutil
import tarfile
import tracemalloc

import numpy as np
import pytest

from data_prep.images.codecs import decode_image
from data_prep.sources import LoadOptions, stl10
from data_prep.sources.stl10 import SOURCE
from data_prep.system.errors import DataError
from tests.data_prep import fixtures, trees

COUNTS = {"train": 20, "unlabeled": 30, "test": 10}


def images(part):
    """uint8 [N, 96, 96, 3]."""
    seed = list(COUNTS).index(part)
    return np.random.default_rng(seed).integers(0, 256, (COUNTS[part], 96, 96, 3), dtype=np.uint8)


@pytest.fixture
def binary(tmp_path):
    """Write the official layout: channel by channel, each column by column; labels from 1 on."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part in COUNTS:
        (folder / f"{part}_X.bin").write_bytes(images(part).transpose(0, 3, 2, 1).tobytes())
    for part in ("train", "test"):
        labels = [number % 10 + 1 for number in range(COUNTS[part])]
        (folder / f"{part}_y.bin").write_bytes(bytes(labels))
    return folder


def load(path, **options):
    return SOURCE.load(LoadOptions(path, **{"checksum": False} | options))


def fault(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pixels_and_labels(binary):
    raw = load(binary)
    assert raw.classes == SOURCE.classes == stl10.CLASSES
    assert raw.train.labels.tolist() == [*list(range(10)) * 2, *[-1] * 30]
    assert raw.test.labels.tolist() == list(range(10))
    everything = raw.train.select(np.arange(50))
    np.testing.assert_array_equal(everything.images, np.concatenate([images("train"), images("unlabeled")]))
    np.testing.assert_array_equal(raw.test.images, images("test"))


def test_first_pixels_are_where_torchvision_reads_them(binary):
    """The official files hold columns: byte 1 is the first red pixel of the second row."""
    content = (binary / "train_X.bin").read_bytes()
    image = load(binary).train.select(np.array([0])).images[0]
    assert [image[0, 0, 0], image[1, 0, 0], image[0, 1, 0], image[0, 0, 1]] == [
        content[place] for place in (0, 1, 96, 96 * 96)
    ]


def test_selection_across_both_files_keeps_the_asked_order(binary):
    raw = load(binary)
    picked = np.array([49, 3, 20, 19, 3])
    part = raw.train.select(picked)
    both = np.concatenate([images("train"), images("unlabeled")])
    np.testing.assert_array_equal(part.images, both[picked])
    assert part.labels.tolist() == [-1, 3, -1, 9, 3]
    decoded = [decode_image(image.content, (96, 96, 3), "png") for image in part.encoded()]
    np.testing.assert_array_equal(decoded, both[picked])


def test_whole_part_is_encoded_in_order(binary):
    contents = [image.content for image in load(binary).train.encoded()]
    assert len(contents) == 50
    np.testing.assert_array_equal(decode_image(contents[20], (96, 96, 3), "png"), images("unlabeled")[0])


def test_folder_and_archive_are_the_same(binary, tmp_path):
    archive = fixtures.pack(binary, tmp_path / "stl10_binary.tar.gz")
    raws = [load(path) for path in (binary, tmp_path, archive)]
    shutil.rmtree(binary)
    raws.append(load(tmp_path))
    pixels = [raw.train.select(np.arange(50)).images for raw in raws]
    for other, raw in zip(pixels[1:], raws[1:], strict=True):
        np.testing.assert_array_equal(pixels[0], other)
        assert raw.checksums == raws[0].checksums
    digest = hashlib.sha256(images("test").transpose(0, 3, 2, 1).tobytes()).hexdigest()
    assert raws[0].checksums["test_X.bin"] == digest


def test_archive_leaves_nothing_behind(binary, tmp_path, monkeypatch):
    monkeypatch.setenv("SMPL_CACHE", str(tmp_path / "cache"))
    raw = load(fixtures.pack(binary, tmp_path / "stl10_binary.tar.gz"))
    assert list((tmp_path / "cache").iterdir()) == []
    np.testing.assert_array_equal(raw.test.images, images("test"))


def test_downloaded_archive_comes_from_the_cache(binary, tmp_path):
    (tmp_path / "cache").mkdir()
    fixtures.pack(binary, tmp_path / "cache" / "stl10_binary.tar.gz")
    assert len(load(None).train.labels) == 50


@pytest.mark.parametrize("packed", [False, True])
def test_unlabeled_images_are_not_loaded(packed, binary, tmp_path):
    with (binary / "unlabeled_X.bin").open("wb") as file:
        file.truncate(1000 * stl10.IMAGE_BYTES)  # 28 MB
    path = fixtures.pack(binary, tmp_path / "x.tar.gz") if packed else binary
    tracemalloc.start()
    try:
        raw = load(path)
        raw.train.select(np.arange(20, 120))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert len(raw.train.labels) == 1020


def test_other_bytes_are_refused_unless_checksums_are_off(binary):
    assert "train_X.bin is not the published file (md5 " in fault(binary, checksum=True)


@pytest.mark.parametrize("name", stl10.FILES)
def test_missing_file_is_named(name, binary, tmp_path):
    (binary / name).unlink()
    assert f"{name} missing; --source takes stl10_binary" in fault(binary)
    assert f"{name} missing" in fault(fixtures.pack(binary, tmp_path / "x.tar.gz"))


def test_no_source_at_all(tmp_path):
    assert "train_X.bin" in fault(tmp_path)
    assert "does not exist" in fault(tmp_path / "none")


@pytest.mark.parametrize("name", ["train_X.bin", "unlabeled_X.bin", "test_X.bin"])
@pytest.mark.parametrize("size", [0, 1, 27_648 * 3 + 1])
def test_cut_images(name, size, binary):
    (binary / name).write_bytes(bytes(size))
    assert f"{name} has {size} bytes, which is no whole number of images" in fault(binary)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (bytes([1] * 19), "19 labels for 20 images"),
        (bytes([*[1] * 19, 0]), "other labels than 1 to 10"),
        (bytes([*[1] * 19, 11]), "other labels than 1 to 10"),
        (b"", "0 labels for 20 images"),
    ],
)
def test_wrong_labels(labels, text, binary):
    (binary / "train_y.bin").write_bytes(labels)
    assert text in fault(binary)


def test_damaged_archives(binary, tmp_path):
    archive = fixtures.pack(binary, tmp_path / "x.tar.gz")
    content = archive.read_bytes()
    for damaged in (content[:100_000], b"", gzip.compress(b"no tar")):
        archive.write_bytes(damaged)
        assert "not a readable tar archive" in fault(archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_unsafe_members(kind, tmp_path):
    info = tarfile.TarInfo("stl10_binary/train_X.bin")
    info.type, info.linkname = kind, "/etc/passwd"
    (tmp_path / "x.tar").write_bytes(trees.tar_bytes([(info, b"")]))
    assert "is a link or a device" in fault(tmp_path / "x.tar")


def test_traversal_and_bombs(tmp_path):
    (tmp_path / "x.tar").write_bytes(trees.tar_bytes([("../train_X.bin", b"")]))
    assert "leads out of the archive" in fault(tmp_path / "x.tar")
    info = tarfile.TarInfo("stl10_binary/unlabeled_X.bin")
    info.size = 5 << 30
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    assert "would take 5368709120 bytes" in fault(tmp_path / "x.tar")
