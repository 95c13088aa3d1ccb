"""The backends of streaming: which files samples are read from, and what decodes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.dataset.checksums import Mode, check_shards
from data_prep.dataset.manifest import Manifest
from data_prep.formats.recordio.checksums import check_recordio
from data_prep.formats.recordio.manifest import is_converted
from data_prep.formats.recordio.reader import open_recordio
from data_prep.formats.sample import SampleReader
from data_prep.formats.webdataset.reader import open_tars
from pipeline.data.streaming.dali import DaliDecoder
from pipeline.data.streaming.decoders import Decoder, ExactDecoder, WindowDecoder
from pipeline.task import view_side


@dataclass(frozen=True)
class DecoderSpec:
    """The task and the resources for which a decoder is built."""

    manifest: Manifest
    size: int | None
    """The key ``augment.size``, in pixels."""
    device: torch.device
    """The device that trains."""
    workers: int
    """Number of threads that decode."""


@dataclass(frozen=True)
class Backend:
    """How one backend checks, opens and decodes a split."""

    check: Callable[[Path, Manifest, str, Mode, slice], None]
    """Compare a share of the files that ``open`` reads with the checksums of the set. Raises DataError."""
    open: Callable[[Path, Manifest, str], SampleReader]
    """Return random access to the encoded samples of a split. Raises DataError."""
    decoder: Callable[[DecoderSpec], Decoder]
    """Return a decoder. Raises UsageError if its library is not installed."""


def torch_decoder(spec: DecoderSpec) -> Decoder:
    """Return a decoder that uses torchvision and Pillow on the CPU."""
    manifest = spec.manifest
    side = view_side(manifest, spec.size)
    if side is None:
        return ExactDecoder(manifest.shape, manifest.image_format, spec.workers)
    return WindowDecoder(manifest.shape[2], side, spec.workers)


def dali_decoder(spec: DecoderSpec) -> Decoder:
    """Return a decoder that uses DALI on the device; for points, which DALI cannot read, return that of torch.

    Raises:
        UsageError: DALI is not installed.
    """
    height, width, channels = spec.manifest.shape
    if spec.manifest.image_format == "npy":
        return torch_decoder(spec)
    side = view_side(spec.manifest, spec.size)
    shape = (channels, side or height, side or width)
    return DaliDecoder(shape, spec.device, resized=side is not None, workers=spec.workers)


def open_records_or_tars(folder: Path, manifest: Manifest, split: str) -> SampleReader:
    """Open the RecordIO files if the set was converted, else the tar files. Raises DataError."""
    return (open_recordio if is_converted(folder) else open_tars)(folder, manifest, split)


def check_tars(folder: Path, manifest: Manifest, split: str, mode: Mode, share: slice) -> None:
    """Check a share of the tar files. Raises DataError."""
    check_shards(folder, manifest, manifest.split(split)[share], mode)


def check_records_or_tars(folder: Path, manifest: Manifest, split: str, mode: Mode, share: slice) -> None:
    """Check a share of the files that :func:`open_records_or_tars` reads. Raises DataError."""
    (check_recordio if is_converted(folder) else check_tars)(folder, manifest, split, mode, share)


BACKENDS: Mapping[str, Backend] = {
    "webdataset": Backend(check_tars, open_tars, torch_decoder),
    "dali": Backend(check_records_or_tars, open_records_or_tars, dali_decoder),
}
"""The backends by ``loader.name``."""
