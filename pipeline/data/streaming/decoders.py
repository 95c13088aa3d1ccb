"""Encoded images to uint8 batches, in threads: decoding and resizing run outside of Python's lock."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_prep.formats.sample import Sample
from data_prep.images.codecs import CODECS, ORIGINAL, Shape, decode_image
from data_prep.system.errors import DataError
from pipeline.data.sampling.crop_windows import Crop

RGB = 3
"""torchvision's number of that mode."""


class Decoder(Protocol):
    """Decode samples, each once, and write the windows of them into batches.

    It has no state: what it writes depends on its arguments alone, whoever calls it and how often.
    """

    shape: tuple[int, int, int]
    """(C, H, W) of what it writes."""
    dtype: torch.dtype
    device: torch.device
    """Where the batches lie that it writes into."""
    chunk: int
    """Samples that are best decoded in one call, and the most that it takes."""
    concurrency: int
    """Threads that should call it at once."""

    def __call__(self, samples: Sequence[Sample], crops: Sequence[Crop], batches: Sequence[Tensor], /) -> None:
        """Write the window that ``crops[i]`` gives of each sample into ``batches[i]`` [B, C, H, W].

        Raises:
            DataError: an image is broken; it names the key.
        """


class WindowDecoder:
    """Windows of images of any size, as squares: bilinear, antialiased.

    torch resizes uint8 channels-last images five times as fast as Pillow. Where torchvision has a decoder, that is a
    fifth quicker than Pillow's, and its pixels are the same; it is deprecated, so nothing depends on it.

    Args:
        channels: 3, or 1 for gray.
        side: of the squares, in pixels.
        workers: threads that call it.
    """

    dtype = torch.uint8
    device = torch.device("cpu")
    chunk = 8

    def __init__(self, channels: int, side: int, workers: int) -> None:
        self.shape, self.concurrency = (channels, side, side), workers
        self.fast_decoder = _torchvision_decoder() if channels == 3 else None

    def __call__(self, samples: Sequence[Sample], crops: Sequence[Crop], batches: Sequence[Tensor], /) -> None:
        images = [self._decode(sample) for sample in samples]
        sizes = torch.tensor([image.shape[-2:] for image in images])
        for crop, batch in zip(crops, batches, strict=True):
            for image, window, place in zip(images, crop(sizes).tolist(), batch, strict=True):
                place.copy_(self._cut(image, *window))

    def _decode(self, sample: Sample) -> Tensor:
        """Return uint8 [C, H, W], channels last in memory."""
        if self.fast_decoder is not None:
            with suppress(RuntimeError, ValueError):  # Pillow says what is wrong, or can read it
                return self.fast_decoder(torch.frombuffer(bytearray(sample.image), dtype=torch.uint8), RGB, False)
        return _stored_values(sample, (0, 0, self.shape[0]), ORIGINAL)

    def _cut(self, image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        window = image[None, :, top : top + height, left : left + width]
        window = window.contiguous(memory_format=torch.channels_last)
        return F.interpolate(window, self.shape[1:], mode="bilinear", antialias=True)[0]


class ExactDecoder:
    """The stored values of images that all have one shape; crops are not asked."""

    device = torch.device("cpu")
    chunk = 64

    def __init__(self, shape: Shape, image_format: str, workers: int) -> None:
        height, width, channels = self.stored = shape
        self.shape = (channels, height, width)
        self.image_format, self.concurrency = image_format, workers
        self.dtype = torch.from_numpy(np.zeros(0, CODECS[image_format].dtype)).dtype

    def __call__(self, samples: Sequence[Sample], _crops: Sequence[Crop], batches: Sequence[Tensor], /) -> None:
        for row, sample in enumerate(samples):
            image = _stored_values(sample, self.stored, self.image_format)
            for batch in batches:
                batch[row].copy_(image)


def broken_sample(sample: Sample, reason: str) -> DataError:
    return DataError(f"sample {sample.key:08d}: {reason}")


def _stored_values(sample: Sample, shape: Shape, image_format: str) -> Tensor:
    """Return [C, H, W] of the format's type. Raises DataError."""
    try:
        return torch.from_numpy(decode_image(sample.image, shape, image_format)).permute(2, 0, 1)
    except DataError as error:
        raise broken_sample(sample, str(error)) from None


def _torchvision_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """Return the operator below ``torchvision.io.decode_image``, which warns of its end; None after that."""
    try:
        import torchvision  # noqa: F401, PLC0415  registers it

        decoder: Callable[[Tensor, int, bool], Tensor] = torch.ops.image.decode_image
    except (ImportError, AttributeError):
        return None
    return decoder
