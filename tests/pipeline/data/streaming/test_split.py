"""A stream gives the samples of a resident split at any step, bit for bit if images are not cropped."""

import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from data_prep.dataset.checksums import Mode
from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.formats.sample import Sample
from data_prep.prepare.convert import convert
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import DataError
from pipeline.data.resident.split import load_split
from pipeline.data.sampling.block_order import BlockOrder, ShardLayout
from pipeline.data.sampling.stateless_rng import permutation
from pipeline.data.streaming.loader import StreamLoader
from pipeline.data.streaming.prefetch import Pending, Prefetcher
from pipeline.data.streaming.split import StreamOptions, open_stream
from tests.limits import LIMIT_S
from tests.pipeline.conftest import ALONE, CPU
from tests.pipeline.streams import (
    BACKENDS,
    MemoryStore,
    photographs,
    ranks,
    same,
    stored_loader,
    stored_splits,
    together,
    varied_loader,
    varied_split,
)

SETS = {"digits": BACKENDS, "moons": ("webdataset",)}
CASES = [(name, backend) for name, backends in SETS.items() for backend in backends]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Manifest]]:
    folders = {name: tmp_path_factory.mktemp(name) / "set" for name in SETS}
    return {name: (folder, prepare(PrepareRequest(name, out=folder))) for name, folder in folders.items()}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("data")]


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_streamed_batch_is_the_resident_batch(
    prepared: dict[str, tuple[Path, Manifest]], name: str, backend: str, block: int
) -> None:
    stream, resident = (stored_loader(*prepared[name], kind, block=block) for kind in (backend, None))
    for step in (0, 1, 2, 3, 90, 4):
        assert same(stream.batch(step), resident.batch(step))
        assert stream.sample_ids(step) == resident.sample_ids(step)
    stream.close()


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_an_evaluation_sees_the_same_images(
    prepared: dict[str, tuple[Path, Manifest]], name: str, backend: str
) -> None:
    folder, manifest = prepared[name]
    streamed = open_stream(folder, manifest, "test", ALONE, StreamOptions(backend))
    resident = load_split(folder, manifest, "test", ALONE)
    found = [list(streamed.batches(world)) for world in ranks(3)]
    images, labels = ([pair[part] for share in found for pair in share] for part in (0, 1))
    order = [index for rank in range(3) for index in range(len(resident)) if index // 128 % 3 == rank]
    assert torch.equal(torch.cat(images), resident.images[order])
    assert torch.equal(torch.cat(labels), resident.labels[order])
    assert torch.equal(streamed.ids, resident.ids)
    assert not threads()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block", [0, 1])
def test_a_run_that_starts_anywhere_sees_what_an_undisturbed_one_sees(backend: str, block: int) -> None:
    undisturbed = varied_loader(backend, block=block)
    batches = [undisturbed.batch(step) for step in range(6)]
    resumed = varied_loader(backend, block=block)
    assert all(same(batches[step], resumed.batch(step)) for step in (3, 4, 5, 1, 0))
    undisturbed.close()
    resumed.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_do_not_change_a_bit(backend: str) -> None:
    one, four = (varied_loader(backend, workers=workers) for workers in (1, 4))
    assert all(same(one.batch(step), four.batch(step)) for step in range(4))
    one.close()
    four.close()


def test_both_backends_crop_the_same_windows() -> None:
    pytest.importorskip("nvidia.dali")
    ours, dali = (varied_loader(backend) for backend in BACKENDS)
    for left, right in zip(ours.batch(2).tensors()[:3:2], dali.batch(2).tensors()[:3:2], strict=True):
        assert (left.float() - right.float()).abs().mean() < 2
    ours.close()
    dali.close()


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_an_epoch_has_every_sample_once(
    prepared: dict[str, tuple[Path, Manifest]], backend: str | None, block: int
) -> None:
    loader = stored_loader(*prepared["digits"], backend, block=block, batch_size=7, mu=9)
    ids = [each for step in range(70) for each in loader.sample_ids(step)["unlabeled"]]
    size = len(stored_splits(*prepared["digits"], None)[1])
    epochs = [ids[first : first + size] for first in range(0, 3 * size, size)]
    assert len(epochs[2]) == size
    assert all(len(set(epoch)) == size for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_block_needs_few_shards_at_a_time() -> None:
    shards = (5, 9, 1, 7, 8, 2)
    layout = ShardLayout(permutation(1, 32), shards)
    owner = torch.repeat_interleave(torch.arange(6), torch.tensor(shards))[layout.positions]
    orders = [owner[BlockOrder(3, "unlabeled", layout, 2, CPU).at(32 * epoch, 32)].tolist() for epoch in range(2)]
    for order in orders:
        runs, seen = [], 0
        while seen < 32:  # a block ends where its two shards are used up
            pair = list(dict.fromkeys(order[seen:]))[:2]
            runs.append(pair)
            seen += sum(shards[shard] for shard in pair)
        assert sorted(shard for pair in runs for shard in pair) == list(range(6))
        starts = [sum(shards[shard] for pair in runs[:n] for shard in pair) for n in range(4)]
        assert all(set(order[a:b]) == set(pair) for (a, b), pair in zip(pairwise(starts), runs, strict=True))
    assert orders[0] != orders[1]


def test_weak_and_strong_have_different_crops_of_the_same_image() -> None:
    loader = varied_loader()
    parts = loader._ahead.get(0)
    weak, strong = parts["unlabeled"].decoded.views
    assert (weak != strong).flatten(1).any(1).all()
    assert len(parts["labeled"].decoded.views) == 1
    loader.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broken_image_is_named_and_the_threads_end(backend: str) -> None:
    samples = photographs(12)
    samples[4] = Sample(samples[4].key, "jpg", samples[4].image[:150], 0)
    split = varied_split(samples, backend)
    loader = StreamLoader(split, None, varied_loader().views, ALONE, batch_size=12, mu=1, seed=0)
    with pytest.raises(DataError, match=rf"^folder: sample {samples[4].key:08d}: .*; prepare the data set again$"):
        loader.batch(0)
    assert not threads()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broken_image_concerns_only_the_rank_that_reads_it(backend: str) -> None:
    samples = photographs(8)
    broken = Sample(samples[4].key, "jpg", b"", 0)
    split = varied_split([broken if sample.key == broken.key else sample for sample in samples], backend)
    views, failed = varied_loader().views, []
    for world in ranks(4):
        loader = StreamLoader(split, None, views, world, batch_size=8, mu=1, seed=0)
        try:
            loader.batch(0)
        except DataError:
            failed.append(loader.sample_ids(0)["labeled"])
        loader.close()
    assert len(failed) == 1
    assert broken.key in failed[0]


def test_closing_during_work_ends_the_threads_and_a_later_batch_starts_them_again() -> None:
    loader = varied_loader(batch_size=64)
    first = loader.batch(0)
    assert threads()
    loader.close()
    assert not threads()
    assert same(loader.batch(0), first)
    loader.close()


def test_an_evaluation_that_is_left_early_ends_its_threads() -> None:
    batches = varied_split(photographs(200)).batches(ALONE)
    next(batches)
    batches.close()
    assert not threads()


class Failing(MemoryStore):
    def read(self, index: int) -> Sample:
        raise DataError("shard is gone")


def test_an_error_of_the_reader_reaches_the_caller_unchanged() -> None:
    split = varied_split(photographs(6))
    object.__setattr__(split, "reader", Failing(split.reader.samples))
    with pytest.raises(DataError, match=r"^shard is gone$"):
        next(split.batches(ALONE))
    assert not threads()


def test_prefetching_is_bounded_and_starts_nothing_twice() -> None:
    begun: list[int] = []

    def begin(pool: ThreadPoolExecutor, number: int) -> Pending[int]:
        begun.append(number)
        return Pending(number, (pool.submit(time.sleep, 0),))

    ahead = Prefetcher(begin, workers=2, depth=2, stop=6)
    assert [ahead.get(number) for number in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]
    assert begun == [0, 1, 2, 3, 4, 5]
    assert ahead.get(9) == 9
    assert begun[6:] == [9]
    ahead.close()


@pytest.mark.slow
def test_ranks_see_parts_of_one_batch_from_uneven_shards() -> None:
    whole = varied_loader()
    for size in (2, 4, 8):
        loaders = [varied_loader(world=world) for world in ranks(size)]
        for step in range(3):
            parts = together([loader.batch(step) for loader in loaders])
            assert all(map(torch.equal, parts, whole.batch(step).tensors()))
        for loader in [*loaders, whole]:
            loader.close()


@pytest.mark.slow
def test_a_process_that_is_interrupted_before_it_closes_ends_all_the_same() -> None:
    code = (
        "from tests.pipeline.streams import varied_loader as make; make(batch_size=256).batch(0); raise SystemExit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=LIMIT_S).returncode == 7


@pytest.mark.parametrize("mode", ["once", "always"])
def test_records_are_checked_where_they_are_read(
    prepared: dict[str, tuple[Path, Manifest]], tmp_path: Path, mode: Mode
) -> None:
    folder, manifest = shutil.copytree(prepared["digits"][0], tmp_path / "set"), prepared["digits"][1]
    convert(folder, load_manifest(folder))
    content = bytearray((folder / "val.rec").read_bytes())
    content[60] ^= 1
    (folder / "val.rec").write_bytes(content)
    with pytest.raises(DataError, match=r"val\.rec: sha256 differs from records\.json; remove it and run"):
        open_stream(folder, manifest, "val", ALONE, StreamOptions("dali", verify=mode))
    open_stream(folder, manifest, "val", ALONE, StreamOptions("webdataset", verify=mode))


def test_tars_are_not_checked_where_records_are_read(
    prepared: dict[str, tuple[Path, Manifest]], tmp_path: Path
) -> None:
    pytest.importorskip("nvidia.dali")
    folder, manifest = shutil.copytree(prepared["digits"][0], tmp_path / "set"), prepared["digits"][1]
    convert(folder, load_manifest(folder))
    (folder / "val-000000.tar").write_bytes(b"")
    assert len(open_stream(folder, manifest, "val", ALONE, StreamOptions("dali", verify="always"))) == 100
    with pytest.raises(DataError, match=r"val-000000\.tar: 0 bytes"):
        open_stream(folder, manifest, "val", ALONE, StreamOptions("webdataset"))
