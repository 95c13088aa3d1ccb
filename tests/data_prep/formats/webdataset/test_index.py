"""The index of a tar says where its members are, as DALI's own tool would, and nothing else is taken for one."""

import io
import tarfile

import numpy as np
import pytest

from data_prep.formats.sample import IMAGE_EXTENSIONS
from data_prep.formats.webdataset.index import IndexEntry, read_index, write_index
from data_prep.system.errors import DataError

SIZES = [1, 511, 512, 513, 5000]
NAMES = ["00000007.png", "00000003.jpg", "123456789.webp", "00000000.npy", "999999999999.jpg"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A tar of five samples, and its members as its writer knows them."""
    path = tmp_path_factory.mktemp("packed") / "val-000000.tar"
    members = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, size in zip(NAMES, SIZES, strict=True):
            key = name.partition(".")[0]
            for info, payload in ((tarfile.TarInfo(name), bytes(size)), (tarfile.TarInfo(f"{key}.cls"), b"12")):
                info.size = len(payload)
                members.append(IndexEntry(info.name, archive.offset + 512, info.size))
                archive.addfile(info, io.BytesIO(payload))
    return path, members


@pytest.fixture
def content(packed):
    return write_index(packed[1])


def test_it_is_what_dali_makes_of_the_finished_tar(packed, tmp_path):
    path, members = packed
    with pytest.importorskip("wds2idx").IndexCreator(str(path), str(tmp_path / "dali.idx"), verbose=False) as creator:
        creator.create_index()
    assert (tmp_path / "dali.idx").read_bytes() == write_index(members)


def test_it_reads_back(packed, content):
    index = read_index(content)
    images, labels = packed[1][::2], packed[1][1::2]
    assert index.keys.dtype == np.int64
    assert index.keys.tolist() == [int(name.partition(".")[0]) for name in NAMES]
    assert index.offsets.tolist() == [member.offset for member in images]
    assert index.sizes.tolist() == SIZES
    assert [IMAGE_EXTENSIONS[place] for place in index.extensions] == [name.partition(".")[2] for name in NAMES]
    assert index.label_offsets.tolist() == [member.offset for member in labels]
    assert index.label_sizes.tolist() == [2] * 5
    assert index.label_extension == "cls"
    assert len(index) == 5


def test_the_payloads_lie_where_it_says(packed, content):
    index, data = read_index(content), packed[0].read_bytes()
    for offset, name in zip(index.offsets, NAMES, strict=True):
        assert data[offset - 512 : offset].startswith(name.encode() + b"\0")
    assert all(data[offset : offset + 2] == b"12" for offset in index.label_offsets)


DAMAGE = {
    "nothing": (lambda text: b"", "does not begin with 'v1.2'"),
    "another version": (lambda text: text.replace(b"v1.2", b"v1.1"), "does not begin with 'v1.2'"),
    "no number": (lambda text: text.replace(b"v1.2 5", b"v1.2 x"), "does not begin with 'v1.2'"),
    "cut in a line": (lambda text: text[:-5], "line 6 is cut or damaged"),
    "cut of its last newline": (lambda text: text[:-1], "line 6 is cut or damaged"),
    "cut at a line": (lambda text: text[: text[:-1].rindex(b"\n") + 1], "holds 4 samples, its first line says 5"),
    "a line more": (lambda text: text + text[text[:-1].rindex(b"\n") + 1 :], "holds 6 samples, its first line says 5"),
    "no samples": (lambda text: b"v1.2 0\n", "line 2 is cut or damaged"),
    "an empty line": (lambda text: text.replace(b"\n", b"\n\n", 2), "line 2 is cut or damaged"),
    "a pickle": (lambda text: text.replace(b"jpg", b"pkl"), "line 3 is cut or damaged"),
    "another extension than the name's": (lambda text: text.replace(b"jpg ", b"png ", 1), "line 3 is cut or damaged"),
    "seven digits": (lambda text: text.replace(b"00000003", b"0000003"), "line 3 is cut or damaged"),
    "thirteen digits": (lambda text: text.replace(b"999999999999", b"9999999999999"), "line 6 is cut or damaged"),
    "a zero too many": (lambda text: text.replace(b"00000003", b"000000003"), "line 3 is cut or damaged"),
    "no digits": (lambda text: text.replace(b"00000003", b"0000000x"), "line 3 is cut or damaged"),
    "digits of another script": (lambda text: text.replace(b"00000003", "٣".encode() * 8), "line 3 is cut"),
    "a path": (lambda text: text.replace(b" 00000003", b" ../00000003"), "line 3 is cut or damaged"),
    "the label of another": (lambda text: text.replace(b"00000003.cls", b"00000004.cls"), "line 3 is cut or damaged"),
    "two kinds of labels": (lambda text: text.replace(b"cls", b"truth", 2), "mixes visible and hidden labels"),
    "another offset": (lambda text: text.replace(b" 512 1 ", b" 1024 1 "), "sample 00000007 does not start"),
    "another size": (lambda text: text.replace(b" 513 ", b" 512 "), "sample 00000000 does not start"),
    "an empty image": (lambda text: text.replace(b" 512 1 ", b" 512 0 "), "an image is empty"),
    "a long label": (
        lambda text: text.replace(b" 2 00000003", b" 7 00000003"),
        "a label does not have 1 to 6 characters",
    ),
    "a huge number": (lambda text: text.replace(b" 5000 ", b" 5%s " % (b"0" * 40)), "line 6 is cut or damaged"),
    "a negative one": (lambda text: text.replace(b" 5000 ", b" -5000 "), "line 6 is cut or damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_anything_else_is_refused(name, content):
    change, said = DAMAGE[name]
    damaged = change(content)
    assert damaged != content
    with pytest.raises(DataError, match=said):
        read_index(damaged)
