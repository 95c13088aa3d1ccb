"""``smpl bench augment``: strong views per second, ours beside those of other libraries on the same images.

Every contender takes a batch of uint8 images [B, 3, 32, 32] in memory and returns uint8: a random mirror image, a crop
from a border of 4 pixels, and two rounds of RandAugment at full magnitude. kornia works on floats, so it converts the
images to 0..1 and returns floats. All contenders get the same number of threads; torchvision's per-sample transforms on
Pillow images are single-threaded and get as many processes instead. The contenders are timed in turns.

RandAugment draws two ops for each image, and so do smpl, torchvision on Pillow images and DALI. torchvision on a batch
and kornia draw two ops for the whole batch, which is faster but a different augmentation.
"""

import importlib
import logging
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.record import save_record
from data_prep.system.cli import Command
from data_prep.system.workers import available_cpus
from pipeline.data.augment import AugmentOptions, build_views
from pipeline.distributed.world import this_device
from pipeline.training.compilation import choose_compiler

logger = logging.getLogger(__name__)

OPTIONS = AugmentOptions(cutout=0, random_magnitude=False)
MAGNITUDE = 30
"""The bin of torchvision and DALI for full magnitude."""
KORNIA_MAGNITUDE = 29
"""The largest of kornia's 30 bins."""
Contender = Callable[[Tensor, int], Iterator[Callable[[int], object]]]
"""Takes the images and the number of threads; yields a function that makes the views of one step."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--batch-size", default=448, type=click.IntRange(2), help="Images per batch.")
@click.option("--threads", type=click.IntRange(1), help="Threads or processes of each contender.  [default: the CPUs]")
@click.option("--repeats", default=5, type=click.IntRange(1), help="Number of turns.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this file as JSON.")
def main(batch_size: int, threads: int | None, repeats: int, out: Path | None) -> None:
    """Time the strong views of a batch: ours, torchvision's, kornia's and DALI's.

    Libraries that are not installed are left out: pip install smpl-pipeline[bench] installs kornia,
    smpl-pipeline[dali] installs DALI.
    """
    count = threads or available_cpus()
    torch.set_num_threads(count)
    images = torch.randint(0, 256, (batch_size, 3, 32, 32), dtype=torch.uint8)
    contenders = {name: contender for name, contender in CONTENDERS.items() if _installed(name)}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name, contender in contenders.items():
            with contextmanager(contender)(images, count) as batch:
                batch(0)
                rates[name].append(batch_size / _seconds(partial(batch, turn + 1)))
    slowest = statistics.median(rates[PIL])
    rows = [_row(name, statistics.median(values), slowest) for name, values in rates.items()]
    for row in rows:
        click.echo(f"{row['contender']:<44} {row['images_per_s']:>9,} images/s  x {row['speed']}")
    if out:
        save_record(out, rows)


def our_views(images: Tensor, threads: int) -> Iterator[Callable[[int], object]]:  # noqa: ARG001
    """Make views as a run does: in one compiled graph on a GPU."""
    device = this_device()
    strong = choose_compiler("auto", device, 1).view(build_views(OPTIONS, 32, 32)[1], device)
    there, samples = images.to(device), torch.arange(len(images), device=device)
    yield lambda key: strong(there, key, samples)


def torchvision_batched(images: Tensor, threads: int) -> Iterator[Callable[[int], object]]:  # noqa: ARG001
    """Apply torchvision's transforms to a tensor; they draw once for the whole batch, also for mirror and crop."""
    from torchvision.transforms import v2  # noqa: PLC0415

    there = images.to(this_device())
    crop = v2.RandomCrop(32, 4, fill=128)
    whole = v2.Compose([v2.RandomHorizontalFlip(), crop, v2.RandAugment(2, MAGNITUDE, num_magnitude_bins=31, fill=128)])
    yield lambda _: whole(there)


