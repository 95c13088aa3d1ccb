"""The loaders that ``smpl bench data`` compares: ours and those of other libraries.

Each yields batches for ever and draws at random, so that the end of an epoch does not disturb the measurement. The
other loaders decode with Pillow, torchvision (which is faster) or DALI, crop with torchvision or DALI, and get as many
processes or threads as ours.
"""

import io
import multiprocessing
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from benchmarks.workload import RATIO, SCALE, SPLIT, Batches, Contender, Workload
from pipeline.data.augment import AugmentOptions, WeakView, build_views
from pipeline.data.batches.assemble import Views
from pipeline.data.loader_choice import RESIDENT
from pipeline.data.resident.loader import ResidentLoader
from pipeline.data.streaming.loader import StreamLoader
from pipeline.data.streaming.split import StreamOptions
from pipeline.data.training_splits import open_split
from pipeline.distributed.world import World

VIEWS = AugmentOptions(cutout=0)
"""Views of small images: mirror and crop from a border of 4 pixels; strong views add two rounds of RandAugment."""


def our_loader(engine: str) -> Contender:
    """Return our loader that ``--loader`` calls ``engine``."""

    def batches(work: Workload) -> Batches:
        world = World(0, 1, work.device)
        stream = None if engine == RESIDENT else stream_options(engine, work)
        make: Any = StreamLoader if stream else ResidentLoader
        names = ["labeled", SPLIT] if work.two else [SPLIT]
        splits = [open_split(work.folder, work.manifest, name, world, stream) for name in names]
        sizes = (1, work.batch_size) if work.two else (work.batch_size, 1)
        unlabeled = splits[1] if work.two else None
        loader = make(splits[0], unlabeled, _views(work), world, batch_size=sizes[0], mu=sizes[1], seed=0)
        try:
            for batch in map(loader.batch, count()):
                yield [batch.weak, batch.strong] if work.two else [batch.labeled]
        finally:
            loader.close()

    return batches


def stream_options(engine: str, work: Workload) -> StreamOptions:
    return StreamOptions(engine, scale=SCALE[0], workers=work.workers, verify="never")


def _views(work: Workload) -> Views:
    """Return the views of small images; large images are only cropped, which the loader does itself."""
    if work.side is not None:
        as_it_is = WeakView(flip=False, pad=0)
        return Views(as_it_is, as_it_is, as_it_is)
    weak, strong = build_views(VIEWS, *work.manifest.shape[:2])
    return Views(weak, weak, strong)


def torchvision_alone(work: Workload) -> Batches:
    """Yield batches of torch's DataLoader over torchvision's ImageFolder, which decodes with Pillow."""
    from torch.utils.data import DataLoader, RandomSampler  # noqa: PLC0415
    from torchvision.datasets import ImageFolder  # noqa: PLC0415

    images = ImageFolder(str(work.files), transform=partial(_views_of, transforms(work)))
    endless = RandomSampler(images, replacement=True, num_samples=2**40)
    loader = DataLoader(images, work.batch_size, sampler=endless, **_processes(work))
    yield from _delivered(loader, work)


def webdataset_alone(decode: Callable[[bytes], Any], work: Workload) -> Batches:
    """Yield batches of the webdataset library's loader over the tars; ``decode`` decodes each image."""
    import webdataset  # noqa: PLC0415
    from torch.utils.data import default_collate  # noqa: PLC0415

    shards = [str(work.folder / shard.name) for shard in work.manifest.split(SPLIT)]
    samples = (
        webdataset.WebDataset(shards, resampled=True, shardshuffle=False)
        .shuffle(1000)
        .to_tuple("jpg;png;webp", "truth")
    )
    views = samples.map_tuple(partial(_decoded_views, decode, transforms(work)), int)
    batches = views.batched(work.batch_size, default_collate)
    loader = webdataset.WebLoader(batches, batch_size=None, **_processes(work))
    yield from _delivered(loader, work)


