"""Decode images into uint8 batches, in threads: decoding and resizing release Python's lock."""

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
"""torchvision's number for the mode RGB."""


class Decoder(Protocol):
    """Decode samples, each once, and write windows of them into batches.

    A decoder has no state: what it writes depends on its arguments alone, so threads can share it.
    """

    shape: tuple[int, int, int]
    """Shape (C, H, W) of the images that it writes."""
    dtype: torch.dtype
    """Type of the values that it writes."""
    device: torch.device
    """The device of the batches that it writes into."""
    chunk: int
    """Number of samples to decode in one call, which is also the maximum."""
    concurrency: int
    """Number of threads that should call it at the same time."""

    def __call__(self, samples: Sequence[Sample], crops: Sequence[Crop], batches: Sequence[Tensor], /) -> None:
        """Write the window that ``crops[i]`` gives of each sample into ``batches[i]`` [B, C, H, W].

        Raises:
            DataError: an image is broken; the message has the key of its sample.
        """


class WindowDecoder:
    """Crop windows from images of any size and resize them to squares: bilinear, antialiased.

    torch resizes uint8 channels-last images five times as fast as Pillow. torchvision's decoder is a fifth faster than
    Pillow's and gives the same pixels, but it is deprecated, so it is used only if it is there.

    Args:
        channels: 3, or 1 for gray.
        side: side of the squares, in pixels.
        workers: number of threads that call the decoder.
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
            with suppress(RuntimeError, ValueError):  # Pillow can read the image, or gives the reason
                return self.fast_decoder(torch.frombuffer(bytearray(sample.image), dtype=torch.uint8), RGB, False)
        return _stored_values(sample, (0, 0, self.shape[0]), ORIGINAL)

    def _cut(self, image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        window = image[None, :, top : top + height, left : left + width]
        window = window.contiguous(memory_format=torch.channels_last)
        return F.interpolate(window, self.shape[1:], mode="bilinear", antialias=True)[0]


class ExactDecoder:
    """Write the stored values of images that all have one shape; crops are not called."""

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
    """Return the error for a sample that cannot be decoded."""
    return DataError(f"sample {sample.key:08d}: {reason}")


def _stored_values(sample: Sample, shape: Shape, image_format: str) -> Tensor:
    """Return the decoded image [C, H, W], in the type of its format. Raises DataError."""
    try:
        return torch.from_numpy(decode_image(sample.image, shape, image_format)).permute(2, 0, 1)
    except DataError as error:
        raise broken_sample(sample, str(error)) from None


def _torchvision_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """Return the operator behind ``torchvision.io.decode_image``, or None; the function itself warns of deprecation."""
    try:
        import torchvision  # noqa: F401, PLC0415  the import registers the operator

        decoder: Callable[[Tensor, int, bool], Tensor] = torch.ops.image.decode_image
    except (ImportError, AttributeError):
        return None
    return decoder
