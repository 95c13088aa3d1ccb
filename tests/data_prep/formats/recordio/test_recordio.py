"""RecordIO and tars hold the same samples in the same order, for the public readers too; nothing half-made is used."""

import dataclasses
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from data_prep.dataset.manifest import SPLITS, load_manifest
from data_prep.formats.recordio.checksums import check_recordio
from data_prep.formats.recordio.manifest import RECORDIO_MANIFEST, load_recordio_manifest, save_recordio_manifest
from data_prep.formats.recordio.reader import open_recordio
from data_prep.formats.recordio.writer import pack, write_recordio
from data_prep.formats.sample import Sample
from data_prep.formats.webdataset.reader import open_tars
from data_prep.images.codecs import decode_image
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import DataError, UsageError
from tests.data_prep.fixtures import contents, convert_set, damage_of
from tests.data_prep.formats.webdataset.test_reader import members_of, rewrite_indexed
from tests.limits import LIMIT_S

BATCH = 8


@pytest.fixture(scope="module")
def converted(tmp_path_factory, cifar10):
    """A tiny CIFAR-10 of several shards in both formats; read only."""
    folder = tmp_path_factory.mktemp("converted") / "set"
    options = {"checksum": False, "labels": 20, "val": 10, "shard_size": 40}
    prepare(PrepareRequest("cifar10", source=cifar10, out=folder, **options))
    convert_set(folder)
    return folder


@pytest.fixture
def damaged(converted, tmp_path):
    """A copy to damage."""
    return shutil.copytree(converted, tmp_path / "set")


def names(*splits):
    return {f"{split}.{suffix}" for split in splits for suffix in ("rec", "idx", "lst")}


def record_files(folder):
    return {name: content for name, content in contents(folder).items() if name in names(*SPLITS) | {RECORDIO_MANIFEST}}


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def samples_of(reader):
    return [reader.read(index) for index in range(len(reader))]


@pytest.mark.parametrize("split", SPLITS)
def test_the_readers_agree(split, converted):
    manifest = load_manifest(converted)
    tars, records = open_tars(converted, manifest, split), open_recordio(converted, manifest, split)
    assert records.keys.tolist() == tars.keys.tolist()
    assert samples_of(records) == samples_of(tars)
    assert len(records) == manifest.samples(split) > 0


def run_dali(count, read):
    """Pixels [N, H, W, C] and labels [N] of a DALI pipeline on the CPU."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None)
    def pipeline():
        images, labels = read(fn)
        return fn.decoders.image(images, output_type=types.RGB), labels

    built = pipeline()
    built.build()
    outputs = [built.run() for _ in range(-(-count // BATCH))]
    images, labels = ([np.array(one) for output in outputs for one in output[place]] for place in (0, 1))
    return np.stack(images[:count]), labels[:count]


@pytest.mark.parametrize("split", ["labeled", "unlabeled", "val"])
def test_dali_reads_the_same_from_both(split, converted):
    pytest.importorskip("nvidia.dali")
    manifest = load_manifest(converted)
    stored = samples_of(open_tars(converted, manifest, split))
    tars = [str(converted / shard.name) for shard in manifest.split(split)]
    indices = [str(converted / shard.index_name) for shard in manifest.split(split)]
    label = "truth" if split == "unlabeled" else "cls"
    of_tars = run_dali(
        len(stored),
        lambda fn: fn.readers.webdataset(
            paths=tars, index_paths=indices, ext=["png", label], missing_component_behavior="error"
        ),
    )
    of_records = run_dali(
        len(stored),
        lambda fn: fn.readers.mxnet(
            path=[str(converted / f"{split}.rec")], index_path=[str(converted / f"{split}.idx")]
        ),
    )
    expected = np.stack([decode_image(one.image, manifest.shape, "png") for one in stored])
    assert (of_tars[0] == expected).all()
    assert (of_records[0] == expected).all()
    assert [int(text.tobytes()) for text in of_tars[1]] == [one.label for one in stored]
    assert [number.item() for number in of_records[1]] == [one.label for one in stored]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # not ours
@pytest.mark.parametrize("split", ["labeled", "unlabeled"])
def test_webdataset_reads_the_same(split, converted):
    """With decoders by name alone: the library's own would unpickle."""
    wds = pytest.importorskip("webdataset")

    manifest = load_manifest(converted)
    tars = [str(converted / shard.name) for shard in manifest.split(split)]
    label = "truth" if split == "unlabeled" else "cls"
    number = lambda name, content: int(content) if name == f".{label}" else None  # noqa: E731
    data = wds.WebDataset(tars, shardshuffle=False).decode(wds.imagehandler("rgb8"), number, pre=[], post=[])
    found = list(data)
    stored = samples_of(open_recordio(converted, manifest, split))
    assert [(int(one["__key__"]), one[label]) for one in found] == [(one.key, one.label) for one in stored]
    for one, sample in zip(found, stored, strict=True):
        assert (one["png"] == decode_image(sample.image, manifest.shape, "png")).all()


