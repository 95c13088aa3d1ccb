"""Official files are read exactly, and nothing in them is trusted."""

import gzip
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.sources import SOURCES, LoadOptions
from data_prep.sources.archives.unpickle import unpickle_arrays
from data_prep.system.errors import DataError
from tests.data_prep import fixtures


def load(name, path, **options):
    return SOURCES[name].load(LoadOptions(path, **{"checksum": False} | options))


def test_digits_are_the_published_scans():
    from sklearn.datasets import load_digits

    raw = SOURCES["digits"].load(LoadOptions())
    assert raw.train.images.shape == (1397, 8, 8, 1)
    assert np.bincount(raw.test.labels).tolist() == [40] * 10
    both = np.concatenate([raw.train.images, raw.test.images])[..., 0]
    assert sorted(map(bytes, both)) == sorted(map(bytes, np.round(load_digits().images * 255 / 16).astype(np.uint8)))


def test_cifar10_pixels_and_order(cifar10):
    raw = load("cifar10", cifar10)
    expected = np.concatenate([fixtures.random_images(40, batch) for batch in range(5)])
    np.testing.assert_array_equal(raw.train.images, expected)
    np.testing.assert_array_equal(raw.test.images, fixtures.random_images(40, 5))
    assert raw.train.labels.tolist() == list(range(10)) * 20


def test_cifar100_fine_labels(tmp_path):
    raw = load("cifar100", fixtures.write_cifar100(tmp_path))
    np.testing.assert_array_equal(raw.train.images, fixtures.random_images(300, 0))
    assert raw.train.labels.tolist() == list(range(100)) * 3
    request = PrepareRequest(
        "cifar100", tmp_path / "set", tmp_path / "cifar-100-python", labels=100, val=100, checksum=False, workers=1
    )
    assert prepare(request).counts["labeled"] == (1,) * 100
    assert len(set(SOURCES["cifar100"].classes)) == 100


def test_folder_and_archive_give_the_same_bytes(tmp_path, tiny, cifar10):
    archive = fixtures.pack(cifar10, tmp_path / "cifar-10-python.tar.gz")
    for name, source in {"inner": cifar10, "outer": cifar10.parent, "tar": archive, "beside": tmp_path}.items():
        prepare(PrepareRequest(**tiny | {"out": tmp_path / name, "source": source}))
    assert len({tuple(fixtures.contents(tmp_path / name).items()) for name in ("inner", "outer", "tar", "beside")}) == 1


def test_other_bytes_are_refused_unless_checksums_are_off(cifar10):
    with pytest.raises(DataError, match=r"data_batch_1 is not the published file \(md5 .*--checksum off"):
        load("cifar10", cifar10, checksum=True)


def test_missing_batch_is_named(tmp_path, cifar10):
    broken = shutil.copytree(cifar10, tmp_path / "cifar-10-batches-py")
    (broken / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"data_batch_3 missing; --source takes"):
        load("cifar10", tmp_path)
    with pytest.raises(DataError, match="data_batch_1, data_batch_2"):
        load("cifar10", tmp_path.parent)


def test_pickle_bomb_in_a_batch_is_never_executed(tmp_path, cifar10):
    broken = shutil.copytree(cifar10, tmp_path / "batches")
    flag = tmp_path / "executed"
    (broken / "data_batch_2").write_bytes(fixtures.bomb(flag))
    with pytest.raises(DataError, match=r"data_batch_2: refused global (io|_io|builtins|__builtin__)\.open"):
        load("cifar10", broken)
    assert not flag.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cdtype.__init__\x93.",
        b"",
        b"\x80\x02}(",
        pickle.dumps([1, 2]),
    ],
)
def test_other_pickles_are_refused_by_name(content):
    with pytest.raises(DataError, match=r"^batch: "):
        unpickle_arrays(content, "batch")


def test_current_numpy_pickles_are_read():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for protocol in (2, 3, 4):
        result = unpickle_arrays(pickle.dumps({"data": array}, protocol=protocol), "batch")
        np.testing.assert_array_equal(result["data"], array)


@pytest.mark.parametrize(
    "batch",
    [{}, {"data": np.zeros((2, 3072)), "labels": [1, 2]}, {"data": np.zeros((2, 3072), np.uint8), "labels": "ab"}],
)
def test_batch_of_another_form_is_refused(batch, tmp_path, cifar10):
    broken = shutil.copytree(cifar10, tmp_path / "batches")
    (broken / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DataError, match="test_batch: "):
        load("cifar10", broken)


