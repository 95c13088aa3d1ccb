"""The command ``smpl regions``: draw the decision regions of the runs of a comparison."""

from pathlib import Path

import click

from data_prep.system.atomic_files import make_folder
from data_prep.system.cli import Command


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="The prepared points of the runs.")
@click.option("--seed", default=0, type=click.IntRange(0), help="The seed of the run that is drawn for each row.")
@click.option("--out", type=click.Path(path_type=Path), default="regions.png", help="The file of the picture.")
def main(table: Path, data_dir: Path, seed: int, out: Path) -> None:
    """Draw the decision regions of each row of TABLE, a folder of ``smpl compare`` on points of the plane."""
    import torch

    from pipeline.data.resident.split import load_split
    from pipeline.distributed.world import World
    from pipeline.figures.decision_regions import draw, picture_file
    from pipeline.figures.plane_runs import find_runs, load_models, open_points

    out = picture_file(out)
    runs, manifest = find_runs(table, seed), open_points(data_dir)
    models = load_models(runs, manifest, data_dir)
    world = World(0, 1, torch.device("cpu"))
    labeled, unlabeled = (load_split(data_dir, manifest, split, world) for split in ("labeled", "unlabeled"))
    make_folder(out.resolve().parent)
    draw(models, labeled, unlabeled, out)
    click.echo(f"{len(models)} rows: {out}")


if __name__ == "__main__":
    main()
