"""From samples to batches: the interface of all loaders, the slots of each rank, and the views of a batch."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pipeline.data.augment import View, flip_alternately
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
    alternate_flip: bool = False
    """Whether each image is mirrored in every second epoch before its views are made."""


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


class RankSlots(NamedTuple):
    """This rank's slots in a global batch, and which samples they hold."""

    slots: Tensor
    """The positions in the global batch, int64 [B]."""
    samples: Tensor
    """The positions of their samples in the split, int64 [B]."""
    epochs: Tensor
    """The epoch to which each sample belongs, int64 [B]."""


@dataclass(frozen=True)
class RankSamples:
    """The samples of this rank's slots, on the device, before augmentation."""

    places: RankSlots
    labels: Tensor
    """The classes of the samples, int64 [B], -1 if unknown."""
    images: dict[str, Tensor]
    """The images [B, C, H, W] for each purpose: ``labeled``, ``weak``, ``strong``."""

    def view(self, views: Views, seed: int, step: int, purpose: str) -> Tensor:
        """Return the view of the images for a purpose, or an empty tensor if the method does not use it."""
        view: View | None = getattr(views, purpose)
        if view is None:
            return next(iter(self.images.values()))[:0]
        images, (slots, samples, epochs) = self.images[purpose], self.places
        if views.alternate_flip:
            images = flip_alternately(images, derive_key(seed, f"{purpose} flip"), samples, epochs)
        return view(images, derive_key(seed, step, f"{purpose} view"), slots)


def make_batch(views: Views, seed: int, step: int, labeled: RankSamples, unlabeled: RankSamples | None) -> Batch:
    """Augment the labeled and the unlabeled samples and return them as a batch, on their device."""
    images = labeled.view(views, seed, step, "labeled")
    if unlabeled is None:
        nothing = labeled.images["labeled"][:0]
        return Batch(images, labeled.labels, nothing, nothing, labeled.labels[:0], labeled.places.slots[:0])
    weak = unlabeled.view(views, seed, step, "weak")
    strong = unlabeled.view(views, seed, step, "strong")
    key = derive_key(seed, step, "choice")
    return Batch(images, labeled.labels, weak, strong, unlabeled.labels, unlabeled.places.slots, key=key)


def rank_slots(order: EpochOrder, world: World, step: int, size: int) -> RankSlots:
    """Return this rank's slots in a global batch of ``size``, on the device of ``order``."""
    share = size // world.size
    first = world.rank * share
    slots = torch.arange(first, first + share, device=order.device)
    return RankSlots(slots, order.at(step * size + first, share), (step * size + slots) // order.size)
