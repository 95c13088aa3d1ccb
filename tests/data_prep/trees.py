"""Small folders and archives of small images, made for tests."""

import io
import os
import tarfile
from contextlib import contextmanager

import numpy as np

from data_prep.sources import LoadOptions

SYNSETS = ("n01440764", "n02102040", "n02979186")


def picture(seed=0, kind="JPEG", size=(9, 7)):
    """Return an image file of width and height ``size``, whose pixels depend on the seed."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write(folder, names, start=0):
    """Write pictures, each with its own seed, in the order of ``names``, whatever their suffix."""
    for seed, name in enumerate(names, start):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    return folder


@contextmanager
def without_rights(folder):
    """Become another user for a while, since root may read everything."""
    root = os.geteuid() == 0
    if root:
        for path in (folder, *folder.parents):
            if not path.stat().st_mode & 0o001:
                path.chmod(0o755)
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def names_of(*classes, count=5, prefix="", suffix=".jpg"):
    return [f"{prefix}{name}/{number:03d}{suffix}" for name in classes for number in range(count)]


def names_in(part):
    """Return the names of a part's images and their labels, in order."""
    names = [name.decode("utf-8", "surrogateescape") for name in part.references.names]
    return list(zip(names, part.labels.tolist(), strict=True))


def load(source, path, **options):
    return source.load(LoadOptions(path, image_format="original", **options))


def imagenet_names(synset, count=6):
    return [f"{synset}_{number}.JPEG" for number in range(count)]


def write_imagenet(folder, count=6, val=2):
    """Write ``train/`` and ``val/`` with one folder for each class, as torchvision expects them."""
    for number, synset in enumerate(SYNSETS):
        write(folder / "train" / synset, imagenet_names(synset, count), 100 * number)
    for number, name in enumerate(val_names(val)):
        write(folder / "val" / SYNSETS[number % len(SYNSETS)], [name], 1000 + number)
    return folder


def val_names(each=2):
    return [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, each * len(SYNSETS) + 1)]


def tar_bytes(members, form=tarfile.USTAR_FORMAT):
    """Return a tar of names and bytes, or of TarInfo and bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_archives(folder, tree, form=tarfile.USTAR_FORMAT):
    """Write the official archives of a tree: a tar of one tar for each class of ``train/``, a flat one of ``val/``."""
    folder.mkdir(exist_ok=True)
    inner = [
        (
            f"{synset}.tar",
            tar_bytes([(path.name, path.read_bytes()) for path in _shuffled(tree / "train" / synset)], form),
        )
        for synset in reversed(SYNSETS)
    ]
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(inner, form))
    flat = [(path.name, path.read_bytes()) for path in (tree / "val").glob("*/*")]
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(flat, form))
    return folder


def _shuffled(folder):
    return sorted(folder.iterdir(), key=lambda path: path.name[::-1])