def kornia(images: Tensor, threads: int) -> Iterator[Callable[[int], object]]:  # noqa: ARG001
    """Apply kornia's augmentations; they mirror and crop each image by itself and draw the ops for the whole batch."""
    augmentation, auto = (importlib.import_module(f"kornia.augmentation{part}") for part in ("", ".auto"))
    there = images.to(this_device())
    crop = augmentation.RandomCrop((32, 32), padding=4, fill=128 / 255)
    whole = torch.nn.Sequential(augmentation.RandomHorizontalFlip(), crop, auto.RandAugment(2, KORNIA_MAGNITUDE))
    yield torch.no_grad()(lambda _: whole(there.float() / 255))


def pillow_one_by_one(images: Tensor, threads: int) -> Iterator[Callable[[int], object]]:
    """Apply torchvision's transforms to Pillow images, with a slice of the batch in each process."""
    slices = np.array_split(images.permute(0, 2, 3, 1).numpy(), threads)
    with multiprocessing.get_context("spawn").Pool(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield lambda _: pool.map(_transform, slices, chunksize=1)


def dali(images: Tensor, threads: int) -> Iterator[Callable[[int], object]]:
    """Run a CPU pipeline with DALI's own RandAugment."""
    warnings.simplefilter("ignore", DeprecationWarning)  # DALI warns about its own RandAugment
    from nvidia.dali import fn, pipeline_def  # noqa: PLC0415
    from nvidia.dali.auto_aug import rand_augment  # noqa: PLC0415

    stored = list(images.permute(0, 2, 3, 1).contiguous().numpy())

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=len(stored), num_threads=threads, device_id=None, enable_conditionals=True
    )
    def pipe() -> Any:
        pictures = fn.external_source(source=lambda: stored, batch=True, layout="HWC")
        pictures = fn.flip(pictures, horizontal=fn.random.coin_flip())
        padded = fn.pad(
            fn.slice(pictures, (-4, -4), (40, 40), axes=(0, 1), out_of_bounds_policy="pad", fill_values=128)
        )
        corner = {f"crop_pos_{axis}": fn.random.uniform(range=(0.0, 1.0)) for axis in "xy"}
        cropped = fn.crop(padded, crop=(32, 32), **corner)
        return rand_augment.rand_augment(cropped, n=2, m=MAGNITUDE, fill_value=128)

    built = pipe()
    built.build()
    yield lambda _: built.run()


PIL = "torchvision, Pillow, one by one"
KORNIA = "kornia, ops for the whole batch"
DALI = "DALI on the CPU"
CONTENDERS: Mapping[str, Contender] = {
    "smpl": our_views,
    PIL: pillow_one_by_one,
    "torchvision v2, ops for the whole batch": torchvision_batched,
    KORNIA: kornia,
    DALI: dali,
}
REQUIRED_MODULES: Mapping[str, str] = {KORNIA: "kornia", DALI: "nvidia.dali"}
"""The module that a contender needs in addition to this package's dependencies."""


def _transform(pictures: np.ndarray[Any, Any]) -> int:
    from PIL import Image  # noqa: PLC0415
    from torchvision import transforms  # noqa: PLC0415

    steps = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, 4, fill=128)]
    steps += [transforms.RandAugment(2, MAGNITUDE, num_magnitude_bins=31, fill=128), transforms.PILToTensor()]
    transform = transforms.Compose(steps)
    return len(torch.stack([transform(Image.fromarray(picture)) for picture in pictures]))


def _installed(name: str) -> bool:
    """Return whether the library of a contender is installed; log a warning if it is not."""
    module = REQUIRED_MODULES.get(name, "torch")
    try:
        importlib.import_module(module)
    except ImportError:
        logger.warning("%s is left out: %s is not installed", name, module)
        return False
    return True


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _row(name: str, rate: float, slowest: float) -> dict[str, Any]:
    return {"contender": name, "images_per_s": round(rate), "speed": round(rate / slowest, 1)}
