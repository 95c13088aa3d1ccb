"""Damage is found when a set is opened, the remedy repairs it, and a file that was verified is not read again."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from data_prep.dataset.checksums import check_shard, check_shards
from data_prep.dataset.manifest import load_manifest
from data_prep.dataset.verification_record import VERIFIED
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import DataError
from data_prep.system.paths import cache_folder
from tests.data_prep.fixtures import contents
from tests.limits import LIMIT_S

NAME, INDEX = "val-000000.tar", "val-000000.idx"
SAMPLE = 2048  # bytes in a tar: header, image of one block, header, label of one block
MODES = ["always", "once", "never"]


@pytest.fixture
def aged(copied):
    """A copy of the digits written ten seconds ago."""
    for path in copied.iterdir():
        set_time(path, time.time_ns() - 10 * 10**9)
    return copied


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were read, in no certain order."""
    names, whole = [], hashlib.file_digest

    def watched(file, kind):
        names.append(Path(file.name).name)
        return whole(file, kind)

    monkeypatch.setattr("data_prep.dataset.checksums.hashlib.file_digest", watched)
    return names


def set_time(path, ns):
    os.utime(path, ns=(ns, ns))


def check(folder, mode="once"):
    manifest = load_manifest(folder)
    check_shards(folder, manifest, manifest.shards, mode)


def fails(folder, mode="once"):
    with pytest.raises(DataError) as caught:
        check(folder, mode)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def all_names(folder):
    return {name for shard in load_manifest(folder).shards for name in (shard.name, shard.index_name)}


@pytest.mark.parametrize("mode", MODES)
def test_a_good_set_passes(mode, aged):
    check(aged, mode)
    check(aged, mode)


def test_once_reads_once(aged, hashed):
    check(aged)
    assert sorted(hashed) == sorted(all_names(aged))
    hashed.clear()
    check(aged)
    assert hashed == []


def test_always_reads_always_and_never_never(aged, hashed):
    check(aged, "never")
    assert hashed == []
    for _ in range(2):
        hashed.clear()
        check(aged, "always")
        assert set(hashed) == all_names(aged)


def test_only_what_is_asked_for_is_read(aged, hashed):
    manifest = load_manifest(aged)
    check_shards(aged, manifest, manifest.split("val"), "once")
    assert set(hashed) == {NAME, INDEX}


DAMAGE = {
    "cut at a member boundary": (NAME, lambda path: path.write_bytes(path.read_bytes()[: SAMPLE * 80]), "bytes, the"),
    "empty": (NAME, lambda path: path.write_bytes(b""), "0 bytes"),
    "flipped": (NAME, flip, "sha256 differs"),
    "missing": (NAME, lambda path: path.unlink(), "No such file"),
    "a folder": (NAME, lambda path: (path.unlink(), path.mkdir()), "bytes, the manifest says"),
    "index of another tar": (
        INDEX,
        lambda path: path.write_bytes(path.with_name("test-000000.idx").read_bytes()),
        "sha256 differs",
    ),
    "index cut": (INDEX, lambda path: path.write_bytes(path.read_bytes()[:-20]), "sha256 differs"),
    "index missing": (INDEX, lambda path: path.unlink(), "No such file"),
}


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_its_remedy_repairs_it(what, remembered, aged):
    if remembered:
        check(aged)
    before = contents(aged)
    name, damage, said = DAMAGE[what]
    damage(aged / name)
    text = fails(aged)
    assert said in text
    assert f"{aged / name}: " in text
    assert f"`smpl-data prepare digits --out {aged}`" in text
    if (aged / name).exists():
        (aged / name).rename(aged.parent / "removed")
    prepare(PrepareRequest("digits", out=aged))
    check(aged)
    after = contents(aged)
    assert {key: after[key] for key in before if key != VERIFIED} == {
        key: value for key, value in before.items() if key != VERIFIED
    }


@pytest.mark.parametrize("what", ["cut at a member boundary", "missing", "index missing"])
def test_never_looks_at_sizes_still(what, aged):
    name, damage, _ = DAMAGE[what]
    damage(aged / name)
    assert name in fails(aged, "never")


def test_never_trusts_the_bytes(aged):
    flip(aged / NAME)
    check(aged, "never")


