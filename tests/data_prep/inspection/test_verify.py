"""Every kind of damage is noticed, named by shard and sample, and all of it is listed."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner

from data_prep.cli import main
from data_prep.dataset.checksums import check_shard
from data_prep.dataset.manifest import Shard, load_manifest, save_manifest
from data_prep.formats.webdataset.scan import read_shard
from data_prep.images.codecs import CODECS, decode_image
from data_prep.system.errors import DataError
from tests.data_prep.fixtures import damage_of, rewrite, tar_of

NAME = "val-000000.tar"


def replace_image(content):
    return lambda members: [(members[0][0], content), *members[1:]]


def test_good_set_has_no_damage(digits):
    assert damage_of(digits) == []


def test_workers_find_the_same(copied):
    (copied / NAME).write_bytes(b"")
    assert damage_of(copied, workers=2) == damage_of(copied, workers=1) != []


HEADER = 512
SAMPLE = 2048  # header, image of one block, header, label of one block

CUTS = {
    "at a member boundary": (SAMPLE * 80, "80 whole samples"),
    "between image and label": (SAMPLE * 3 + 1024, "image without a label"),
    "mid-header": (SAMPLE * 3 + 100, "3 whole samples"),
    "mid-payload": (SAMPLE * 3 + HEADER + 10, "broken tar: unexpected end of data"),
    "empty": (0, "0 bytes"),
}


@pytest.mark.parametrize("name", CUTS)
def test_cut_shard(name, copied):
    keep, said = CUTS[name]
    content = (copied / NAME).read_bytes()
    (copied / NAME).write_bytes(content[:keep])
    lines = damage_of(copied)
    assert any(NAME in line and said in line for line in lines), lines
    assert any(f"{keep} bytes, the manifest says {len(content)}" in line for line in lines)
    shard = next(shard for shard in load_manifest(copied).shards if shard.name == NAME)
    with pytest.raises(DataError, match=NAME):
        check_shard(copied, shard)
    with pytest.raises(DataError, match=NAME):
        list(read_shard(copied / NAME, shard))


@pytest.mark.parametrize("offset", [5, 600, 1024 + 512, -1], ids=["header", "image", "label", "padding"])
def test_flipped_bit(offset, copied):
    content = bytearray((copied / NAME).read_bytes())
    content[offset] ^= 1
    (copied / NAME).write_bytes(content)
    assert f"{NAME}: sha256 differs from the manifest" in damage_of(copied)


def test_missing_shard(copied):
    (copied / NAME).unlink()
    lines = damage_of(copied)
    assert f"{NAME}: missing or unreadable" in lines
    assert any("class '0' has 0 samples, the manifest says 10" in line for line in lines)


@pytest.mark.parametrize("name", ["val-000001.tar", "test-000000.tar.partial"])
def test_extra_file(name, copied):
    (copied / name).write_bytes(b"")
    assert damage_of(copied) == [f"{name}: not in the manifest"]


def test_all_damage_is_listed(copied):
    (copied / "test-000000.tar").unlink()
    (copied / "labeled-000000.tar").write_bytes(b"")
    lines = damage_of(copied)
    assert {line.split(":")[0] for line in lines} >= {"test-000000.tar", "labeled-000000.tar", "test", "labeled"}


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"not an image", "broken image"),
        (CODECS["png"].encode(np.zeros((8, 8, 1), np.uint8))[:-30], "broken image"),
        (CODECS["png"].encode(np.zeros((9, 8, 1), np.uint8)), "image is 8x9 pixels, the manifest says 8x8"),
        (CODECS["jpeg"].encode(np.zeros((8, 8, 1), np.uint8)), "broken image"),
    ],
    ids=["text", "cut", "size", "format"],
)
def test_broken_image_under_a_fitting_manifest(image, said, copied):
    rewrite(copied, NAME, replace_image(image))
    lines = damage_of(copied)
    assert len(lines) == 1
    assert lines[0].startswith(f"{NAME}: sample ")
    assert said in lines[0]


@pytest.mark.parametrize(
    ("label", "said"),
    [(b"77", "label 77 of 10 classes"), (b"-1", "not an ASCII integer"), ("٣".encode(), "not an ASCII integer")],
)
def test_bad_label_under_a_fitting_manifest(label, said, copied):
    rewrite(copied, NAME, lambda members: [members[0], (members[1][0], label), *members[2:]])
    assert any(said in line for line in damage_of(copied))


def test_swapped_label_breaks_the_class_counts(copied):
    rewrite(copied, NAME, lambda rows: [rows[0], (rows[1][0], b"%d" % ((int(rows[1][1]) + 1) % 10)), *rows[2:]])
    lines = damage_of(copied)
    assert len(lines) == 2
    assert all("samples, the manifest says 10" in line for line in lines)


def test_repeated_key(copied):
    rewrite(copied, NAME, lambda members: [*members[:2], *members[:2], *members[4:]])
    assert any("1 keys are repeated" in line for line in damage_of(copied))


def test_training_image_in_val(copied):
    labeled = load_manifest(copied).labeled_ids[0]

    def rename(members):
        for info, _ in members[:2]:
            info.name = f"{labeled:08d}{info.name[8:]}"
        return members

    rewrite(copied, NAME, rename)
    assert "val: 1 of its images are in the training splits as well" in damage_of(copied)


def special(kind):
    info = tarfile.TarInfo("00000000.png")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_special_members_are_refused(kind, tmp_path):
    path = tar_of(tmp_path / "labeled-000000.tar", (special(kind), b""), (tarfile.TarInfo("00000000.cls"), b"1"))
    with pytest.raises(DataError, match="is not a regular file"):
        list(read_shard(path, described(path, 1)))


@pytest.mark.parametrize("name", ["00000000.pyd", "00000000.pkl", "00000000.pth", "../00000000.png", "00000000.truth"])
def test_names_off_the_whitelist_are_refused_and_never_unpickled(name, tmp_path):
    flag = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return open, (str(flag), "w")

    path = tar_of(tmp_path / "labeled-000000.tar", (tarfile.TarInfo(name), pickle.dumps(Bomb())))
    with pytest.raises(DataError, match="does not belong in a labeled shard"):
        list(read_shard(path, described(path, 1)))
    assert not flag.exists()


def described(path, samples):
    content = path.read_bytes()
    return Shard(
        path.name, path.name.split("-")[0], samples, len(content), hashlib.sha256(content).hexdigest(), "0" * 64
    )


def test_decompression_bomb_is_refused_before_decoding():
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (9000, 9000)).save(buffer, "PNG")
    with pytest.raises(DataError, match="image is 9000x9000 pixels"):
        decode_image(buffer.getvalue(), (8, 8, 1), "png")
    header = bytearray(CODECS["png"].encode(np.zeros((8, 8, 1), np.uint8)))
    header[16:24] = b"\x00\x01\x00\x00" * 2  # claims 65536x65536
    with pytest.raises(DataError):
        decode_image(bytes(header), (8, 8, 1), "png")


def edit(folder, old, new):
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"image_format": "png"', '"image_format": "gif"', "image_format is none of png, webp, jpeg, npy"),
        ('"schema": 2', '"schema": 3', "has schema 3, this version reads 2"),
        ('"dataset"', '"datasets"', "lacks dataset"),
        ('"dataset": "digits"', '"dataset": "digits", "more": 1', "more"),
        ('"samples": 20', '"samples": "20"', "samples"),
        ('"samples": 20', '"samples": 21', "counts and shards differ"),
        ('"name": "labeled-000000.tar"', '"name": "../../x.tar"', "is not labeled-NNNNNN.tar"),
        ('"labeled_ids": [57', '"labeled_ids": [122', "labeled_ids repeat"),
        ("{", "[", "cannot be read"),
    ],
)
def test_damaged_manifest(old, new, said, copied):
    edit(copied, old, new)
    with pytest.raises(DataError, match=r"manifest\.json") as caught:
        load_manifest(copied)
    assert said in str(caught.value)
    assert "smpl-data prepare" in str(caught.value)


def test_manifest_survives_saving(copied):
    manifest = load_manifest(copied)
    before = (copied / "manifest.json").read_bytes()
    save_manifest(manifest, copied)
    assert (copied / "manifest.json").read_bytes() == before
    assert manifest.fingerprint == hashlib.sha256(before).hexdigest()


def test_command_lists_damage_and_exits_with_3(copied):
    assert CliRunner().invoke(main, ["verify", str(copied)]).exit_code == 0
    (copied / NAME).unlink()
    result = CliRunner().invoke(main, ["verify", str(copied)])
    assert result.exit_code == 3
    assert f"{NAME}: missing or unreadable\n" in result.stdout
    assert result.stderr == f"error: {copied}: 11 faults; remove it and prepare the data set again\n"
