"""From samples to batches: the interface of all loaders, the slots of each rank, and the views of a batch."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.data.augment import View
from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.epoch_order import EpochOrder
from pipeline.data.sampling.stateless_rng import derive_key
from pipeline.distributed.world import World


@dataclass(frozen=True)
class Views:
    """The views (augmentations) of a run; None for a view that its method does not use."""

    labeled: View
    weak: View | None
    strong: View | None


class Loader(Protocol):
    """This rank's share of each global batch, as a pure function of the step.

    The positions in the global batch of a step are called slots, and are numbered from 0. Which sample a slot holds,
    how it is cropped and how it is augmented depend on (seed, step, slot) alone. Rank r has the r-th contiguous range
    of slots.
    """

    def batch(self, step: int) -> Batch:
        """Return this rank's slice of the global batch of ``step``. Raises DataError if an image is broken."""

    def sample_ids(self, step: int) -> dict[str, list[int]]:
        """Return the ids of this rank's samples in the batch of ``step``, for an error line about a bad batch."""

    def close(self) -> None:
        """Stop reading ahead. The next call of :meth:`batch` starts reading ahead again."""


@dataclass(frozen=True)
class RankSamples:
    """The samples of this rank's slots, on the device, before augmentation."""

    slots: Tensor
    """The positions of the samples in the global batch, int64 [B]."""
    labels: Tensor
    """The classes of the samples, int64 [B], -1 if unknown."""
    images: dict[str, Tensor]
    """The images [B, C, H, W] for each purpose: ``labeled``, ``weak``, ``strong``."""

    def view(self, view: View | None, seed: int, step: int, purpose: str) -> Tensor:
        """Return the view of the images for a purpose, or an empty tensor if ``view`` is None."""
        if view is None:
            return next(iter(self.images.values()))[:0]
        return view(self.images[purpose], derive_key(seed, step, f"{purpose} view"), self.slots)


def make_batch(views: Views, seed: int, step: int, labeled: RankSamples, unlabeled: RankSamples | None) -> Batch:
    """Augment the labeled and the unlabeled samples and return them as a batch, on their device."""
    images = labeled.view(views.labeled, seed, step, "labeled")
    if unlabeled is None:
        nothing = labeled.images["labeled"][:0]
        return Batch(images, labeled.labels, nothing, nothing, labeled.labels[:0], labeled.slots[:0])
    weak = unlabeled.view(views.weak, seed, step, "weak")
    strong = unlabeled.view(views.strong, seed, step, "strong")
    key = derive_key(seed, step, "choice")
    return Batch(images, labeled.labels, weak, strong, unlabeled.labels, unlabeled.slots, key=key)


def rank_slots(order: EpochOrder, world: World, step: int, size: int) -> tuple[Tensor, Tensor]:
    """Return this rank's slots in a global batch of ``size``, and the indices of their samples; both int64 [B].

    The two tensors are on the device of ``order``.
    """
    share = size // world.size
    first = world.rank * share
    slots = torch.arange(first, first + share, device=order.device)
    return slots, order.at(step * size + first, share)
