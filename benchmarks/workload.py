"""What every loader of ``smpl bench data`` receives: a prepared set, its images as files, and the views to make."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.synthetic_images import PHOTO_SIZES, SMALL_SIZES, write_image_files
from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.formats.webdataset.reader import open_tars
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError
from pipeline.task import view_side

SPLIT = "unlabeled"
SHARDS = 8
MIN_SIDE = 32
"""Smallest side in pixels: small images get the views of CIFAR's."""
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Ranges of random resized crops: fraction of the area, and width over height."""


@dataclass(frozen=True)
class Workload:
    """The task of a loader: batches of one or two views, uint8 [B, 3, H, W], of random images of a prepared split."""

    folder: Path
    """The prepared set."""
    manifest: Manifest
    files: Path
    """The folder with the bytes of the split's images as files ``CLASS/KEY.jpg``."""
    batch_size: int
    """Images."""
    workers: int
    """Number of threads or processes."""
    device: torch.device
    two: bool = False
    """Whether to make a second view: another crop, or for small images a strong view."""

    @property
    def side(self) -> int | None:
        """The side in pixels of the squares that images are cropped and resized to; None for small images."""
        return view_side(self.manifest, None)


Batches = Generator[list[Tensor]]
Contender = Callable[[Workload], Batches]
"""Yields batches of views on the device for ever; its workers end when the generator is closed."""


def make_prepared_set(folder: Path, images: int, workers: int, *, small: bool) -> Path:
    """Write generated image files and prepare them; return the folder of the set."""
    files, new = folder / "drawn", folder / "set"
    write_image_files(files, images, SMALL_SIZES if small else PHOTO_SIZES, kind="png" if small else "jpg")
    shard_size = max(1, images // SHARDS)
    image_format = "png" if small else "original"
    wanted = PrepareRequest("folder", new, files, image_format=image_format, shard_size=shard_size, workers=workers)
    prepare(wanted)
    return new


def load_workload(
    folder: Path, files: Path, images: int, batch_size: int | None, workers: int, device: torch.device
) -> Workload:
    """Write the first ``images`` of the split as files; return the workload. Raises UsageError or DataError."""
    manifest = load_manifest(folder)
    varied = view_side(manifest, None) is not None
    if manifest.shape[2] != 3 or not (varied or min(manifest.shape[:2]) >= MIN_SIDE):
        raise UsageError(f"--data-dir {folder}: give a set of color images of {MIN_SIDE} pixels or more per side")
    store = open_tars(folder, manifest, SPLIT)
    for index in range(min(images, len(store))):
        sample = store.read(index)
        path = files / f"class{sample.label}" / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.image)
    return Workload(folder, manifest, files, batch_size or (64 if varied else 256), workers, device)
