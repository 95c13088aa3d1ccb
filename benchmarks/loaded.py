"""What every loader of ``smpl bench data`` is given: a prepared set, the same images as files, what to make of them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.photographs import PHOTOGRAPHS, SMALL, make_files
from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.formats.webdataset.reader import open_tars
from data_prep.prepare.run import Request, prepare
from data_prep.system.errors import UsageError
from pipeline.task import view_side

SPLIT = "unlabeled"
SHARDS = 8
LEAST = 32
"""Pixels a side: views are made as of CIFAR's images."""
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Of random resized crops: share of the area, width over height."""


@dataclass(frozen=True)
class Loaded:
    """A work: batches of one or two views, uint8 [B, 3, H, W], of randomly drawn images of a prepared split."""

    folder: Path
    manifest: Manifest
    files: Path
    """The images of the split again, ``CLASS/KEY.jpg``, byte for byte."""
    batch_size: int
    workers: int
    """Threads or processes."""
    device: torch.device
    two: bool = False
    """Whether there is a second view: another crop, or of small images a strong one."""

    @property
    def side(self) -> int | None:
        """Of the squares that images are cut and resized to; None for small images."""
        return view_side(self.manifest, None)


Batches = Generator[list[Tensor]]
Contender = Callable[[Loaded], Batches]
"""Gives batches of views on the device without an end; what works ahead ends when the iterator is closed."""


def make_set(folder: Path, images: int, workers: int, *, small: bool) -> Path:
    """Draw image files and prepare them; return the folder of the set."""
    files, new = folder / "drawn", folder / "set"
    make_files(files, images, SMALL if small else PHOTOGRAPHS, kind="png" if small else "jpg")
    shard_size = max(1, images // SHARDS)
    image_format = "png" if small else "original"
    wanted = Request("folder", new, files, image_format=image_format, shard_size=shard_size, workers=workers)
    prepare(wanted, progress=False)
    return new


def load(folder: Path, files: Path, images: int, batch_size: int | None, workers: int, device: torch.device) -> Loaded:
    """Write the first ``images`` of the split out as files, and return the work. Raises UsageError or DataError."""
    manifest = load_manifest(folder)
    varied = view_side(manifest, None) is not None
    if manifest.shape[2] != 3 or not (varied or min(manifest.shape[:2]) >= LEAST):
        raise UsageError(f"--data-dir {folder}: give a set of color images of {LEAST} pixels a side or more")
    store = open_tars(folder, manifest, SPLIT)
    for index in range(min(images, len(store))):
        sample = store.read(index)
        path = files / f"class{sample.label}" / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.image)
    return Loaded(folder, manifest, files, batch_size or (64 if varied else 256), workers, device)