def test_the_bytes_are_those_of_the_format(converted):
    data = (converted / "val.rec").read_bytes()
    index = [line.split("\t") for line in (converted / "val.idx").read_text().splitlines()]
    listing = [line.split("\t") for line in (converted / "val.lst").read_text().splitlines()]
    edges = [*(int(offset) for _, offset in index), len(data)]
    for number, sample in enumerate(samples_of(open_tars(converted, load_manifest(converted), "val"))):
        record = data[edges[number] : edges[number + 1]]
        magic, length = struct.unpack("<II", record[:8])
        assert (magic, length) == (0xCED7230A, 24 + len(sample.image))
        assert struct.unpack("<IfQQ", record[8:32]) == (0, sample.label, sample.key, 0)
        assert record[32:].startswith(sample.image)
        assert record[8 + length :] == bytes(-length % 4)
        assert index[number][0] == str(sample.key)
        assert listing[number] == [str(sample.key), str(sample.label), f"{sample.key:08d}.png"]


def test_a_full_set_is_twelve_files_and_their_description(converted):
    manifest = load_manifest(converted)
    assert set(record_files(converted)) == names(*SPLITS) | {RECORDIO_MANIFEST}
    assert {path.name for path in converted.iterdir()} == names(*SPLITS) | {
        RECORDIO_MANIFEST, "manifest.json", *(shard.name for shard in manifest.shards),
        *(shard.index_name for shard in manifest.shards),
    }  # fmt: skip
    described = json.loads((converted / RECORDIO_MANIFEST).read_text())
    assert described["fingerprint"] == manifest.fingerprint
    assert {file["name"]: (file["bytes"], file["samples"]) for file in described["files"]} == {
        name: ((converted / name).stat().st_size, manifest.samples(name[:-4])) for name in names(*SPLITS)
    }


def test_a_split_without_samples_has_no_files(tmp_path):
    folder = tmp_path / "set"
    prepare(PrepareRequest("digits", out=folder, val=0))
    convert_set(folder)
    assert set(record_files(folder)) == names("labeled", "unlabeled", "test") | {RECORDIO_MANIFEST}
    assert len(open_recordio(folder, load_manifest(folder), "val")) == 0


def test_an_unknown_class_is_minus_one(copied):
    name = "unlabeled-000000.tar"
    members = members_of(copied / name)
    rewrite_indexed(copied, name, [members[0], (members[1][0], b"-1"), *members[2:]])
    convert_set(copied)
    first = open_recordio(copied, load_manifest(copied), "unlabeled").read(0)
    assert (first.name, first.label) == (members[0][0].name, -1)
    assert (copied / "unlabeled.lst").read_text().startswith(f"{first.key}\t-1\t{first.name}\n")


def test_converting_twice_changes_nothing(damaged):
    before = inodes(damaged)
    convert_set(damaged)
    assert inodes(damaged) == before


