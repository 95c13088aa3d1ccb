"""The picture of one step of SMPL beside a supervised one: arrows on the surface of the true loss over a plane."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.figures.descent import Descent, TrueLoss

ARROWS = (
    ("supervised step", 0, 1, "#c8102e"),
    ("SMPL, step 1 (pseudo-labels)", 0, 2, "#0b3c8c"),
    ("SMPL, step 2 (labels and feedback)", 2, 3, "#1f8fe0"),
)
"""Name of a step, the indices of the weights before and after it in ``Descent.weights``, and its color."""
CORNERS = (35, 125, 215, 305)
"""Azimuths, in degrees, of the possible views. Each looks over a corner, so that axis labels do not overlap."""
GRID = 41
"""Points along each side of the square on which the surface is drawn."""


@dataclass(frozen=True)
class Plane:
    """The plane that SMPL's two displacements span. The supervised step is not exactly in it."""

    origin: Tensor
    """The weights [P] before the steps, in fp64."""
    basis: Tensor
    """An orthonormal basis, [P, 2]; its first column is the direction of SMPL's first step."""

    @classmethod
    def of(cls, descent: Descent) -> "Plane":
        before, _, first, second = descent.weights.double()
        basis, upper = torch.linalg.qr(torch.stack([first - before, second - first], 1))
        return cls(before, basis * torch.where(upper.diagonal() < 0, -1, 1))

    def project(self, theta: Tensor) -> Tensor:
        """Return the coordinates [2] of the point of the plane that is nearest to ``theta`` [P]."""
        return self.basis.T @ (theta - self.origin)

    def weights(self, point: Tensor) -> Tensor:
        """Return the weights [P] at the coordinates ``point`` [2]."""
        return self.origin + self.basis @ point

    def outside(self, theta: Tensor) -> float:
        """Return the fraction 0..1 of the displacement from the origin to ``theta`` [P] that is normal to the plane."""
        normal = theta - self.weights(self.project(theta))
        return (normal.norm() / (theta - self.origin).norm().clamp(min=1e-30)).item()


def draw_descent(path: Path, descent: Descent, loss: TrueLoss, notes: Sequence[str]) -> None:
    """Write a picture of the three steps as arrows on the surface, from the side and from above, below ``notes``."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plane = Plane.of(descent)
    points = torch.stack([plane.project(theta) for theta in descent.weights.double()])
    grid = window(points)
    heights = torch.tensor([[loss(plane.weights(point)) for point in row] for row in grid], dtype=torch.float64)
    point_heights = [loss(plane.weights(point)) for point in points]

    figure = plt.figure(figsize=(13, 7.2), layout="constrained")
    figure.suptitle("\n".join([*notes, _projection(plane, descent)]), fontsize=11)
    side, above = figure.add_subplot(1, 2, 1, projection="3d", computed_zorder=False), figure.add_subplot(1, 2, 2)
    _draw_side(side, grid, heights, points, point_heights)
    _draw_above(above, grid, heights, points)
    figure.legend(handles=_legend(descent), loc="outside lower center", ncols=3, fontsize=10, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def window(points: Tensor) -> Tensor:
    """Return the coordinates [GRID, GRID, 2] of a square around the ``points`` [4, 2], twice their extent wide."""
    low, high = points.amin(0), points.amax(0)
    middle, half = (low + high) / 2, (high - low).max().clamp(min=1e-6)
    side = torch.linspace(-1, 1, GRID, dtype=points.dtype) * half
    return torch.stack(torch.meshgrid(middle[0] + side, middle[1] + side, indexing="xy"), 2)


def _projection(plane: Plane, descent: Descent) -> str:
    outside = 100 * plane.outside(descent.weights[1].double())
    return f"plane of SMPL's two steps; the supervised step is projected on it, {outside:.0f} % of it is normal to it"


def _legend(descent: Descent) -> list[Any]:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    return [
        Line2D([], [], color=color, linewidth=3, label=f"{name}: {descent.losses[i]:.4f} to {descent.losses[j]:.4f}")
        for name, i, j, color in ARROWS
    ]


def _draw_side(axes: Any, grid: Tensor, heights: Tensor, points: Tensor, point_heights: Sequence[float]) -> None:
    """Draw the surface in 3D, seen from its low side, so that a step that raises the loss goes up in the picture."""
    x, y = (part.numpy() for part in grid.unbind(2))
    axes.plot_surface(x, y, heights.numpy(), cmap=_grays(), edgecolor="0.45", linewidth=0.2, rstride=2, cstride=2)
    uphill = float((heights[-1].mean() - heights[0].mean()).atan2(heights[:, -1].mean() - heights[:, 0].mean()))
    axes.view_init(elev=28, azim=min(CORNERS, key=lambda corner: math.cos(math.radians(corner) - uphill)))
    axes.set_box_aspect((1, 1, 0.7))
    axes.set(xlabel="along SMPL's step 1", ylabel="across it, to step 2", title="height: true loss")
    axes.locator_params(nbins=5)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("white")
    z = torch.tensor(point_heights, dtype=torch.float64).unsqueeze(1)
    homogeneous = torch.cat([points, z, torch.ones(4, 1)], 1)
    projected = homogeneous @ torch.from_numpy(axes.get_proj()).T
    _draw_arrows(axes, (projected[:, :2] / projected[:, 3:]).tolist())


def _draw_above(axes: Any, grid: Tensor, heights: Tensor, points: Tensor) -> None:
    x, y, z = (*(part.numpy() for part in grid.unbind(2)), heights.numpy())
    axes.figure.colorbar(axes.contourf(x, y, z, levels=25, cmap=_grays()), ax=axes, shrink=0.8, label="true loss")
    axes.contour(x, y, z, levels=10, colors="0.3", linewidths=0.6)
    _draw_arrows(axes, points.tolist())
    axes.set(xlabel="along SMPL's step 1", ylabel="across it, to step 2", aspect="equal")


def _draw_arrows(axes: Any, points: Sequence[Sequence[float]]) -> None:
    """Draw the arrows between the four ``points``, given in the coordinates of the two-dimensional picture."""
    style = {"arrowstyle": "-|>", "linewidth": 3, "mutation_scale": 22, "shrinkA": 0, "shrinkB": 0}
    for _, before, after, color in ARROWS:
        axes.annotate("", points[after], points[before], arrowprops={"color": color, **style}, zorder=5)


def _grays() -> Any:
    """Return a color map of light to medium grays, on which red and blue arrows are easy to see."""
    from matplotlib import colors  # noqa: PLC0415

    return colors.LinearSegmentedColormap.from_list("grays", ["#f7f7f7", "#909090"])
