"""The interface of every augmentation: a pure function from stored images to a view of them."""

from itertools import chain
from typing import Protocol

from torch import Tensor

from pipeline.data.sampling.stateless_rng import derive_key


class View(Protocol):
    """Map a batch to a view of it, on the device of the batch.

    Row ``i`` of the result depends on ``key``, ``samples[i]`` and ``images[i]`` alone: not on its neighbors, nor
    on the size of the batch. The result is new, contiguous memory or ``images`` itself; ``images`` is never
    written to.

    Args:
        images: uint8 [B, C, H, W], C of 1 or 3, any memory format.
        key: from ``derive_key(seed, step, purpose)``.
        samples: int64 [B], the slots of the rows. A slot is a position in the global batch.
    """

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor: ...


class Chain:
    """Views applied one after another, each with random numbers of its own.

    The view at position ``i`` gets ``key`` mixed with ``i``, so the same view twice in a chain has two sets of random
    numbers, and a view has other random numbers inside a chain than alone. Chains inside a chain are flattened.
    """

    def __init__(self, *views: View) -> None:
        flattened = (view.views if isinstance(view, Chain) else (view,) for view in views)
        self.views: tuple[View, ...] = tuple(chain.from_iterable(flattened))
        self.salts = tuple(derive_key(0, "chain", position) for position in range(len(self.views)))

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        for view, salt in zip(self.views, self.salts, strict=True):
            images = view(images, key ^ salt, samples)
        return images
