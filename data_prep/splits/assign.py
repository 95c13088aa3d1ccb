"""Splits with chosen numbers per class as a pure function of the labels and a seed.

Every index gets the rank blake2b("{seed}/{purpose}/{index}"), 16 bytes; a choice of n per class is the n lowest ranks
of each class, an order is the ranks sorted. Nothing else enters: no random generator, machine, process count or NumPy
version. So a choice of fewer labels is a subset of a choice of more with the same seed and validation set.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.system.types import Labels


def rank(seed: int, purpose: str, index: int) -> bytes:
    """The sort key of one index."""
    return hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()


def shuffled(indices: Iterable[int], seed: int, purpose: str) -> list[int]:
    """The indices in the order of their ranks."""
    return sorted((int(index) for index in indices), key=lambda index: rank(seed, purpose, index))


def take(labels: Labels, pool: Labels, numbers: Sequence[int], seed: int, purpose: str) -> Labels:
    """Choose ``numbers[c]`` indices of each class c, by ``labels`` [N], out of ``pool``; returns them sorted."""
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
    """Divide a training set into sorted indices for ``val``, then ``labeled``, and the rest as ``unlabeled``.

    ``labeled`` and ``val`` are images of each class, which the caller has checked; ``val_ids`` and ``labeled_ids``, if
    given, are taken as they are. Images of label -1 are never labeled.
    """
    everything = np.arange(len(labels), dtype=np.int64)
    free = everything if labeled_ids is None else np.setdiff1d(everything, labeled_ids)
    val_ids = take(labels, free, val, seed, "val") if val_ids is None else np.sort(val_ids)
    rest = np.setdiff1d(everything, val_ids)
    labeled_ids = take(labels, rest, labeled, seed, "labeled") if labeled_ids is None else np.sort(labeled_ids)
    unlabeled_ids = rest if include_labeled else np.setdiff1d(rest, labeled_ids)
    return {"labeled": labeled_ids, "unlabeled": unlabeled_ids, "val": val_ids}


def writing_order(split: str, indices: Iterable[int], seed: int) -> list[int]:
    """The shuffled order in which a split is written; the test split never depends on the seed."""
    return shuffled(indices, 0 if split == "test" else seed, f"order-{split}")
