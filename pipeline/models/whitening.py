"""Filters that whiten small patches of images: their outputs are uncorrelated and have variance 1."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 5e-4
"""What is added to each variance, so that a direction in which patches do not vary is not blown up."""


def whitening_filters(batches: Iterable[Tensor], side: int) -> Tensor:
    """Return the filters that whiten patches of ``side`` x ``side`` pixels, float64 [C * side^2, C, side, side].

    Filter i is v_i / sqrt(lambda_i + EPSILON), where v_i and lambda_i are the eigenvectors and eigenvalues of the
    patches' covariance, from the largest eigenvalue to the smallest. The largest weight of a filter is positive, since
    an eigenvector has no sign of its own. The result is on the CPU, where it is the same on every device.

    Args:
        batches: images [B, C, H, W], at least one.
        side: side of a patch, in pixels.
    """
    covariance = patch_covariance(batches, side).cpu()
    variances, vectors = torch.linalg.eigh(covariance)
    filters = (vectors / (variances + EPSILON).sqrt()).T.flip(0)
    largest = filters.gather(1, filters.abs().argmax(1, keepdim=True))
    return (filters * largest.sign()).view(len(filters), -1, side, side)


def patch_covariance(batches: Iterable[Tensor], side: int) -> Tensor:
    """Return the covariance float64 [C * side^2, C * side^2] of all patches, which overlap."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for images in batches:
        patches = F.unfold(images.double(), side).transpose(1, 2).flatten(0, 1)
        count, total, products = count + len(patches), patches.sum(0) + total, patches.T @ patches + products
    mean = total / count
    return products / count - torch.outer(mean, mean)
