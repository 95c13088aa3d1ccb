"""The command ``smpl regions``: what the runs of a table made of the plane."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import numpy as np
import torch
from torch import nn

from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.data.resident.split import ResidentSplit, load_split
from pipeline.distributed.world import World
from pipeline.models.load import load_model, read_export
from pipeline.run_folder import MODEL, SUMMARY

POINT = (1, 2, 1)
"""[H, W, C] of a prepared set of points in the plane."""
COLUMNS = 4


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="Prepared points that the runs saw.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Which run of each row.")
@click.option("--out", type=click.Path(path_type=Path), default="regions.png", help="The picture's file.")
def main(table: Path, data_dir: Path, seed: int, out: Path) -> None:
    """Draw the decision regions of each row of TABLE, a folder of ``smpl compare`` on points of the plane."""
    out = picture(out)
    runs = {unquote(path.parent.parent.name): path.parent for path in sorted(table.glob(f"*/seed{seed}/{MODEL}"))}
    if not runs:
        raise UsageError(f"{table} holds no finished run of seed {seed}; make one: smpl compare --recipe moons")
    manifest = load_manifest(data_dir)
    if manifest.shape != POINT:
        raise UsageError(f"{data_dir} holds {manifest.dataset}, not points of the plane; name a set of moons")
    for name, run in runs.items():
        check_seen(name, run, data_dir, manifest)
    world = World(0, 1, torch.device("cpu"))
    splits = [load_split(data_dir, manifest, split, world) for split in ("labeled", "unlabeled")]
    make_folder(out.resolve().parent)
    draw({name: load_model(run / MODEL) for name, run in runs.items()}, splits[0], splits[1], out)
    click.echo(f"{len(runs)} rows: {out}")


def picture(out: Path) -> Path:
    """Return the file to draw into, a PNG if its name does not say. Raises UsageError."""
    from matplotlib.backend_bases import FigureCanvasBase  # noqa: PLC0415

    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file, such as {out / 'regions.png'}")
    out = out if out.suffix else out.with_name(f"{out.name}.png")
    kinds = FigureCanvasBase.get_supported_filetypes()
    if (kind := out.suffix[1:].lower()) not in kinds:
        raise UsageError(f"--out {out}: no picture is written as {kind!r}; choose from {', '.join(sorted(kinds))}")
    return out


def check_seen(name: str, run: Path, data_dir: Path, manifest: Manifest) -> None:
    """Refuse a run that was trained on something else than these points.

    Raises:
        UsageError: as said, or the run has not ended.
        DataError: the exported model is damaged.
    """
    if read_export(run / MODEL).metadata.shape != POINT:
        raise UsageError(f"{run} was not trained on points of the plane; name a table of smpl compare --recipe moons")
    try:
        data = str(json.loads((run / SUMMARY).read_text())["data"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{run} has not finished: no readable {SUMMARY}; let smpl compare run to its end") from None
    if data != manifest.fingerprint:
        known, here = f"data {data[:12]}", f"{data_dir} is {manifest.fingerprint[:12]}"
        raise UsageError(f"row {name!r} was trained on {known}, {here}; name its own with --data-dir")


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


if __name__ == "__main__":
    main()