def test_bytes_flipped_under_the_same_time_are_found_by_always(aged):
    check(aged)
    changed = (aged / NAME).stat().st_mtime_ns
    flip(aged / NAME)
    set_time(aged / NAME, changed)
    assert NAME in fails(aged, "always")


def test_another_file_of_the_same_size_and_time_is_read(aged):
    check(aged)
    changed = (aged / NAME).stat().st_mtime_ns
    copy = aged / "copy"
    copy.write_bytes((aged / NAME).read_bytes())
    flip(copy)
    set_time(copy, changed)
    copy.replace(aged / NAME)
    assert NAME in fails(aged)


def test_a_file_that_may_still_change_unseen_is_not_remembered(aged):
    soon = time.time_ns() + 60 * 10**9
    set_time(aged / NAME, soon)
    check(aged)
    flip(aged / NAME)
    set_time(aged / NAME, soon)
    assert NAME in fails(aged)


def test_a_file_that_changes_while_it_is_read(aged, monkeypatch):
    whole = hashlib.file_digest

    def disturbed(file, kind):
        digest = whole(file, kind)
        if file.name.endswith(NAME):
            set_time(aged / NAME, 1)
        return digest

    monkeypatch.setattr("data_prep.dataset.checksums.hashlib.file_digest", disturbed)
    assert f"{NAME} changed while it was read" in fails(aged)


def test_a_new_manifest_is_not_answered_from_the_record(aged):
    check(aged)
    manifest = load_manifest(aged)
    shards = tuple(dataclasses.replace(shard, sha256="0" * 64) for shard in manifest.shards)
    with pytest.raises(DataError, match="sha256 differs"):
        check_shards(aged, manifest, shards, "once")


def unwritable(folder):
    (folder / VERIFIED).mkdir()


def test_a_set_that_cannot_be_written_is_remembered_in_the_cache(aged, hashed):
    unwritable(aged)
    before = sorted(path.name for path in aged.iterdir())
    check(aged)
    hashed.clear()
    check(aged)
    assert hashed == []
    assert sorted(path.name for path in aged.iterdir()) == before
    assert len(list((cache_folder() / "verified").iterdir())) == 1


def test_nothing_can_be_written(aged, hashed):
    unwritable(aged)
    cache_folder().write_text("in the way")
    for _ in range(2):
        hashed.clear()
        check(aged)
        assert set(hashed) == all_names(aged)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"\xff", b"[" * 100_000, b'{"val-000000.tar": 1}', b"null"])
def test_a_damaged_record_is_ignored(content, aged, hashed):
    (aged / VERIFIED).write_bytes(content)
    check(aged)
    assert set(hashed) == all_names(aged)
    hashed.clear()
    check(aged)
    assert hashed == []


CHILD = """
import sys
from pathlib import Path
from data_prep.dataset.manifest import load_manifest
from data_prep.dataset.checksums import check_shards
folder, split = Path(sys.argv[1]), sys.argv[2]
manifest = load_manifest(folder)
sys.stdin.readline()
for shard in manifest.split(split):
    check_shards(folder, manifest, [shard], "once")
"""


@pytest.mark.slow
def test_many_processes_add_to_the_record_at_once(aged):
    splits = ["labeled", "unlabeled", "val", "test", "unlabeled", "test"]
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(aged), split], stdin=subprocess.PIPE, text=True)
        for split in splits
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.wait(LIMIT_S) for child in children] == [0] * len(splits)
    for child in children:
        child.stdin.close()
    assert set(json.loads((aged / VERIFIED).read_bytes())) == all_names(aged)
    assert not (aged / f"{VERIFIED}.lock").exists()


def test_memory_stays_flat(aged):
    size = 1 << 25
    with (aged / NAME).open("wb") as file:
        file.truncate(size)
    digest = hashlib.sha256(bytes(size)).hexdigest()
    manifest = load_manifest(aged)
    shard = dataclasses.replace(manifest.split("val")[0], bytes=size, sha256=digest)
    tracemalloc.start()
    check_shards(aged, manifest, [shard], "once")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size // 16


@pytest.mark.parametrize("what", DAMAGE)
def test_one_shard(what, aged):
    shard = load_manifest(aged).split("val")[0]
    check_shard(aged, shard)
    name, damage, said = DAMAGE[what]
    damage(aged / name)
    with pytest.raises(DataError, match=name) as caught:
        check_shard(aged, shard)
    assert said in str(caught.value)
