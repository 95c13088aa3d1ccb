"""Any sample by one read: the right one or an error, from any thread, with few files open."""

import dataclasses
import errno
import hashlib
import os
import random
import resource
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_prep.dataset.manifest import SPLITS, load_manifest, save_manifest
from data_prep.dataset.mirror_url import save_url
from data_prep.formats.recordio.reader import open_recordio
from data_prep.formats.webdataset.index import IndexEntry, write_index
from data_prep.formats.webdataset.reader import MIRROR_FILES, open_tars
from data_prep.formats.webdataset.scan import read_shard
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.storage.url import Url
from data_prep.system import file_handles
from data_prep.system.errors import DataError
from data_prep.system.file_handles import SHARE, OpenFiles, open_sized
from tests.data_prep.fixtures import bomb, contents, convert_set, tar_of

NAME, INDEX = "val-000000.tar", "val-000000.idx"
SAMPLE = 2048  # bytes of a digit's sample: a header and a block, twice


def fit(folder, name=NAME):
    """Make the manifest fit a shard and its index as they are: only a look inside can find what is wrong."""
    manifest = load_manifest(folder)
    tar, index = (folder / name).read_bytes(), (folder / name).with_suffix(".idx").read_bytes()
    sums = {"sha256": hashlib.sha256(tar).hexdigest(), "index": hashlib.sha256(index).hexdigest()}
    shards = (
        dataclasses.replace(shard, bytes=len(tar), **sums) if shard.name == name else shard for shard in manifest.shards
    )
    save_manifest(dataclasses.replace(manifest, shards=tuple(shards)), folder)


def rewrite_indexed(folder, name, members):
    """Replace a shard of members of one block each, with an index and a manifest that fit."""
    tar_of(folder / name, *members)
    index = [IndexEntry(info.name, 512 + 1024 * place, len(content)) for place, (info, content) in enumerate(members)]
    (folder / name).with_suffix(".idx").write_bytes(write_index(index))
    fit(folder, name)


def members_of(path):
    with tarfile.open(path) as archive:
        return [(tarfile.TarInfo(info.name), archive.extractfile(info).read()) for info in archive]


def open_val(folder):
    return open_tars(folder, load_manifest(folder), "val")


def read_all(reader):
    return [reader.read(index) for index in range(len(reader))]


@pytest.mark.parametrize("split", SPLITS)
def test_it_holds_what_the_tars_hold_in_their_order(split, digits):
    manifest = load_manifest(digits)
    samples = [sample for shard in manifest.split(split) for sample in read_shard(digits / shard.name, shard)]
    reader = open_tars(digits, manifest, split)
    assert len(reader) == manifest.samples(split)
    assert reader.keys.tolist() == [sample.key for sample in samples]
    read = read_all(reader)
    assert read == samples
    assert {one.extension for one in read} == {"png"}
    assert list(reader.read_checked()) == read


def test_points_are_read_as_well(moons):
    reader = open_tars(moons, load_manifest(moons), "test")
    assert {reader.read(index).extension for index in range(len(reader))} == {"npy"}


def test_an_empty_split_has_no_samples(moons):
    reader = open_tars(moons, load_manifest(moons), "val")
    assert len(reader) == 0
    assert list(reader.read_checked()) == []
    with pytest.raises(IndexError):
        reader.read(0)


def test_there_is_no_sample_before_the_first_or_behind_the_last(digits):
    reader = open_val(digits)
    for index in (-1, len(reader)):
        with pytest.raises(IndexError):
            reader.read(index)


def test_a_sample_is_one_read_and_few_bytes_of_memory(digits, monkeypatch):
    reader = open_tars(digits, load_manifest(digits), "unlabeled")
    held = sum(value.nbytes for value in vars(reader).values() if isinstance(value, np.ndarray))
    assert held <= 40 * len(reader)
    calls, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: calls.append(arguments) or pread(*arguments))
    reader.read(500)
    assert len(calls) == 1


def test_an_unknown_truth_is_minus_one_and_an_unknown_label_is_damage(copied):
    for name in ("unlabeled-000000.tar", NAME):
        members = members_of(copied / name)
        rewrite_indexed(copied, name, [members[0], (members[1][0], b"-1"), *members[2:]])
    assert open_tars(copied, load_manifest(copied), "unlabeled").read(0).label == -1
    with pytest.raises(DataError, match=rf"{NAME}: sample \d+ has label b'-1' of 10 classes"):
        open_val(copied).read(0)


@pytest.mark.parametrize("label", [b"x", b"\xd9\xa3", b"+1", b" 1"])
def test_a_label_that_is_no_number_is_damage(label, copied):
    members = members_of(copied / NAME)
    rewrite_indexed(copied, NAME, [members[0], (members[1][0], label), *members[2:]])
    with pytest.raises(DataError, match="has label b"):
        open_val(copied).read(0)


def test_a_replaced_tar_makes_the_index_stale(copied):
    """The samples in another order: the size of the file is the same, and so is where members begin."""
    before = (copied / NAME).stat().st_size
    members = members_of(copied / NAME)
    tar_of(copied / NAME, *members[2:], *members[:2])
    assert (copied / NAME).stat().st_size == before
    with pytest.raises(DataError, match=rf"{NAME}: the index is stale: sample \d+ .* {INDEX} .* `smpl-data prepare`"):
        open_val(copied).read(0)


