"""The choice of the loader of a run, with the reason for it."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.images.codecs import CODECS
from data_prep.system import cgroup
from data_prep.system.errors import UsageError
from pipeline.data.streaming.dali import has_dali, require_dali
from pipeline.task import view_side

MEMINFO = Path("/proc/meminfo")
RESIDENT = "resident"


@dataclass(frozen=True)
class LoaderChoice:
    """The chosen loader and the reason for the choice."""

    name: str
    """``resident``, ``webdataset`` or ``dali``."""
    reason: str

    def __str__(self) -> str:
        """Return the line for the log: ``loader: resident (cifar10 is 184 MB decoded)``."""
        return f"loader: {self.name} ({self.reason})"


def choose_loader(wanted: str, manifest: Manifest, size: int | None, device: torch.device) -> LoaderChoice:
    """Return the loader that ``wanted`` names; ``auto`` chooses the fastest one that fits.

    Free memory differs between ranks, so one rank must choose for all. Every loader gives the same samples.

    Args:
        wanted: the key ``loader.name``.
        manifest: the manifest of the prepared set.
        size: the key ``augment.size``, in pixels.
        device: the device that trains.

    Raises:
        UsageError: images of many sizes cannot be resident, or DALI is not installed.
    """
    resized = view_side(manifest, size) is not None
    if wanted == "auto":
        return _choose(manifest, device, resized=resized)
    if wanted == RESIDENT and resized:
        reason = "its images are cropped and resized again in every step"
        raise UsageError(f"loader.name: {manifest.dataset} cannot be resident, {reason}; give --loader auto")
    if wanted == "dali":
        require_dali()
    return LoaderChoice(wanted, "as loader.name says")


def decoded_bytes(manifest: Manifest) -> int:
    """Return the decoded size of all splits in bytes, for images of one shape."""
    samples = sum(manifest.samples(split) for split in SPLITS)
    return samples * math.prod(manifest.shape) * CODECS[manifest.image_format].dtype.itemsize


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process may still use on the device. Ranks on one machine share its memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    available = 1024 * int(lines["MemAvailable"].split()[0])
    return int(min(available, _left_in_container())) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _choose(manifest: Manifest, device: torch.device, *, resized: bool) -> LoaderChoice:
    needed = decoded_bytes(manifest)
    if not resized and needed <= free_memory(device) // 4:
        return LoaderChoice(RESIDENT, f"{manifest.dataset} is {_megabytes(needed)} decoded")
    size = f"{_megabytes(needed)} decoded do not fit into a quarter of the free memory"
    reason = "images are cropped and resized in every step" if resized else size
    if device.type == "cuda" and has_dali():
        return LoaderChoice("dali", f"{reason}; it decodes on the GPU")
    return LoaderChoice("webdataset", reason)


def _left_in_container() -> float:
    group = cgroup.memory()
    return group.limit - group.used if group else math.inf


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