MEMBERS = {
    "traversal": ("../../escape", tarfile.REGTYPE, "leads out of the archive"),
    "absolute": ("/escape", tarfile.REGTYPE, "leads out of the archive"),
    "symlink": ("cifar-10-batches-py/data_batch_1", tarfile.SYMTYPE, "is a link or a device"),
    "hardlink": ("cifar-10-batches-py/data_batch_1", tarfile.LNKTYPE, "is a link or a device"),
    "device": ("cifar-10-batches-py/null", tarfile.CHRTYPE, "is a link or a device"),
    "pipe": ("pipe", tarfile.FIFOTYPE, "is a link or a device"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_unsafe_members_are_refused(name, tmp_path):
    info = tarfile.TarInfo(MEMBERS[name][0])
    info.type, info.linkname = MEMBERS[name][1], "/etc/passwd"
    with pytest.raises(DataError, match=MEMBERS[name][2]):
        load("cifar10", fixtures.tar_of(tmp_path / "source.tar", (info, b"")))


def test_huge_member_is_refused(tmp_path):
    info = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    info.size = 5 << 30
    (tmp_path / "source.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="would take 5368709120 bytes"):
        load("cifar10", tmp_path / "source.tar")


def test_cut_archive_is_one_line(tmp_path, cifar10):
    archive = fixtures.pack(cifar10, tmp_path / "cifar-10-python.tar.gz")
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(DataError, match="not a readable tar archive"):
        load("cifar10", archive)
    archive.write_bytes(gzip.compress(b"no tar"))
    with pytest.raises(DataError, match="not a readable tar archive"):
        load("cifar10", archive)


def test_svhn_label_ten_is_zero(tmp_path):
    raw = load("svhn", fixtures.write_svhn(tmp_path))
    assert raw.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 4
    np.testing.assert_array_equal(raw.train.images, fixtures.random_images(40, 0))
    np.testing.assert_array_equal(raw.test.images, fixtures.random_images(40, 1))


def test_svhn_extra_follows_the_training_images(tmp_path):
    raw = load("svhn", fixtures.write_svhn(tmp_path), extra=True)
    np.testing.assert_array_equal(raw.train.images[40:], fixtures.random_images(40, 2))
    assert set(raw.checksums) == {"train_32x32.mat", "extra_32x32.mat", "test_32x32.mat"}


@pytest.mark.parametrize("content", [b"", b"MATLAB 7.3 MAT-file" + bytes(200), bytes(4000)])
def test_svhn_damage_is_one_line(content, tmp_path):
    fixtures.write_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"test_32x32\.mat: not a readable \.mat file"):
        load("svhn", tmp_path)


def test_svhn_checksum_and_missing_file(tmp_path):
    fixtures.write_svhn(tmp_path)
    with pytest.raises(DataError, match=r"train_32x32\.mat is not the published file"):
        load("svhn", tmp_path, checksum=True)
    (tmp_path / "train_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"train_32x32\.mat is missing"):
        load("svhn", tmp_path)


def test_label_out_of_range_is_refused(tmp_path, cifar10):
    broken = shutil.copytree(cifar10, tmp_path / "batches")
    images = fixtures.random_images(40)
    (broken / "data_batch_1").write_bytes(fixtures.py2_batch(images, [*range(39), 40], b"labels"))
    request = PrepareRequest("cifar10", tmp_path / "set", broken, labels=10, val=0, checksum=False)
    with pytest.raises(DataError, match=r"cifar10 train set: labels 0\.\.40 for 10 classes"):
        prepare(request)


def test_class_without_images_is_named(tmp_path, cifar10):
    broken = shutil.copytree(cifar10, tmp_path / "batches")
    for number in range(1, 6):
        batch = fixtures.py2_batch(fixtures.random_images(36), list(range(9)) * 4, b"labels")
        (broken / f"data_batch_{number}").write_bytes(batch)
    with pytest.raises(DataError, match="no image of class 'truck'"):
        prepare(PrepareRequest("cifar10", tmp_path / "set", broken, labels=10, val=0, checksum=False))


def test_gzip_of_python2_batches_is_read_in_memory(tmp_path, cifar10):
    """The archive is not unpacked to disk: afterwards its folder holds nothing else."""
    inside = tmp_path / "inside"
    inside.mkdir()
    load("cifar10", fixtures.pack(cifar10, inside / "any-name.tgz"))
    assert [path.name for path in inside.iterdir()] == ["any-name.tgz"]