def test_other_sizes_make_the_index_stale(copied):
    """The names are right, an image is longer."""
    members = members_of(copied / NAME)
    tar_of(copied / NAME, (members[0][0], members[0][1] + b"more"), *members[1:])
    with pytest.raises(DataError, match="the index is stale"):
        open_val(copied).read(0)


def test_the_same_command_repairs_what_the_error_says_to_remove(copied):
    before = contents(copied)
    members = members_of(copied / NAME)
    tar_of(copied / NAME, *members[2:], *members[:2])
    with pytest.raises(DataError, match="remove both and run the same `smpl-data prepare` again"):
        open_val(copied).read(0)
    (copied / NAME).unlink()
    (copied / INDEX).unlink()
    prepare(PrepareRequest("digits", out=copied))
    assert contents(copied) == before


CUTS = {
    "at a member boundary": SAMPLE * 80,
    "between image and label": SAMPLE * 80 + 1024,
    "mid-header": SAMPLE * 80 + 100,
    "mid-payload": SAMPLE * 80 + 520,
    "empty": 0,
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_tar_is_refused_at_its_first_read(name, copied):
    content = (copied / NAME).read_bytes()
    (copied / NAME).write_bytes(content[: CUTS[name]])
    with pytest.raises(DataError, match=f"{NAME}: {CUTS[name]} bytes, {len(content)} are expected"):
        open_val(copied).read(0)


@pytest.mark.parametrize("name", [name for name in CUTS if CUTS[name]])
def test_a_cut_tar_under_a_fitting_manifest_gives_its_whole_samples_only(name, copied):
    whole = read_all(open_val(copied))
    (copied / NAME).write_bytes((copied / NAME).read_bytes()[: CUTS[name]])
    fit(copied)
    reader = open_val(copied)
    assert [reader.read(index) for index in range(80)] == whole[:80]
    with pytest.raises(DataError, match=f"{NAME}: the index is stale: sample {whole[80].key:08d}"):
        reader.read(80)


INDEX_DAMAGE = {
    "cut": (lambda content: content[:-30], "line 101 is cut or damaged"),
    "cut at a line": (lambda content: content[: content[:-1].rindex(b"\n") + 1], "holds 99 samples"),
    "changed in a letter": (lambda content: content[:-3] + b"x" + content[-2:], "line 101 is cut or damaged"),
    "empty": (lambda content: b"", "does not begin"),
}


@pytest.mark.parametrize("name", INDEX_DAMAGE)
def test_a_damaged_index_is_refused_at_opening(name, copied):
    change, said = INDEX_DAMAGE[name]
    (copied / INDEX).write_bytes(change((copied / INDEX).read_bytes()))
    with pytest.raises(DataError, match=rf"{INDEX}: .*{said}.*`smpl-data prepare`"):
        open_val(copied)


def test_an_index_that_is_not_the_manifests_is_stale(copied):
    (copied / INDEX).write_bytes((copied / "test-000000.idx").read_bytes())
    with pytest.raises(DataError, match=f"{INDEX}: the index is stale: sha256 differs"):
        open_val(copied)


def test_an_index_of_hidden_labels_is_not_one_of_labels(copied):
    (copied / INDEX).write_bytes((copied / INDEX).read_bytes().replace(b"cls", b"truth"))
    fit(copied)
    with pytest.raises(DataError, match="the index is stale"):
        open_val(copied)


@pytest.mark.parametrize("name", [NAME, INDEX])
def test_a_missing_file_is_one_line(name, copied):
    (copied / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: No such file or directory; .*`smpl-data prepare`"):
        open_val(copied).read(0)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("place", [0, 1], ids=["image", "label"])
def test_a_member_that_is_no_regular_file_is_refused(kind, place, copied):
    content = bytearray((copied / NAME).read_bytes())
    header = slice(1024 * place, 1024 * place + 512)
    info = tarfile.TarInfo.frombuf(bytes(content[header]), "ascii", "strict")
    info.type, info.linkname = kind, "/etc/passwd"
    content[header] = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    (copied / NAME).write_bytes(content)
    fit(copied)
    with pytest.raises(DataError, match="the index is stale"):
        open_val(copied).read(0)


@pytest.mark.parametrize("extension", ["pkl", "pyd", "pth"])
def test_a_pickle_is_never_executed(extension, copied, tmp_path):
    """In the place of an image, announced as a picture, and announced as what it is."""
    flag = tmp_path / "executed"
    members = members_of(copied / NAME)
    payload = bomb(flag)
    lines = (copied / INDEX).read_bytes().split(b"\n")
    size = len(members[0][1])
    members[0] = (tarfile.TarInfo(f"{members[0][0].name[:8]}.{extension}"), payload)
    tar_of(copied / NAME, *members)
    lines[1] = lines[1].replace(b" 512 %d " % size, b" 512 %d " % len(payload))
    (copied / INDEX).write_bytes(b"\n".join(lines))
    fit(copied)
    with pytest.raises(DataError, match="the index is stale"):
        open_val(copied).read(0)
    lines[1] = lines[1].replace(b"png", extension.encode())
    (copied / INDEX).write_bytes(b"\n".join(lines))
    fit(copied)
    with pytest.raises(DataError, match="line 2 is cut or damaged"):
        open_val(copied)
    assert not flag.exists()


def test_verified_notices_a_flipped_bit_that_no_header_shows(copied):
    content = bytearray((copied / NAME).read_bytes())
    content[600] ^= 1
    (copied / NAME).write_bytes(content)
    reader = open_val(copied)
    assert len(read_all(reader)) == 100
    with pytest.raises(DataError, match=f"{NAME}: sha256 differs from the manifest"):
        list(reader.read_checked())


def test_verified_looks_behind_the_last_sample(copied):
    content = bytearray((copied / NAME).read_bytes())
    content[-1] ^= 1
    (copied / NAME).write_bytes(content)
    with pytest.raises(DataError, match="sha256 differs"):
        list(open_val(copied).read_checked())


def test_threads_in_any_order_read_the_same(digits, monkeypatch):
    """With two files open at a time of six, so that files are closed while others are read."""
    monkeypatch.setattr(file_handles, "MIN_OPEN", 2)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))
    reader = open_tars(digits, load_manifest(digits), "unlabeled")
    expected = read_all(reader)

    def read_shuffled(seed):
        order = random.Random(seed).sample(range(len(reader)), len(reader))
        found = {index: reader.read(index) for index in order}
        return [found[index] for index in range(len(reader))]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(read_shuffled, range(8)))


