"""NVIDIA DALI as a decoder. It gets bytes and windows and makes no random choice, so it has no state.

It decodes on the GPU if there is one, else on the CPU; the tests use the CPU.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from data_prep.formats.sample import Sample
from data_prep.system.errors import DataError, UsageError
from pipeline.data.sampling.crop_windows import Crop
from pipeline.data.streaming.decoders import broken_sample

REMEDY = "pip install smpl-pipeline[dali]"


class DaliDecoder:
    """Decode each sample once with DALI: windows that are resized to squares, or whole images that all have one shape.

    A DALI pipeline serves one call at a time, so there are as many pipelines as concurrent calls.

    Args:
        shape: (C, H, W) of the images that are written.
        device: the device that decodes and holds the batches.
        resized: whether to crop and resize; if not, images have the shape already and crops are not called.
        workers: number of threads of all pipelines.

    Raises:
        UsageError: DALI is not installed.
    """

    dtype = torch.uint8

    def __init__(self, shape: tuple[int, int, int], device: torch.device, *, resized: bool, workers: int) -> None:
        require_dali()
        self.shape, self.device, self.resized = shape, device, resized
        on_gpu = device.type == "cuda"
        self.chunk = 256 if on_gpu else 32
        self.concurrency = 2 if on_gpu else workers
        self.threads = max(1, workers // self.concurrency)
        self._idle: dict[int, LifoQueue[Any]] = {}

    def __call__(self, samples: Sequence[Sample], crops: Sequence[Crop], batches: Sequence[Tensor], /) -> None:
        windows = self._windows(samples, crops) if self.resized else []
        with self._pipeline(len(windows)) as pipeline:
            decoded = self._run(pipeline, samples, windows)
            for position, batch in enumerate(batches):
                _copy(decoded[position % len(decoded)], batch)

    def _windows(self, samples: Sequence[Sample], crops: Sequence[Crop]) -> list[np.ndarray]:
        sizes = torch.tensor([image_size(sample) for sample in samples])
        return [crop(sizes).numpy().astype(np.int32) for crop in crops]

    def _run(self, pipeline: Any, samples: Sequence[Sample], windows: Sequence[np.ndarray]) -> Any:
        inputs: dict[str, Any] = {"encoded": [np.frombuffer(sample.image, np.uint8) for sample in samples]}
        for number, window in enumerate(windows):
            start, shape = (np.ascontiguousarray(half) for half in np.hsplit(window, 2))  # DALI accepts no strides
            inputs |= {f"start{number}": start, f"shape{number}": shape}
        try:
            decoded = pipeline.run(**inputs)
        except RuntimeError as error:
            raise self._find_broken(samples, str(error)) from None
        channels, height, width = self.shape
        for sample, shape in zip(samples, decoded[0].shape(), strict=True):
            if shape != (height, width, channels):
                size = f"{shape[1]}x{shape[0]}"
                raise broken_sample(sample, f"image is {size} pixels, the manifest says {width}x{height}")
        return [views.as_tensor() for views in decoded]

    def _find_broken(self, samples: Sequence[Sample], message: str) -> DataError:
        """Return the error for the first broken sample. DALI does not name it, so each sample is decoded alone."""
        for sample in samples:
            try:
                self._build(0).run(encoded=[np.frombuffer(sample.image, np.uint8)])
            except RuntimeError:
                return broken_sample(sample, "broken image")
        return DataError(f"samples {[sample.key for sample in samples]}: DALI: {' '.join(message.split())}")

    @contextmanager
    def _pipeline(self, windows: int) -> Iterator[Any]:
        """Provide an idle pipeline for this number of windows per image; one that fails is not used again."""
        idle = self._idle.setdefault(windows, LifoQueue())
        try:
            pipeline = idle.get_nowait()
        except Empty:
            pipeline = self._build(windows)
        yield pipeline
        idle.put(pipeline)

    def _build(self, windows: int) -> Any:
        from nvidia import dali  # noqa: PLC0415

        number = self.device.index or 0 if self.device.type == "cuda" else None
        pipeline = dali.Pipeline(self.chunk, num_threads=self.threads, device_id=number, prefetch_queue_depth=1)
        with pipeline:
            pipeline.set_outputs(*self._graph(windows))
        pipeline.build()
        return pipeline

    def _graph(self, windows: int) -> list[Any]:
        """Return the outputs of a pipeline: each image is decoded once, then cropped and resized for each window.

        Gray is the first channel, which is exact since all three are equal.
        """
        from nvidia.dali import fn, types  # noqa: PLC0415

        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        options = {
            "device": "mixed" if self.device.type == "cuda" else "cpu",
            "output_type": types.RGB,
            "adjust_orientation": False,
        }
        cuts = [_window(number) for number in range(windows)]
        if windows == 1:  # DALI then decodes the window alone
            views = [fn.decoders.image_slice(encoded, **cuts[0], **options)]
        else:
            image = fn.decoders.image(encoded, **options)
            views = [fn.slice(image, **cut) for cut in cuts] or [image]
        if windows:
            resizing = {"size": self.shape[1:], "interp_type": types.INTERP_LINEAR, "antialias": True}
            views = [fn.resize(view, **resizing) for view in views]
        return views if self.shape[0] == 3 else [view[:, :, :1] for view in views]


def _window(number: int) -> dict[str, Any]:
    """Return the pipeline inputs that hold one window per image."""
    from nvidia.dali import fn, types  # noqa: PLC0415

    names = ("start", "shape")
    cut = {name: fn.external_source(name=f"{name}{number}", dtype=types.INT32, ndim=1) for name in names}
    return cut | {"axes": [0, 1]}


def require_dali() -> None:
    """Raise UsageError if DALI cannot be imported."""
    if not has_dali():
        raise UsageError(f"loader.name: dali needs NVIDIA DALI, which is not installed; {REMEDY}")


def has_dali() -> bool:
    """Return whether NVIDIA DALI can be imported."""
    try:
        import nvidia.dali  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def image_size(sample: Sample) -> tuple[int, int]:
    """Return height and width in pixels, from the header alone. Raises DataError if the header is broken."""
    from PIL import Image  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(sample.image), formats=("JPEG", "PNG", "WEBP")) as picture:
            return picture.height, picture.width
    except (OSError, SyntaxError, ValueError) as error:
        raise broken_sample(sample, f"broken image: {error}") from None


def _copy(decoded: Any, batch: Tensor) -> None:
    """Copy DALI's [B, H, W, C] into a batch [B, C, H, W], and wait for the copy, since DALI reuses its memory."""
    batch.copy_(from_dlpack(decoded).permute(0, 3, 1, 2))
    if batch.is_cuda:
        torch.cuda.current_stream(batch.device).synchronize()
