"""Assign images to splits: a pure function of the labels, the wanted number of each class, and a seed.

Every index has the rank blake2b("{seed}/{purpose}/{index}"), 16 bytes. The n chosen images of a class are those with
the n lowest ranks, and a shuffled order is the order of the ranks. No random generator, machine, number of processes or
version of NumPy changes the result. A choice of fewer labels is therefore a subset of a choice of more labels with the
same seed and validation set.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.system.types import Labels


def rank(seed: int, purpose: str, index: int) -> bytes:
    """Return the sort key of one index."""
    return hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()


def shuffled(indices: Iterable[int], seed: int, purpose: str) -> list[int]:
    """Return the indices in the order of their ranks."""
    return sorted((int(index) for index in indices), key=lambda index: rank(seed, purpose, index))


def take(labels: Labels, pool: Labels, numbers: Sequence[int], seed: int, purpose: str) -> Labels:
    """Choose images of each class, and return their indices sorted, int64.

    Args:
        labels: the class of each image, int64 [N].
        pool: the indices to choose from.
        numbers: the number of images to choose of each class.
        seed: the seed of the ranks.
        purpose: what the images are chosen for; another purpose gives other ranks.
    """
    chosen: list[int] = []
    for name, number in enumerate(numbers):
        chosen += shuffled(pool[labels[pool] == name], seed, purpose)[:number]
    return np.array(sorted(chosen), dtype=np.int64)


def divide(
    labels: Labels,
    *,
    labeled: Sequence[int],
    val: Sequence[int],
    seed: int,
    include_labeled: bool,
    val_ids: Labels | None = None,
    labeled_ids: Labels | None = None,
) -> dict[str, Labels]:
    """Divide a training set into sorted indices of the splits ``val``, ``labeled`` and ``unlabeled``.

    Images are chosen for ``val`` first, then for ``labeled``; the rest is ``unlabeled``. Images of label -1 are never
    labeled.

    Args:
        labels: the class of each image, int64 [N]; -1 where unknown.
        labeled: the number of labeled images of each class, which the caller has checked.
        val: the number of validation images of each class, which the caller has checked.
        seed: the seed of the choice.
        include_labeled: whether the labeled images are in ``unlabeled`` too.
        val_ids: the validation images, if the source sets them apart.
        labeled_ids: the labeled images, if a list gives them.
    """
    everything = np.arange(len(labels), dtype=np.int64)
    free = everything if labeled_ids is None else np.setdiff1d(everything, labeled_ids)
    val_ids = take(labels, free, val, seed, "val") if val_ids is None else np.sort(val_ids)
    rest = np.setdiff1d(everything, val_ids)
    labeled_ids = take(labels, rest, labeled, seed, "labeled") if labeled_ids is None else np.sort(labeled_ids)
    unlabeled_ids = rest if include_labeled else np.setdiff1d(rest, labeled_ids)
    return {"labeled": labeled_ids, "unlabeled": unlabeled_ids, "val": val_ids}


def writing_order(split: str, indices: Iterable[int], seed: int) -> list[int]:
    """Return the shuffled order in which a split is written; that of the test split does not depend on the seed."""
    return shuffled(indices, 0 if split == "test" else seed, f"order-{split}")
