"""The picture of decision regions: which class trained networks predict at each point of the plane."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data_prep.system.errors import UsageError
from pipeline.data.resident.split import ResidentSplit

COLUMNS = 4
"""Panels in a row of the picture."""


def picture_file(path: Path) -> Path:
    """Return the file to draw into, a PNG if its name has no suffix. Raises UsageError if it cannot be one."""
    from matplotlib.backend_bases import FigureCanvasBase  # noqa: PLC0415

    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file, such as {path / 'regions.png'}")
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    formats = FigureCanvasBase.get_supported_filetypes()
    if (suffix := path.suffix[1:].lower()) not in formats:
        choices = ", ".join(sorted(formats))
        raise UsageError(f"--out {path}: pictures cannot be written as {suffix!r}; choose from {choices}")
    return path


def draw(models: Mapping[str, nn.Module], labeled: ResidentSplit, unlabeled: ResidentSplit, path: Path) -> None:
    """Write a panel for each model: the probability of class 1, the boundary at 0.5, and all points.

    The labeled points are large and have the colors of their classes.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows = math.ceil(len(models) / COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(3.2 * COLUMNS, 2.6 * rows), squeeze=False)
    for panel in axes.flat[len(models) :]:
        panel.set_axis_off()
    for panel, (name, model) in zip(axes.flat, models.items(), strict=False):
        _draw_panel(panel, model, labeled, unlabeled)
        panel.set_title(name, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(panel: Any, model: nn.Module, labeled: ResidentSplit, unlabeled: ResidentSplit) -> None:
    points = unlabeled.images.reshape(-1, 2).numpy()
    low, high = points.min(0) - 0.3, points.max(0) + 0.3
    x, y = np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200))
    probability = probability_of_class_1(model, x, y)
    panel.contourf(x, y, probability, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.6)
    panel.contour(x, y, probability, levels=[0.5], colors="k", linewidths=1)
    panel.plot(*points.T, ".", color="0.4", markersize=1)
    chosen = labeled.images.reshape(-1, 2).numpy()
    panel.scatter(*chosen.T, c=labeled.labels.numpy(), cmap="RdBu_r", vmin=0, vmax=1, edgecolors="k", s=50, zorder=3)
    panel.set_xticks([])
    panel.set_yticks([])


@torch.no_grad()
def probability_of_class_1(model: nn.Module, x: Any, y: Any) -> Any:
    """Return the probability of class 1 at the points ``x``, ``y``, arrays of one shape."""
    grid = torch.from_numpy(np.stack([x, y], -1)).float().view(-1, 1, 1, 2)
    return model.eval()(grid).softmax(1)[:, 1].reshape(x.shape).numpy()
