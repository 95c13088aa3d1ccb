"""A decoder decodes each image once, writes the given windows, and names an image that it cannot read."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data_prep.formats.sample import Sample
from data_prep.images.codecs import CODECS
from data_prep.system.errors import DataError
from pipeline.data.streaming.dali import DaliDecoder
from pipeline.data.streaming.decoders import Decoder, ExactDecoder, WindowDecoder
from tests.pipeline.conftest import CPU
from tests.pipeline.streams import encode, smooth

SIDE = 16
WINDOWS = torch.tensor([[3, 5, 40, 30], [0, 0, 12, 9], [10, 20, 64, 64]])
PIXELS = [smooth(90, 100, seed) for seed in range(3)]
RESIZING = {
    "torch": partial(WindowDecoder, 3, SIDE, 1),
    "dali": partial(DaliDecoder, (3, SIDE, SIDE), CPU, resized=True, workers=1),
}


def empty(count: int, channels: int = 3, side: int = SIDE) -> Tensor:
    return torch.zeros(count, channels, side, side, dtype=torch.uint8)


def given(windows: Tensor) -> "partial[Tensor]":
    return partial(lambda found, sizes: found[: len(sizes)], windows)


@pytest.fixture(params=RESIZING)
def resizing(request: pytest.FixtureRequest) -> Decoder:
    return RESIZING[request.param]()


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_a_window_is_what_pillow_makes_of_it(resizing: Decoder, image_format: str) -> None:
    samples = [Sample(n, "", encode(pixels, image_format, lossless=True), 0) for n, pixels in enumerate(PIXELS)]
    resizing(samples, [given(WINDOWS)], [batch := empty(3)])
    for pixels, (top, left, height, width), found in zip(PIXELS, WINDOWS.tolist(), batch, strict=True):
        cut = Image.fromarray(pixels[top : top + height, left : left + width])
        wanted = np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() <= 5


def test_two_windows_come_from_one_image_and_either_alone_is_near(resizing: Decoder) -> None:
    samples = [Sample(n, "jpg", encode(pixels), 0) for n, pixels in enumerate(PIXELS)]
    both, alone = [empty(3), empty(3)], empty(3)
    other = WINDOWS.roll(1, 0)
    resizing(samples, [given(WINDOWS), given(other)], both)
    resizing(samples, [given(other)], [alone])
    assert (both[0] != both[1]).any()
    assert (both[1].int() - alone.int()).abs().max() <= 3


def test_gray_becomes_three_equal_channels(resizing: Decoder) -> None:
    for image_format in ("PNG", "JPEG"):
        resizing([Sample(0, "", encode(PIXELS[0][:, :, 0], image_format), 0)], [given(WINDOWS)], [batch := empty(1)])
        assert torch.equal(batch[:, 0], batch[:, 1])
        assert torch.equal(batch[:, 0], batch[:, 2])
        assert batch.float().std() > 1


@pytest.mark.parametrize("content", [encode(PIXELS[0])[:200], b"", b"no image at all", encode(PIXELS[0], "PNG")[:-400]])
def test_a_broken_image_is_named(resizing: Decoder, content: bytes) -> None:
    samples = [Sample(3, "jpg", encode(PIXELS[0]), 0), Sample(41, "jpg", content, 0)]
    with pytest.raises(DataError, match=r"^sample 00000041: "):
        resizing(samples, [given(WINDOWS)], [empty(2)])
    resizing(samples[:1], [given(WINDOWS)], [batch := empty(1)])
    assert batch.any()


@pytest.mark.parametrize("backend", ["torch", "dali"])
@pytest.mark.parametrize("image_format", ["png", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_one_shape_are_read_exactly(backend: str, image_format: str, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), dtype=np.uint8)
    samples = [Sample(n, image_format, CODECS[image_format].encode(image), 0) for n, image in enumerate(images)]
    decoder: Decoder = ExactDecoder((8, 8, channels), image_format, 1)
    if backend == "dali":
        decoder = DaliDecoder((channels, 8, 8), CPU, resized=False, workers=1)
    decoder(samples, [given(WINDOWS)], [batch := empty(5, channels, 8)])
    assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), images)
    larger = Sample(77, image_format, CODECS[image_format].encode(np.zeros((9, 8, channels), np.uint8)), 0)
    for wrong in ([*samples, larger], [larger]):
        with pytest.raises(DataError, match=r"sample 00000077: image is 8x9 pixels, the manifest says 8x8"):
            decoder(wrong, [given(WINDOWS)], [empty(len(wrong), channels, 8)])


def test_points_keep_their_type() -> None:
    points = np.random.default_rng(0).normal(size=(3, 1, 2, 1)).astype(np.float32)
    decoder = ExactDecoder((1, 2, 1), "npy", 1)
    batch = torch.zeros(3, *decoder.shape, dtype=decoder.dtype)
    decoder([Sample(n, "npy", CODECS["npy"].encode(point), 0) for n, point in enumerate(points)], [], [batch])
    assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), points)
