"""Scikit-learn's 1,797 scans of handwritten digits, 8x8 gray: embedded, so neither files nor a network are needed.

The scans are the test set of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
"""

import hashlib

import numpy as np

from data_prep.sources.base import ArrayPart, LoadOptions, RawSet, Source
from data_prep.splits.assign import take

CLASSES = tuple("0123456789")
TEST_PER_CLASS = 40
TEST_SEED = 0
"""Never the user's seed, so accuracies of all seeds are measured on the same 400 scans."""


def load(options: LoadOptions) -> RawSet:
    """Load the scans, scale gray 0..16 to 0..255, and take the test scans out of the training scans."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    scans = load_digits()
    images = np.round(scans.images * 255 / 16).astype(np.uint8)[..., None]
    labels = scans.target.astype(np.int64)
    everything = np.arange(len(labels), dtype=np.int64)
    test = take(labels, everything, [TEST_PER_CLASS] * 10, TEST_SEED, "digits-test")
    train = np.setdiff1d(everything, test)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    train_part, test_part = (
        ArrayPart(images[chosen], labels[chosen], options.image_format) for chosen in (train, test)
    )
    return RawSet(CLASSES, train_part, test_part, {"sklearn.datasets.load_digits": digest})


SOURCE = Source("digits", CLASSES, labels=20, val=100, shard_size=256, load=load)
