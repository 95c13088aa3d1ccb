"""The same request gives the same bytes, whatever happens on the way."""

import io
import json
import math
import os
import tarfile
import threading
import time

import numpy as np
import pytest

from data_prep.dataset.manifest import load_manifest
from data_prep.formats.webdataset.scan import read_shard
from data_prep.formats.webdataset.writer import ustar_header
from data_prep.images.codecs import decode_image
from data_prep.images.pixel_stats import Sums
from data_prep.prepare.options import ALL_SHARDS, PrepareRequest, default_out, resolve
from data_prep.prepare.plan import SetIdentity
from data_prep.prepare.progress import ProgressFile
from data_prep.prepare.run import find_complete, prepare
from data_prep.sources import SOURCES, LoadOptions
from data_prep.system import atomic_files
from data_prep.system.atomic_files import locked
from data_prep.system.errors import DataError, UsageError
from tests.data_prep.fixtures import contents, random_images, times_open
from tests.limits import LIMIT_S, wait_for


def read_split(folder, split):
    manifest = load_manifest(folder)
    return [sample for shard in manifest.split(split) for sample in read_shard(folder / shard.name, shard)]


def test_worker_count_never_changes_a_byte(tmp_path, tiny):
    for workers in (1, 2):
        prepare(PrepareRequest(**tiny, out=tmp_path / str(workers), workers=workers))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_second_call_writes_nothing(copied):
    before = {path.name: path.stat().st_mtime_ns for path in copied.iterdir()}
    assert prepare(PrepareRequest("digits", out=copied)) == load_manifest(copied)
    assert {path.name: path.stat().st_mtime_ns for path in copied.iterdir()} == before


def test_folder_holds_the_shards_and_the_manifest_only(digits):
    shards = load_manifest(digits).shards
    names = {name for shard in shards for name in (shard.name, shard.index_name)}
    assert set(contents(digits)) == names | {"manifest.json"}


def test_manifest_holds_nothing_of_this_machine(digits, tmp_path):
    text = (digits / "manifest.json").read_text()
    assert str(digits) not in text
    assert os.uname().nodename not in text


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["png", "webp"])
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_lossless_formats_return_the_source_pixels(image_format, dataset, tmp_path, tiny):
    base = tiny if dataset == "cifar10" else {"dataset": "digits"}
    request = PrepareRequest(**base | {"out": tmp_path / "set", "image_format": image_format})
    manifest = prepare(request)
    raw = SOURCES[dataset].load(LoadOptions(request.source, request.checksum))
    samples = read_split(tmp_path / "set", "unlabeled")
    for sample in samples:
        decoded = decode_image(sample.image, manifest.shape, image_format)
        np.testing.assert_array_equal(decoded, raw.train.images[sample.key])
        assert sample.label == raw.train.labels[sample.key]
    assert len(samples) == manifest.samples("unlabeled") > 0
    for sample in read_split(tmp_path / "set", "test"):
        assert sample.label == raw.test.labels[sample.key]


def test_jpeg_is_close(tmp_path):
    gradient = np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    from data_prep.images.codecs import CODECS

    decoded = decode_image(CODECS["jpeg"].encode(gradient), (32, 32, 3), "jpeg").astype(int)
    assert 0 < np.abs(decoded - gradient).max() < 12


@pytest.mark.parametrize("include", [True, False])
def test_overlap_modes(include, tmp_path, tiny):
    manifest = prepare(PrepareRequest(**tiny, out=tmp_path / "set", include_labeled=include))
    unlabeled = {sample.key for sample in read_split(tmp_path / "set", "unlabeled")}
    val = {sample.key for sample in read_split(tmp_path / "set", "val")}
    labeled = set(manifest.labeled_ids)
    assert (labeled <= unlabeled) if include else not (labeled & unlabeled)
    assert labeled | unlabeled | val == set(range(200))
    assert not val & (labeled | unlabeled)


def test_order_is_shuffled(digits):
    keys = [sample.key for sample in read_split(digits, "unlabeled")]
    assert keys != sorted(keys)
    assert len(keys) == len(set(keys))