def open_files(folder):
    """How many files below a folder this process has open."""
    return sum(os.path.realpath(link).startswith(f"{folder}/") for link in Path("/proc/self/fd").iterdir())


def numbered_files(folder, count):
    paths = [folder / str(number) for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.mark.parametrize("splits", [1, 4])
def test_many_files_with_few_open_in_all_splits_together(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    paths = numbered_files(tmp_path, 1200)
    opener = lambda number: open_sized(paths[number], len(paths[number].name))  # noqa: E731
    files = [OpenFiles(opener) for _ in range(splits)]
    found = [each.read(number, 0, 10) for _ in range(2) for number in range(1200) for each in files]
    assert found == [path.name.encode() for path in paths for _ in files] * 2
    assert open_files(tmp_path) == splits * 256 // SHARE <= 256 // 4


def test_files_are_closed_with_the_last_reference_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    paths = numbered_files(tmp_path, 100)
    opener = lambda number: open_sized(paths[number], len(paths[number].name))  # noqa: E731
    for _ in range(5):
        files = OpenFiles(opener)
        assert [files.read(number, 0, 10) for number in range(100)] == [path.name.encode() for path in paths]
        assert open_files(tmp_path) == 256 // SHARE
        del files
        assert open_files(tmp_path) == 0


def test_a_low_soft_limit_is_raised_as_far_as_the_hard_one_allows():
    code = "from resource import *; from data_prep.system.file_handles import OpenFiles; "
    code += "setrlimit(RLIMIT_NOFILE, (64, 1000)); OpenFiles(print); print(*getrlimit(RLIMIT_NOFILE))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "1000 1000\n"


@pytest.mark.parametrize(("hard", "raised"), [(resource.RLIM_INFINITY, 1 << 16), (1 << 20, 1 << 16), (4096, 4096)])
def test_the_limit_of_open_files_is_bounded(hard, raised, monkeypatch):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert file_handles.raise_limit() == raised
    assert limits == [(raised, hard)]


@pytest.mark.parametrize("soft", [resource.RLIM_INFINITY, 1 << 20])
def test_a_limit_above_the_bound_stays_and_counts_as_the_bound(soft, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("the limit must stay"))
    assert file_handles.raise_limit() == 1 << 16


@pytest.mark.parametrize("kind", ["tars", "records"])
def test_too_many_open_files_are_no_reason_to_prepare_again(kind, copied, monkeypatch):
    convert_set(copied)
    reader = {"tars": open_tars, "records": open_recordio}[kind](copied, load_manifest(copied), "val")

    def full(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DataError, match=r"val\S*: Too many open files; .*`ulimit -n 65536`") as caught:
        reader.read(0)
    assert "prepare" not in str(caught.value)
    assert "convert" not in str(caught.value)


def test_files_are_closed_with_their_store(digits):
    reader = open_val(digits)
    reader.read(0)
    assert open_files(digits) == 1
    del reader
    assert open_files(digits) == 0


def test_few_files_of_a_mirror_are_open(tmp_path):
    """What a bounded cache has dropped keeps its room on the disk while it is open."""
    prepare(PrepareRequest("digits", out=tmp_path, shard_size=20))
    save_url(Url("https://example.org/set"), tmp_path)
    reader = open_tars(tmp_path, load_manifest(tmp_path), "unlabeled")
    assert len(reader.shards) > MIRROR_FILES
    read_all(reader)
    assert open_files(tmp_path) == MIRROR_FILES
