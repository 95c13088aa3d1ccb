"""A split on the device has the prepared values, pixels as uint8 and points as float32, on any number of ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_prep.dataset.manifest import Manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.sources import SOURCES, LoadOptions
from data_prep.system.errors import DataError
from pipeline.data.resident.split import load_split
from pipeline.distributed.world import World
from tests.pipeline.conftest import ALONE, CPU

DTYPES = {"digits": torch.uint8, "moons": torch.float32}


@pytest.fixture(scope="module", params=DTYPES)
def prepared(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp(request.param) / "set"
    return folder, prepare(PrepareRequest(request.param, out=folder, val=0))


class OneOfMany(World):
    """A rank that gets no samples from the other ranks."""

    def any(self, flag: bool) -> bool:
        return flag

    def gather_rows(self, mine: Tensor, sizes: list[int]) -> Tensor:
        assert len(mine) == sizes[self.rank]
        return mine


def test_a_split_has_the_values_of_the_source_and_their_type(prepared: tuple[Path, Manifest]) -> None:
    folder, manifest = prepared
    split = load_split(folder, manifest, "test", ALONE)
    raw = SOURCES[manifest.dataset].load(LoadOptions())
    assert split.images.dtype == DTYPES[manifest.dataset]
    assert split.ids.tolist() == list(range(len(raw.test.labels)))
    assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), raw.test.images)
    assert split.labels.tolist() == raw.test.labels.tolist()


def test_an_empty_split_and_an_empty_share_have_the_type_as_well(prepared: tuple[Path, Manifest]) -> None:
    folder, manifest = prepared
    height, width, channels = manifest.shape
    last_of_many = OneOfMany(8, 9, CPU)
    for split in (load_split(folder, manifest, "val", ALONE), load_split(folder, manifest, "labeled", last_of_many)):
        assert split.images.dtype == DTYPES[manifest.dataset]
        assert split.images.shape == (0, channels, height, width)


def test_shares_of_the_ranks_make_the_split(prepared: tuple[Path, Manifest]) -> None:
    folder, manifest = prepared
    whole = load_split(folder, manifest, "unlabeled", ALONE)
    shares = [load_split(folder, manifest, "unlabeled", OneOfMany(rank, 3, CPU)) for rank in range(3)]
    order = torch.argsort(torch.cat([share.ids for share in shares]))
    assert torch.equal(torch.cat([share.images for share in shares])[order], whole.images)


def test_a_damaged_point_is_refused_by_name(tmp_path: Path) -> None:
    manifest = prepare(PrepareRequest("moons", out=tmp_path))
    path = tmp_path / "test-000000.tar"
    content = bytearray(path.read_bytes())
    content[512 + 128] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test-000000\.tar: sha256 differs"):
        load_split(tmp_path, manifest, "test", ALONE)
