"""Tiny data sets in the official layouts, and a way to run the command in its own process."""

import dataclasses
import hashlib
import io
import pickle
import struct
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from data_prep.dataset.manifest import load_manifest, save_manifest
from data_prep.inspection.verify import find_damage
from data_prep.prepare.convert import convert
from tests.limits import LIMIT_S

COMMAND = [sys.executable, "-c", "from data_prep.cli import main; main()"]


def run(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S, check=False, **options
    )


def times_open(path, process="self"):
    """Return how many times a process, by its number, has a file open."""
    count = 0
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            count += link.readlink() == path.resolve()
    return count


def convert_set(folder, to="recordio"):
    """Convert the set in a folder."""
    return convert(folder, load_manifest(folder), to)


def damage_of(folder, workers=None):
    """Return what ``smpl-data verify`` lists of the set in a folder."""
    return find_damage(folder, load_manifest(folder), workers)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def py2_batch(images, labels, key):
    """A batch as Python 2 and old NumPy pickled it: protocol 2, byte strings, numpy.core.multiarray."""
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731 - SHORT_BINSTRING
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"M" + struct.pack("<H", len(images)) + b"M\x00\x0c\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    payload = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    data = array + b"(K\x01" + shape + dtype + b"\x89" + payload + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(key) + numbers + text(b"data") + data + b"u."


def random_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def write_cifar10(folder, per_class=4):
    """Five training batches with ``per_class`` images a class each, and a test batch."""
    inner = folder / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    labels = list(range(10)) * per_class
    for index, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        (inner / name).write_bytes(py2_batch(random_images(len(labels), index), labels, b"labels"))
    return inner


def write_cifar100(folder, per_class=3):
    inner = folder / "cifar-100-python"
    inner.mkdir(parents=True)
    labels = list(range(100)) * per_class
    for index, name in enumerate(["train", "test"]):
        (inner / name).write_bytes(py2_batch(random_images(len(labels), index), labels, b"fine_labels"))
    return inner


def write_svhn(folder, per_class=4):
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    labels = np.array(list(range(1, 11)) * per_class, dtype=np.uint8)
    for index, name in enumerate(["train", "test", "extra"]):
        images = random_images(len(labels), index).transpose(1, 2, 3, 0)
        savemat(folder / f"{name}_32x32.mat", {"X": images, "y": labels[:, None]})
    return folder


def pack(folder, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return archive


def tar_of(path: Path, *members):
    """A tar of (TarInfo, bytes) members."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, payload in members:
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return path


def rewrite(folder, name, change):
    """Change the members of a shard and make the manifest fit: only a look inside can find it."""
    path = folder / name
    with tarfile.open(path) as tar:
        members = [(tarfile.TarInfo(info.name), tar.extractfile(info).read()) for info in tar]
    content = tar_of(path, *change(members)).read_bytes()
    manifest = load_manifest(folder)
    digest = hashlib.sha256(content).hexdigest()
    fits = [
        dataclasses.replace(shard, bytes=len(content), sha256=digest) if shard.name == name else shard
        for shard in manifest.shards
    ]
    save_manifest(dataclasses.replace(manifest, shards=tuple(fits)), folder)


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def bomb(path):
    return pickle.dumps({"data": Bomb(path), "labels": []}, protocol=2)
