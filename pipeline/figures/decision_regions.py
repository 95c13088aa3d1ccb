"""The classes that trained networks give to each point of the plane, drawn beside each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.data.resident.split import ResidentSplit

COLUMNS = 4


def draw(models: Mapping[str, nn.Module], labeled: ResidentSplit, unlabeled: ResidentSplit, path: Path) -> None:
    """Write one panel a model: probability of the second class, its boundary, all points, the labeled ones large."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows = -(-len(models) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(3.2 * COLUMNS, 2.6 * rows), squeeze=False)
    for panel in axes.flat[len(models) :]:
        panel.set_axis_off()
    for panel, (name, model) in zip(axes.flat, models.items(), strict=False):
        _panel(panel, model, labeled, unlabeled)
        panel.set_title(name, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(panel: Any, model: nn.Module, labeled: ResidentSplit, unlabeled: ResidentSplit) -> None:
    points = unlabeled.images.reshape(-1, 2).numpy()
    low, high = points.min(0) - 0.3, points.max(0) + 0.3
    x, y = np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200))
    panel.contourf(x, y, second_class(model, x, y), levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.6)
    panel.contour(x, y, second_class(model, x, y), levels=[0.5], colors="k", linewidths=1)
    panel.plot(*points.T, ".", color="0.4", markersize=1)
    given = labeled.images.reshape(-1, 2).numpy()
    panel.scatter(*given.T, c=labeled.labels.numpy(), cmap="RdBu_r", vmin=0, vmax=1, edgecolors="k", s=50, zorder=3)
    panel.set_xticks([])
    panel.set_yticks([])


@torch.no_grad()
def second_class(model: nn.Module, x: Any, y: Any) -> Any:
    """Return the probability of class 1 at the points ``x``, ``y``, arrays of one shape."""
    grid = torch.from_numpy(np.stack([x, y], -1)).float().view(-1, 1, 1, 2)
    return model.eval()(grid).softmax(1)[:, 1].reshape(x.shape).numpy()