def test_statistics_are_those_of_the_training_images(tmp_path, tiny):
    manifest = prepare(PrepareRequest(**tiny, out=tmp_path / "set"))
    raw = SOURCES["cifar10"].load(LoadOptions(tiny["source"], checksum=False))
    keys = sorted(sample.key for sample in read_split(tmp_path / "set", "unlabeled"))
    pixels = raw.train.images[keys].reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(manifest.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(manifest.std, pixels.std(0), rtol=1e-12)


def sum_up(images):
    return sum((Sums.of_image(image) for image in images), Sums())


def test_statistics_do_not_depend_on_the_order():
    images = random_images(500)
    order = np.random.default_rng(1).permutation(500)
    assert sum_up(images).statistics() == sum_up(images[order]).statistics()
    assert sum_up(np.full((5, 2, 2, 1), 255, np.uint8)).statistics() == ((255.0,), (0.0,))
    assert all(math.isfinite(value) for value in sum_up(images).statistics()[1])


def test_val_of_zero_has_no_shards(tmp_path, tiny):
    manifest = prepare(PrepareRequest(**tiny | {"out": tmp_path / "set", "val": 0}))
    assert manifest.split("val") == ()
    assert manifest.counts["val"] == (0,) * 10
    assert load_manifest(tmp_path / "set") == manifest


def test_shards_are_equal_up_to_one_sample(tmp_path, tiny):
    manifest = prepare(PrepareRequest(**tiny | {"out": tmp_path / "set", "shard_size": 33}))
    sizes = [shard.samples for shard in manifest.split("unlabeled")]
    assert max(sizes) <= 33
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == 190


def test_default_folder(monkeypatch):
    assert str(default_out("digits", None, 0)) == "data/digits-20-seed0"
    assert str(default_out("moons", "5+1", 0)) == "data/moons-5+1-seed0"
    monkeypatch.setenv("SMPL_DATA", "/elsewhere")
    assert str(default_out("svhn", 250, 3, extra=True)) == "/elsewhere/svhn-250-seed3-extra"
    assert str(default_out("svhn", 250, 3, True, include_labeled=False)) == "/elsewhere/svhn-250-seed3-extra-disjoint"


def test_other_options_are_refused_with_both_values(copied):
    with pytest.raises(UsageError, match=r"seed 0 there and 5 here; choose another --out") as caught:
        prepare(PrepareRequest("digits", out=copied, seed=5))
    assert "labels" not in str(caught.value)


def test_foreign_tars_are_left_alone(tmp_path):
    (tmp_path / "mine.tar").write_bytes(b"precious")
    with pytest.raises(UsageError, match="choose another --out"):
        prepare(PrepareRequest("digits", out=tmp_path))
    assert (tmp_path / "mine.tar").read_bytes() == b"precious"


def test_missing_and_cut_shards_are_repaired(copied, digits):
    (copied / "val-000000.tar").unlink()
    (copied / "test-000000.tar").write_bytes(b"")
    assert find_complete(resolve(PrepareRequest("digits", out=copied))) is None
    prepare(PrepareRequest("digits", out=copied))
    assert contents(copied) == contents(digits)


def test_finished_shards_are_reused_only_if_their_sha256_is_right(tmp_path, tiny, monkeypatch):
    """Fail at the fifth shard, damage the first one unseen, and go on: only the intact shards are kept."""
    request = PrepareRequest(**tiny, out=tmp_path / "set", workers=1)
    whole = PrepareRequest(**tiny, out=tmp_path / "whole", workers=1)
    prepare(whole)
    failing_write(monkeypatch, request.out, OSError(28, "No space left on device"), after=5)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        prepare(request)
    assert find_complete(resolve(request)) is None
    assert not list(request.out.glob("*.partial"))
    first, second = sorted(request.out.glob("*.tar"))[:2]
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    kept = second.stat().st_mtime_ns
    monkeypatch.undo()
    prepare(request)
    assert contents(request.out) == contents(whole.out)
    assert second.stat().st_mtime_ns == kept


def failing_write(monkeypatch, folder, error, after):
    """Let fsync fail once ``after`` shards are written."""

    def fsync(_):
        if len(list(folder.glob("*.tar"))) >= after:
            raise error

    monkeypatch.setattr(atomic_files.os, "fsync", fsync)


def test_unfinished_folder_refuses_other_options(tmp_path, tiny):
    folder = tmp_path / "set"
    folder.mkdir()
    ProgressFile.of(folder, ALL_SHARDS).start(SetIdentity("cifar10", ("0", "1"), {"seed": 9}, {}, ()), {})
    with pytest.raises(UsageError, match="seed 9 there and 0 here"):
        prepare(PrepareRequest(**tiny, out=folder))


def test_torn_progress_line_is_dropped(tmp_path):
    progress, identity = ProgressFile.of(tmp_path, ALL_SHARDS), SetIdentity("digits", ("0", "1"), {"seed": 1}, {}, ())
    progress.start(identity, {})
    with progress.path.open("a") as file:
        file.write('{"piece": "labeled-0000')
    assert progress.read() == (identity, {})


def test_second_caller_waits_for_the_lock(tmp_path):
    order = []

    def second():
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        wait_for(lambda: times_open(tmp_path / "lock") == 2)
        order.append("first")
    thread.join(LIMIT_S)
    assert order == ["first", "second"]
    assert not (tmp_path / "lock").exists()


def test_a_final_name_is_a_rename_of_durable_bytes(tmp_path, monkeypatch):
    """At the first fsync the final name is free; after that it names the same file that was made durable."""
    seen = []
    monkeypatch.setattr(
        atomic_files.os, "fsync", lambda number: seen.append((os.fstat(number).st_ino, target.exists()))
    )
    target = tmp_path / "file"
    atomic_files.write_durably(target, b"bytes")
    assert seen == [(target.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
    assert target.read_bytes() == b"bytes"


def test_shard_bytes_are_plain_ustar(digits):
    content = (digits / "labeled-000000.tar").read_bytes()
    header = content[:512]
    assert header[257:265] == b"ustar\x0000"
    assert header[265:329] == bytes(64), "no user or group name"
    assert {header[108:115], header[116:123], header[136:147]} == {b"0000000", b"00000000000"}
    assert header[:12].decode().endswith(".png")
    assert content[-1024:] == bytes(1024)


def test_webdataset_reads_the_shards(digits):
    """The shards are ordinary WebDataset: its own reader finds the same samples."""
    tariterators = pytest.importorskip("webdataset.tariterators")
    shard = load_manifest(digits).split("labeled")[0]
    with (digits / shard.name).open("rb") as file:
        rows = list(tariterators.group_by_keys({**row, "__url__": "x"} for row in tariterators.tar_file_iterator(file)))
    assert [int(row["__key__"]) for row in rows] == [sample.key for sample in read_split(digits, "labeled")]
    assert all(set(row) >= {"png", "cls"} for row in rows)


def test_manifest_is_one_line_a_field(digits):
    lines = (digits / "manifest.json").read_text().splitlines()
    assert len(lines) == 2 + len(json.loads("\n".join(lines)))


def test_a_killed_worker_is_one_line_and_ends_the_others():
    from data_prep.system.errors import UserError
    from data_prep.system.workers import run_jobs

    with pytest.raises(UserError, match="a worker was killed"):
        list(run_jobs(ends_at_zero, [0.01, 0.01, 0.01, 0.01, LIMIT_S, 0], 2))


def ends_at_zero(seconds):
    """A job that waits, or takes its process away."""
    if not seconds:
        os._exit(1)
    time.sleep(seconds)


@pytest.mark.parametrize(
    ("name", "size"), [("00000001.jpg", 0), ("00012345.truth", 511), ("123456789012.png", 8**11 - 1)]
)
def test_headers_are_those_that_tarfile_makes(name, size):
    member = tarfile.TarInfo(name)
    member.size = size
    assert ustar_header(name, size) == member.tobuf(tarfile.USTAR_FORMAT)


def test_a_shard_is_the_tar_that_tarfile_makes_of_its_members(digits):
    path = digits / "val-000000.tar"
    buffer = io.BytesIO()
    with tarfile.open(path) as source, tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as made:
        for member in source:
            copy = tarfile.TarInfo(member.name)
            copy.size = member.size
            made.addfile(copy, source.extractfile(member))
    assert buffer.getvalue() == path.read_bytes()
