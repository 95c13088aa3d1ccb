"""Points are kept bit for bit, and only finite float32 of the right shape are accepted."""

import dataclasses
import io
import math

import numpy as np
import pytest

from data_prep.dataset.manifest import load_manifest
from data_prep.formats.webdataset.scan import read_shard
from data_prep.images.codecs import CODECS, decode_image
from data_prep.images.pixel_stats import Sums
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.sources import SOURCES, LoadOptions, check_raw
from data_prep.system.errors import DataError
from tests.data_prep.fixtures import Bomb, contents, damage_of, rewrite

SHAPE = (1, 2, 1)
POINT = np.array([0.25, -1.5], np.float32).reshape(SHAPE)
NAME = "test-000000.tar"


def saved(array, **options):
    """Return an .npy as NumPy writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_points_are_those_of_scikit_learn():
    from sklearn.datasets import make_moons

    raw = SOURCES["moons"].load(LoadOptions(image_format="npy"))
    points, labels = make_moons(2000, noise=0.2, random_state=0)
    assert raw.train.images.reshape(-1, 2).tobytes() == points.astype(np.float32).tobytes()
    assert raw.train.labels.tolist() == labels.tolist()
    assert np.bincount(raw.test.labels).tolist() == [1000, 1000]
    assert not set(map(bytes, raw.train.images)) & set(map(bytes, raw.test.images))
    heights = [raw.train.images[raw.train.labels == number, 0, 1, 0].mean() for number in (0, 1)]
    assert SOURCES["moons"].classes == ("upper", "lower")
    assert heights[0] > heights[1]


@pytest.mark.parametrize("split", ["unlabeled", "test"])
def test_points_come_back_bit_for_bit(split, moons):
    manifest, raw = load_manifest(moons), SOURCES["moons"].load(LoadOptions(image_format="npy"))
    points, labels = (raw.test.images, raw.test.labels) if split == "test" else (raw.train.images, raw.train.labels)
    samples = [sample for shard in manifest.split(split) for sample in read_shard(moons / shard.name, shard)]
    for sample in samples:
        point = decode_image(sample.image, manifest.shape, manifest.image_format)
        assert (point.dtype, point.shape) == (np.float32, SHAPE)
        assert point.tobytes() == points[sample.key].tobytes()
        assert sample.label == labels[sample.key]
    assert sorted(sample.key for sample in samples) == list(range(2000))


@pytest.mark.parametrize("shape", [(1, 2, 1), (3, 4, 3), (4096, 1, 1)])
def test_every_finite_float_survives_and_numpy_reads_it(shape):
    values = np.random.default_rng(0).integers(0, 1 << 32, shape, dtype=np.uint32).view(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(-0.0))
    values.flat[:2] = [-0.0, 1e-45]
    content = CODECS["npy"].encode(values)
    assert decode_image(content, shape, "npy").tobytes() == values.tobytes()
    assert content == saved(values)
    assert decode_image(content, shape, "npy").flags.writeable


@pytest.mark.slow
def test_worker_count_never_changes_a_byte(moons, tmp_path):
    for workers in (1, 2):
        request = PrepareRequest("moons", out=tmp_path / str(workers), labels="5+1", workers=workers)
        prepare(request)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(moons)


def sum_up(images):
    return sum((Sums.of_image(image) for image in images), Sums())


def test_statistics_do_not_depend_on_the_order():
    """The values span twenty decades, so a plain sum would depend on their order."""
    generator = np.random.default_rng(0)
    values = (10 ** generator.uniform(-10, 10, 3000) * generator.choice([-1, 1], 3000)).astype(np.float32)
    images, order = values.reshape(-1, 1, 3, 1), generator.permutation(1000)
    assert float(values.astype(np.float64).cumsum()[-1]) != math.fsum(values)
    assert sum_up(images).statistics() == sum_up(images[order]).statistics()


def test_statistics_survive_a_far_mean():
    values = (4096 + np.random.default_rng(0).uniform(-1, 1, (500, 2, 2, 3))).astype(np.float32)
    mean, std = sum_up(values).statistics()
    columns = values.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, columns.mean(0), rtol=1e-14)
    np.testing.assert_allclose(std, columns.std(0), rtol=1e-12)


def test_manifest_has_the_statistics_of_both_coordinates(moons):
    manifest = load_manifest(moons)
    values = SOURCES["moons"].load(LoadOptions(image_format="npy")).train.images.astype(np.float64)
    np.testing.assert_allclose([*manifest.mean, *manifest.std], [values.mean(), values.std()], rtol=1e-12)


NO_POINT = "no .npy file of float32 values of shape [1, 2, 1]"
DAMAGE = {
    "float64": (saved(POINT.astype(np.float64)), NO_POINT),
    "integers": (saved(POINT.view(np.int32)), NO_POINT),
    "big-endian": (saved(POINT.astype(">f4")), NO_POINT),
    "flat": (saved(POINT.reshape(2)), NO_POINT),
    "three coordinates": (saved(np.zeros((1, 3, 1), np.float32)), NO_POINT),
    "boundless": (saved(POINT).replace(b"(1, 2, 1), }     ", b"(9999999, 1, 1),}"), NO_POINT),
    "picture": (CODECS["png"].encode(np.zeros((8, 8, 1), np.uint8)), NO_POINT),
    "cut header": (saved(POINT)[:100], NO_POINT),
    "cut values": (saved(POINT)[:-1], "7 bytes of values, the manifest says 8"),
    "no values": (saved(POINT)[:-8], "0 bytes of values"),
    "more behind": (saved(POINT) + b"x", "9 bytes of values"),
    "not a number": (saved(POINT * np.float32("nan")), "it holds NaN or infinity"),
    "infinity": (saved(POINT / np.float32(np.inf) + np.float32(np.inf)), "it holds NaN or infinity"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_broken_point_under_a_fitting_manifest(name, copied_moons):
    content, said = DAMAGE[name]
    rewrite(copied_moons, NAME, lambda members: [(members[0][0], content), *members[1:]])
    lines = damage_of(copied_moons)
    assert len(lines) == 1
    assert lines[0].startswith(f"{NAME}: sample ")
    assert f"broken image: {said}" in lines[0]


def test_a_pickle_inside_an_array_is_refused_and_never_executed(copied_moons, tmp_path):
    flag = tmp_path / "executed"
    objects = np.array([Bomb(flag), Bomb(flag)], dtype=object).reshape(SHAPE)
    content = saved(objects, allow_pickle=True)
    rewrite(copied_moons, NAME, lambda members: [(members[0][0], content), *members[1:]])
    assert any(NO_POINT in line for line in damage_of(copied_moons))
    assert not flag.exists()
    for file in np.load(io.BytesIO(content), allow_pickle=True).flat:
        file.close()
    assert flag.exists(), "the bomb is one"


@pytest.mark.parametrize("offset", [5, 512 + 20, 512 + 128 + 3], ids=["tar header", "header", "value"])
def test_flipped_bit(offset, copied_moons):
    content = bytearray((copied_moons / NAME).read_bytes())
    content[offset] ^= 1
    (copied_moons / NAME).write_bytes(content)
    assert f"{NAME}: sha256 differs from the manifest" in damage_of(copied_moons)


def raw_with(change):
    raw = SOURCES["moons"].load(LoadOptions(image_format="npy"))
    return dataclasses.replace(raw, test=dataclasses.replace(raw.test, images=change(raw.test.images.copy())))


def with_value(value):
    def change(images):
        images[17, 0, 1, 0] = value
        return images

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value(np.nan), "moons test set: image 17 holds NaN or infinity"),
        (with_value(-np.inf), "moons test set: image 17 holds NaN or infinity"),
        (lambda images: images.astype(np.float64), r"images are float64 \(2000, 1, 2, 1\), not float32"),
        (lambda images: images.astype(np.uint8), "images are uint8"),
        (lambda images: images.reshape(2000, 2, 1, 1), "not float32 .* of one size"),
    ],
    ids=["nan", "infinity", "float64", "uint8", "shape"],
)
def test_a_source_of_other_values_is_refused(change, said):
    with pytest.raises(DataError, match=said):
        check_raw(raw_with(change), SOURCES["moons"])


def test_nothing_is_written_of_a_source_with_nan(tmp_path, monkeypatch):
    points = np.full((2000, 2), np.nan), np.arange(2000) % 2
    monkeypatch.setattr("sklearn.datasets.make_moons", lambda *_, **__: points)
    with pytest.raises(DataError, match="moons train set: image 0 holds NaN"):
        prepare(PrepareRequest("moons", out=tmp_path))
    assert contents(tmp_path) == {}
