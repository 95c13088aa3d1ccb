"""The command ``smpl regions``: what the runs of a table made of the plane."""

from pathlib import Path
from urllib.parse import unquote

import click
import torch

from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.data.resident.split import load_split
from pipeline.distributed.world import World
from pipeline.figures.decision_regions import draw
from pipeline.models.export import load_model, read_export
from pipeline.run_folder import MODEL, RunFolder

POINT = (1, 2, 1)
"""[H, W, C] of a prepared set of points in the plane."""


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
        DataError: the exported model or the summary is damaged.
    """
    if read_export(run / MODEL).metadata.shape != POINT:
        raise UsageError(f"{run} was not trained on points of the plane; name a table of smpl compare --recipe moons")
    data = RunFolder(run).summary().data
    if data != manifest.fingerprint:
        known, here = f"data {data[:12]}", f"{data_dir} is {manifest.fingerprint[:12]}"
        raise UsageError(f"row {name!r} was trained on {known}, {here}; name its own with --data-dir")


if __name__ == "__main__":
    main()
