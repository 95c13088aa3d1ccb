"""Whatever images a folder holds, every reader of the prepared set can read them, in any mode and in any format."""

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.dataset.manifest import load_manifest
from data_prep.inspection.preview import save_pictures
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from pipeline.data.resident.split import load_split
from pipeline.data.streaming.split import StreamOptions, open_stream
from tests.data_prep.fixtures import damage_of
from tests.pipeline.conftest import ALONE

pytestmark = pytest.mark.slow

SIDE = 16
KINDS = {
    "gray": ("L", "png"),
    "gray JPEG": ("L", "jpg"),
    "1 bit": ("1", "png"),
    "palette": ("P", "png"),
    "color": ("RGB", "png"),
    "color JPEG": ("RGB", "jpg"),
    "color WebP": ("RGB", "webp"),
}
FORMATS = ("original", "png", "webp", "jpeg")
SPLITS = ("labeled", "unlabeled", "val", "test")


def draw(number, size, mode):
    noise = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    return picture.quantize(7 + number) if mode == "P" else picture.convert(mode)


def write(folder, kinds, *, varied):
    """Write two classes of eight images, whose kinds take turns."""
    for number in range(16):
        mode, suffix = KINDS[kinds[number // 2 % len(kinds)]]
        size = (SIDE + number * varied, SIDE + 3 * varied)
        path = folder / "ab"[number % 2] / f"{number:02d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number, size, mode).save(path)
    return folder


def prepared(tmp_path, kinds, image_format, *, varied):
    source = write(tmp_path / "source", kinds, varied=varied)
    request = PrepareRequest("folder", source=source, out=tmp_path / "set", image_format=image_format, labels=2, val=2)
    return tmp_path / "set", prepare(request)


@pytest.mark.parametrize("varied", [False, True], ids=["one size", "varied"])
@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("kinds", [("gray",), ("1 bit",), ("palette",), tuple(KINDS)], ids=lambda kinds: kinds[-1])
def test_what_was_prepared_can_be_read(kinds, image_format, varied, tmp_path):
    pytest.importorskip("nvidia.dali")
    folder, manifest = prepared(tmp_path, kinds, image_format, varied=varied)
    assert manifest.varied == varied
    assert damage_of(folder) == []
    save_pictures(folder, load_manifest(folder), tmp_path / "sheet.png")
    for split in SPLITS:
        ours, dali = (streamed(folder, manifest, split, engine, varied=varied) for engine in ("webdataset", "dali"))
        assert (ours - dali).abs().mean() < 3
        if not varied:
            assert torch.equal(ours, load_split(folder, manifest, split, ALONE).images.float())


def streamed(folder, manifest, split, engine, *, varied):
    """Return all images of a split [N, 3, H, W], as an evaluation gets them."""
    options = StreamOptions(engine, size=SIDE if varied else None, workers=1)
    return torch.cat(
        [images for images, _ in open_stream(folder, manifest, split, ALONE, options).batches(ALONE)]
    ).float()
