"""A scatter plot of a prepared set whose samples are points of the plane."""

import io
from pathlib import Path

import numpy as np

from data_prep.dataset.manifest import Manifest
from data_prep.images.codecs import Values
from data_prep.inspection.samples import first_samples

POINTS = 400
"""The number of points of each class in each split."""


def draw_points(folder: Path, manifest: Manifest) -> bytes:
    """Return a PNG with each class in a color of its own, and its labeled points large and framed.

    Raises DataError on a damaged shard.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    axes.set_aspect("equal")
    splits = first_samples(folder, manifest, {"labeled": POINTS, "unlabeled": POINTS}, keep=np.asarray)
    for number, name in enumerate(manifest.classes):
        x, y = _coordinates(splits["unlabeled"][number])
        axes.scatter(x, y, s=6, color=f"C{number}", alpha=0.4)
        x, y = _coordinates(splits["labeled"][number])
        axes.scatter(x, y, s=80, color=f"C{number}", edgecolors="black", label=name, zorder=2)
    axes.legend(title="labeled")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()


def _coordinates(points: list[Values]) -> Values:
    """Return [2, N] of N points."""
    return np.array(points, np.float32).reshape(-1, 2).T