def _processes(work: Workload) -> dict[str, Any]:
    """Return the options of a DataLoader whose workers fork from a server, since this process has threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchvision.datasets", "torchvision.transforms.v2", "webdataset"])
    return {"num_workers": work.workers, "multiprocessing_context": context}


def _delivered(loader: Iterable[Any], work: Workload) -> Batches:
    for views, _ in loader:
        yield [view.to(work.device) for view in views]


def dali_alone(work: Workload) -> Batches:
    """Yield batches of a DALI pipeline that reads the tars by index, decodes only the crop, and resizes it."""
    from nvidia import dali  # noqa: PLC0415
    from torch.utils.dlpack import from_dlpack  # noqa: PLC0415

    number = work.device.index or 0 if work.device.type == "cuda" else None
    pipeline = dali.Pipeline(work.batch_size, num_threads=work.workers, device_id=number, prefetch_queue_depth=2)
    with pipeline:
        pipeline.set_outputs(*_dali_graph(work))
    pipeline.build()
    while True:
        views = pipeline.run()
        yield [from_dlpack(view.as_tensor()).permute(0, 3, 1, 2) for view in views]


def _dali_graph(work: Workload) -> list[Any]:
    from nvidia import dali  # noqa: PLC0415

    fn: Any = dali.fn  # DALI's type stubs reject numbers in a dict
    shards = work.manifest.split(SPLIT)
    encoded, _ = fn.readers.webdataset(
        paths=[str(work.folder / shard.name) for shard in shards],
        index_paths=[str(work.folder / shard.index_name) for shard in shards],
        ext=["jpg;png;webp", "truth"],
        random_shuffle=True,
        initial_fill=1000,
    )
    device = "mixed" if work.device.type == "cuda" else "cpu"
    cut = {"random_area": SCALE, "random_aspect_ratio": RATIO}
    sized = {"size": (work.side, work.side), "interp_type": dali.types.INTERP_LINEAR, "antialias": True}
    if work.two:
        image = fn.decoders.image(encoded, device=device)
        return [fn.random_resized_crop(image, **cut, **sized) for _ in range(2)]
    return [fn.resize(fn.decoders.image_random_crop(encoded, device=device, **cut), **sized)]


def transforms(work: Workload) -> list[Callable[[Any], Tensor]]:
    """Return torchvision's transforms from a decoded image to each view, uint8 [3, H, W]."""
    from torchvision.transforms import v2  # noqa: PLC0415

    if work.side is not None:
        crop = v2.Compose([v2.RandomResizedCrop(work.side, SCALE, RATIO, antialias=True), v2.ToImage()])
        return [crop] * (1 + work.two)
    height, width, _ = work.manifest.shape
    moved = [v2.RandomCrop((height, width), padding=VIEWS.pad, fill=VIEWS.fill), v2.RandomHorizontalFlip()]
    weak = v2.Compose([*moved, v2.ToImage()])
    strong = v2.Compose([*moved, v2.RandAugment(VIEWS.ops, fill=VIEWS.fill), v2.ToImage()])
    return [weak, strong][: 1 + work.two]


def pillow(content: bytes) -> Any:
    from PIL import Image  # noqa: PLC0415

    return Image.open(io.BytesIO(content)).convert("RGB")


def torchvision(content: bytes) -> Tensor:
    """Decode to uint8 [3, H, W] with the operator below ``torchvision.io.decode_image``, which is deprecated."""
    return torch.ops.image.decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), 3, False)


def _decoded_views(
    decode: Callable[[bytes], Any], views: list[Callable[[Any], Tensor]], content: bytes
) -> list[Tensor]:
    return _views_of(views, decode(content))


def _views_of(views: list[Callable[[Any], Tensor]], image: Any) -> list[Tensor]:
    return [view(image) for view in views]


OTHER_LOADERS: Mapping[str, Contender] = {
    "torchvision + Pillow": torchvision_alone,
    "webdataset + Pillow": partial(webdataset_alone, pillow),
    "webdataset + torchvision": partial(webdataset_alone, torchvision),
    "DALI": dali_alone,
}
REQUIRED_MODULES: Mapping[str, str] = {
    "smpl dali": "nvidia.dali",
    "DALI": "nvidia.dali",
    "webdataset + Pillow": "webdataset",
    "webdataset + torchvision": "webdataset",
}
"""The module that a contender needs in addition to this package's dependencies."""
