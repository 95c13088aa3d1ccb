"""Scikit-learn's two moons, noisy points of the plane: embedded, so neither files nor a network are needed.

Meta Pseudo Labels (Pham et al., CVPR 2021) and Self Meta Pseudo Labels (Ng and Wang, arXiv 2212.13420) use them to show
what unlabeled points are good for.
"""

import hashlib

import numpy as np

from data_prep.images.codecs import Values
from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source
from data_prep.system.types import Labels

CLASSES = ("upper", "lower")
POINTS = 2000
"""The number of points of each of the two sets; half of them are of each class."""
NOISE = 0.2
"""The standard deviation of the noise; the moons are half circles of radius 1."""
TRAIN_SEED, TEST_SEED = 0, 1
"""Never the user's seed, so accuracies of all seeds are measured on the same points."""


def load(options: LoadOptions) -> RawSet:
    """Load both sets, float32 [2000, 1, 2, 1]: a point is an image of one row, x and y."""
    train, test = _draw(TRAIN_SEED), _draw(TEST_SEED)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in (*train, *test))).hexdigest()
    train_part, test_part = (ArrayPart(*arrays, options.image_format) for arrays in (train, test))
    return RawSet(CLASSES, train_part, test_part, {"sklearn.datasets.make_moons": digest})


def _draw(seed: int) -> tuple[Values, Labels]:
    from sklearn.datasets import make_moons  # noqa: PLC0415

    points, labels = make_moons(POINTS, noise=NOISE, random_state=seed)
    return points.astype(np.float32).reshape(POINTS, 1, 2, 1), labels.astype(np.int64)


SOURCE = Source("moons", CLASSES, labels=6, val=0, shard_size=500, load=load, image_format="npy")