@pytest.mark.parametrize("name", ["unlabeled.rec", "unlabeled.idx", "unlabeled.lst"])
def test_a_lost_file_is_written_anew_and_the_other_splits_stay(name, damaged):
    files, before = contents(damaged), inodes(damaged)
    (damaged / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: No such file .*`smpl-data convert \S+ --to recordio`"):
        open_recordio(damaged, load_manifest(damaged), "unlabeled").read(0)
    convert_set(damaged)
    assert contents(damaged) == files
    after = inodes(damaged)
    assert {name for name in before if before[name] != after[name]} <= names("unlabeled") | {RECORDIO_MANIFEST}


def test_records_of_another_preparation_are_refused_and_written_anew(damaged, cifar10):
    """The same folder, prepared again with other options: without validation images and with another seed."""
    manifest = load_manifest(damaged)
    other = damaged.with_name("other")
    options = {"checksum": False, "labels": 20, "val": 0, "shard_size": 40, "seed": 1}
    prepare(PrepareRequest("cifar10", source=cifar10, out=other, **options))
    for name in record_files(damaged):
        shutil.copy(damaged / name, other)
    changed = load_manifest(other)
    assert changed.fingerprint != manifest.fingerprint
    with pytest.raises(
        DataError, match=rf"{RECORDIO_MANIFEST}: the records are of another preparation; run `smpl-data convert"
    ):
        open_recordio(other, changed, "labeled")
    convert_set(other)
    assert set(record_files(other)) == names("labeled", "unlabeled", "test") | {RECORDIO_MANIFEST}
    assert samples_of(open_recordio(other, changed, "labeled")) == samples_of(open_tars(other, changed, "labeled"))


KILLED = """
import os, signal, sys
from pathlib import Path
from data_prep.formats.recordio import writer as recordio
from data_prep.prepare import convert
from data_prep.dataset.manifest import load_manifest
count, pack, save = 0, recordio.pack, convert.save_recordio_manifest
def killing_pack(sample):
    global count
    count += 1
    if str(count) == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return pack(sample)
def killing_save(records, path):
    if path.name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    save(records, path)
recordio.pack, convert.save_recordio_manifest = killing_pack, killing_save
convert.convert(Path(sys.argv[1]), load_manifest(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("moment", "kept"),
    [("1", []), ("15", []), ("21", ["labeled"]), ("150", ["labeled"]), ("records.json", list(SPLITS))],
    ids=["first", "labeled", "first unlabeled", "unlabeled", "before the last rename"],
)
def test_killed_then_the_same_command_goes_on(moment, kept, damaged):
    expected = contents(damaged)
    for name in record_files(damaged):
        (damaged / name).unlink()
    process = subprocess.run([sys.executable, "-c", KILLED, str(damaged), moment], check=False, timeout=LIMIT_S)
    assert process.returncode == -signal.SIGKILL
    assert not (damaged / RECORDIO_MANIFEST).exists()
    with pytest.raises(DataError, match=rf"{RECORDIO_MANIFEST} is missing: the set was not converted"):
        open_recordio(damaged, load_manifest(damaged), "labeled")
    before = inodes(damaged)
    assert set(record_files(damaged)) == names(*kept)
    convert_set(damaged)
    assert contents(damaged) == expected
    assert {name for name in names(*kept) if inodes(damaged)[name] != before[name]} == set()


def test_a_killed_repair_looks_unfinished_and_goes_on(damaged):
    expected = contents(damaged)
    (damaged / "unlabeled.rec").unlink()
    subprocess.run([sys.executable, "-c", KILLED, str(damaged), "50"], check=False, timeout=LIMIT_S)
    assert set(record_files(damaged)) == names("labeled", "val", "test")
    convert_set(damaged)
    assert contents(damaged) == expected


def test_a_split_finished_before_the_kill_is_checked_before_it_is_kept(damaged):
    expected = contents(damaged)
    for name in record_files(damaged):
        (damaged / name).unlink()
    subprocess.run([sys.executable, "-c", KILLED, str(damaged), "150"], check=False, timeout=LIMIT_S)
    flip(damaged / "labeled.rec", 40)
    convert_set(damaged)
    assert contents(damaged) == expected


CONVERT = (
    "from data_prep.system.cli import exit_code; from data_prep.prepare.convert import convert; "
    "from data_prep.dataset.manifest import load_manifest; "
    "from pathlib import Path"
)


def test_a_full_disk_is_one_line_and_leaves_nothing_of_the_split(damaged):
    """A file size limit stands in for a full disk: the labeled records fit, the unlabeled ones do not."""
    for name in record_files(damaged):
        (damaged / name).unlink()
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))  # noqa: E731
    script = f"{CONVERT}; import sys; folder = Path({str(damaged)!r}); "
    script += "sys.exit(exit_code(lambda: convert(folder, load_manifest(folder))))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_S, check=False, preexec_fn=limit
    )
    assert result.returncode == 3
    assert result.stderr.startswith(f"error: cannot write {damaged}/unlabeled.rec: File too large; ")
    assert result.stderr.count("\n") == 1
    assert set(record_files(damaged)) == names("labeled")
    assert not list(damaged.glob("*.partial"))


@pytest.mark.parametrize("call", range(6))
def test_a_disk_that_is_found_full_at_the_end_keeps_none_of_the_three(call, tmp_path, monkeypatch):
    """A file system may say so as late as at fsync, when files of the split may have their names already."""
    calls = []

    def full(_):
        calls.append(None)
        if len(calls) == call + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot write \S+/val\.(rec|idx|lst): No space left on device"):
        write_recordio([Sample(7, "png", b"image", 0)], tmp_path / "val")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("offset", [5, 600, -1], ids=["header", "image", "end"])
def test_a_damaged_tar_is_not_converted(offset, damaged):
    for name in record_files(damaged):
        (damaged / name).unlink()
    flip(damaged / "unlabeled-000002.tar", offset)
    with pytest.raises(DataError, match=r"unlabeled-000002\.tar: "):
        convert_set(damaged)
    assert set(record_files(damaged)) == names("labeled")


def test_points_are_refused(copied_moons):
    with pytest.raises(UsageError, match="RecordIO holds pictures"):
        convert_set(copied_moons)
    assert not record_files(copied_moons)


def test_another_format_is_refused(converted):
    with pytest.raises(UsageError, match="--to tfrecord: known is recordio"):
        convert_set(converted, "tfrecord")


def test_an_image_that_a_length_of_29_bits_cannot_tell_is_refused():
    fits = (1 << 29) - 25
    with pytest.raises(DataError, match=rf"00000007\.png has {fits + 1} bytes; a record can hold less than {1 << 29}"):
        pack(Sample(7, "png", bytes(fits + 1), 0))


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("field", [0, 4, 7, 8, 12, 15, 16, 24], ids=lambda field: f"byte {field}")
def test_a_flipped_bit_in_a_records_header(field, damaged):
    """Magic, length, its upper bits, flag, label (as no whole number and as none of the classes), id, id2."""
    manifest = load_manifest(damaged)
    second = int((damaged / "val.idx").read_text().splitlines()[1].split("\t")[1])
    flip(damaged / "val.rec", second + field)
    reader = open_recordio(damaged, manifest, "val")
    key = reader.keys[1]
    reader.read(0)
    reader.read(2)
    with pytest.raises(DataError, match=rf"val\.rec: record {key:08d} .*`smpl-data convert \S+ --to recordio`"):
        reader.read(1)


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_a_cut_rec_is_refused_at_its_first_read(keep, damaged):
    content = (damaged / "val.rec").read_bytes()
    (damaged / "val.rec").write_bytes(content[:keep])
    with pytest.raises(DataError, match=rf"val\.rec: {len(content[:keep])} bytes, {len(content)} are expected"):
        open_recordio(damaged, load_manifest(damaged), "val").read(0)


def test_a_rec_cut_while_it_is_open(damaged):
    reader = open_recordio(damaged, load_manifest(damaged), "val")
    reader.read(0)
    os.truncate(damaged / "val.rec", 100)
    with pytest.raises(DataError, match=rf"val\.rec: record {reader.keys[1]:08d} is cut"):
        reader.read(1)


@pytest.mark.parametrize("name", ["val.idx", "val.lst"])
@pytest.mark.parametrize("change", [lambda text: text[:-3], lambda text: b"1" + text, lambda text: b""])
def test_a_changed_index_or_list_is_refused(change, name, damaged):
    (damaged / name).write_bytes(change((damaged / name).read_bytes()))
    with pytest.raises(DataError, match=rf"{name}: (sha256 differs from|\d+ bytes,) records\.json.*; remove it"):
        open_recordio(damaged, load_manifest(damaged), "val")


def fitting(folder, name, change):
    """Change a file and make records.json fit: only a look inside can find it."""
    content = change((folder / name).read_bytes())
    (folder / name).write_bytes(content)
    records = load_recordio_manifest(folder, load_manifest(folder))
    sums = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files = (dataclasses.replace(file, **sums) if file.name == name else file for file in records.files)
    save_recordio_manifest(dataclasses.replace(records, files=tuple(files)), folder / RECORDIO_MANIFEST)


def swap_keys(content):
    first, second, *rest = content.splitlines(keepends=True)
    (one, tail), (two, other) = first.split(b"\t", 1), second.split(b"\t", 1)
    return b"".join([two + b"\t" + tail, one + b"\t" + other, *rest])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("val.idx", swap_keys),
        ("val.lst", swap_keys),
        ("val.lst", lambda text: text.replace(b".png", b".pkl", 1)),
        ("val.lst", lambda text: text + text.splitlines(keepends=True)[-1]),
        ("val.idx", lambda text: b"".join(reversed(text.splitlines(keepends=True)))),
        ("val.idx", lambda text: text.replace(b"\t0\n", b"\t4\n", 1)),
    ],
    ids=["keys of idx", "keys of lst", "extension", "a line more", "order", "offset"],
)
def test_a_wrong_index_under_a_fitting_description(name, change, damaged):
    fitting(damaged, name, change)
    with pytest.raises(DataError, match=r"val\.(idx|lst): .*`smpl-data convert \S+ --to recordio`"):
        open_recordio(damaged, load_manifest(damaged), "val")


def test_a_wrong_key_in_index_and_list_is_found_in_the_record(damaged):
    reader = open_recordio(damaged, load_manifest(damaged), "val")
    first = int(reader.keys[0])
    fitting(damaged, "val.idx", lambda text: text.replace(b"%d\t" % first, b"99999\t", 1))
    fitting(damaged, "val.lst", lambda text: text.replace(b"%d\t" % first, b"99999\t", 1))
    fitting(damaged, "val.lst", lambda text: text.replace(b"%08d.png" % first, b"00099999.png", 1))
    with pytest.raises(DataError, match=r"val\.rec: record 00099999 is not where its index says"):
        open_recordio(damaged, load_manifest(damaged), "val").read(0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"schema": 1', '"schema": 2', "of another preparation"),
        ('"val.rec"', '"../val.rec"', "is damaged"),
        ('"val.rec"', '"val.idx"', "of another preparation"),
        ("{", "[", "is damaged"),
        ('"samples": 10', '"samples": "10"', "is damaged"),
        ('"samples": 10', '"samples": 11', "of another preparation"),
        ('"fingerprint"', '"fingerprints"', "is damaged"),
    ],
)
def test_a_damaged_description(old, new, said, damaged):
    text = (damaged / RECORDIO_MANIFEST).read_text()
    assert old in text
    (damaged / RECORDIO_MANIFEST).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"{RECORDIO_MANIFEST}.* {said}.*`smpl-data convert \S+ --to recordio`"):
        open_recordio(damaged, load_manifest(damaged), "val")


def change_label(folder, key):
    """Give a record of the validation split the label of another class; return its index and that label."""
    reader = open_recordio(folder, load_manifest(folder), "val")
    index = reader.keys.tolist().index(key)
    start = int((folder / "val.idx").read_text().splitlines()[index].split("\t")[1]) + 12
    other = (reader.read(index).label + 1) % 10
    content = bytearray((folder / "val.rec").read_bytes())
    content[start : start + 4] = struct.pack("<f", other)
    (folder / "val.rec").write_bytes(content)
    return index, other


def test_another_label_than_the_lists_is_refused(damaged):
    key = int(open_recordio(damaged, load_manifest(damaged), "val").keys[3])
    index, other = change_label(damaged, key)
    with pytest.raises(DataError, match=rf"val\.rec: record {key:08d} has label {other}, val\.lst says \d"):
        open_recordio(damaged, load_manifest(damaged), "val").read(index)


def test_a_flipped_bit_is_repaired_by_the_same_command(damaged):
    expected = contents(damaged)
    before = inodes(damaged)
    flip(damaged / "unlabeled.rec", 5000)
    convert_set(damaged)
    assert contents(damaged) == expected
    others = names("labeled", "val", "test")
    assert {name: inodes(damaged)[name] for name in others} == {name: before[name] for name in others}


def check(folder, mode, share=slice(None)):
    check_recordio(folder, load_manifest(folder), "val", mode, share)


def flip_unseen(path):
    """Change a byte but not the size, time or inode."""
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(40)
        byte = file.read(1)
        file.seek(40)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def age(folder):
    """As if written a minute ago: what is younger than the clock's tick is not remembered."""
    for path in folder.iterdir():
        os.utime(path, (path.stat().st_atime - 60, path.stat().st_mtime - 60))


def test_records_are_hashed_once_always_or_never(damaged):
    age(damaged)
    check(damaged, "once")
    flip_unseen(damaged / "val.rec")
    check(damaged, "once")
    check(damaged, "never")
    with pytest.raises(DataError, match=r"val\.rec: sha256 differs from records\.json; remove it and run `smpl-data"):
        check(damaged, "always")


@pytest.mark.parametrize("mode", ["once", "always"])
@pytest.mark.parametrize("name", ["val.rec", "val.idx", "val.lst"])
def test_every_file_is_hashed_before_it_is_used(name, mode, damaged):
    flip(damaged / name, 20)
    with pytest.raises(DataError, match=rf"{name}: sha256 differs from records\.json"):
        check(damaged, mode)


@pytest.mark.parametrize("mode", ["once", "always", "never"])
def test_a_missing_or_cut_file_is_found_in_every_mode(mode, damaged):
    os.truncate(damaged / "val.rec", 100)
    with pytest.raises(DataError, match=r"val\.rec: 100 bytes, records\.json says \d+; remove it"):
        check(damaged, mode)
    (damaged / "val.rec").unlink()
    with pytest.raises(DataError, match=r"val\.rec: No such file"):
        check(damaged, mode)


def test_ranks_check_a_share_each(damaged):
    flip(damaged / "val.rec", 40)
    failed = []
    for rank in range(2):
        try:
            check(damaged, "always", slice(rank, None, 2))
        except DataError:
            failed.append(rank)
    assert len(failed) == 1


def test_verify_lists_damaged_records(converted, damaged):
    assert damage_of(converted) == []
    flip(damaged / "val.rec", 40)
    os.truncate(damaged / "test.idx", 10)
    (damaged / "labeled.lst").unlink()
    remedy = "`smpl-data convert` writes it again"
    size = (converted / "test.idx").stat().st_size
    assert damage_of(damaged) == [
        f"labeled.lst: No such file or directory; {remedy}",
        f"val.rec: sha256 differs from records.json; {remedy}",
        f"test.idx: 10 bytes, records.json says {size}; {remedy}",
    ]
    convert_set(damaged)
    assert damage_of(damaged) == []


def test_verify_changes_nothing(damaged):
    before = contents(damaged)
    damage_of(damaged)
    assert contents(damaged) == before


def test_verify_finds_an_unfinished_conversion(damaged):
    for name in record_files(damaged):
        (damaged / name).unlink()
    subprocess.run([sys.executable, "-c", KILLED, str(damaged), "150"], check=False, timeout=LIMIT_S)
    lines = damage_of(damaged)
    assert ".records.json: left by a conversion that did not finish; `smpl-data convert` goes on with it" in lines
    assert "labeled.rec: not in records.json" in lines


def test_verify_finds_records_of_another_preparation(damaged):
    text = (damaged / RECORDIO_MANIFEST).read_text()
    (damaged / RECORDIO_MANIFEST).write_text(text.replace('"samples": 10', '"samples": 11', 1))
    lines = damage_of(damaged)
    assert len(lines) == 1
    assert lines[0].startswith("records.json: the records are of another preparation; run `smpl-data convert")


def test_what_a_kill_after_the_last_file_leaves_is_cleared(damaged):
    expected = contents(damaged)
    shutil.copy(damaged / RECORDIO_MANIFEST, damaged / ".records.json")
    assert len(damage_of(damaged)) == 1
    convert_set(damaged)
    assert contents(damaged) == expected
    assert damage_of(damaged) == []
