"""First weights that a network computes from training images, such as filters that whiten them."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pipeline.data.training_splits import TrainingData

IMAGES = 5000
"""The most images that a network gets."""
BATCH_SIZE = 100
"""Number of images in a batch."""


@runtime_checkable
class InitializedFromImages(Protocol):
    """A model that computes some of its first weights from training images."""

    def initialize_from(self, batches: Iterable[Tensor]) -> None:
        """Set these weights from normalized images, float [B, C, H, W], which can be iterated over once.

        The weights must be a function of the images alone, so that all ranks compute the same.
        """


@torch.no_grad()
def initialize_from_images(networks: Iterable[nn.Sequential], data: TrainingData) -> None:
    """Let each network whose model is :class:`InitializedFromImages` compute its first weights.

    The images are up to 5,000 of the unlabeled split, evenly spaced, without augmentation. A method that uses no
    unlabeled image computes them from the labeled ones. Every rank reads the same images.

    Args:
        networks: pairs of a normalization and a model, on their device.
        data: the training data.

    Raises:
        DataError: an image is broken.
    """
    split = data.labeled if data.unlabeled is None else data.unlabeled
    count = min(IMAGES, len(split))
    samples = torch.arange(count) * len(split) // count
    for normalize, model in networks:
        if isinstance(model, InitializedFromImages):
            model.initialize_from(normalize(images) for images, _ in split.read(samples.split(BATCH_SIZE)))
