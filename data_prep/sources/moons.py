"""Scikit-learn's two moons, noisy points of the plane: embedded, so it needs no file and no network.

Tarvainen and Valpola (2017) and many after them show with it what unlabeled points are good for.
"""

import hashlib

import numpy as np

from data_prep.images.codecs import Values
from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source
from data_prep.system.types import Labels

CLASSES = ("upper", "lower")
POINTS = 2000  # in each of the two sets, half of them of each class
NOISE = 0.2  # standard deviation; the moons are half circles of radius 1
TRAIN_STATE, TEST_STATE = 0, 1  # never the user's seed: accuracies of all seeds are measured on the same points


def load(options: LoadOptions) -> RawSet:
    """Load both sets, float32 [2000, 1, 2, 1]: a point is an image of one row, x and y."""
    train, test = _draw(TRAIN_STATE), _draw(TEST_STATE)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in (*train, *test))).hexdigest()
    known, new = (ArrayPart(*arrays, options.image_format) for arrays in (train, test))
    return RawSet(CLASSES, known, new, {"sklearn.datasets.make_moons": digest})


def _draw(state: int) -> tuple[Values, Labels]:
    from sklearn.datasets import make_moons  # noqa: PLC0415

    points, labels = make_moons(POINTS, noise=NOISE, random_state=state)
    return points.astype(np.float32).reshape(POINTS, 1, 2, 1), labels.astype(np.int64)


SOURCE = Source("moons", CLASSES, labels=6, val=0, shard_size=500, load=load, image_format="npy")
