"""The command ``smpl evaluate``: score a trained model on a prepared set."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_prep.dataset.manifest import SPLITS
from data_prep.system.cli import Command
from pipeline.commands.json_output import JsonFile, prints_json, write_json

if TYPE_CHECKING:
    from pipeline.models.view_average import TestViews


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data-dir", metavar="DIR|URL", help="The prepared data set.  [default: the one of the run]")
@click.option("--split", type=click.Choice(SPLITS), default="test", help="The images to score.")
@click.option("--batch-size", type=click.IntRange(1), help="Images in a batch.  [default: as during training]")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="[default: the run's, or auto]")
@click.option("--test-views", type=click.Choice(["plain", "mirror", "mirror-shift"]), help="[default: the run's]")
@click.option("--json", "target", type=JsonFile(), help="Write the result as JSON; - prints it in place of the tables.")
def main(
    model: Path,
    data_dir: str | None,
    split: str,
    batch_size: int | None,
    precision: str | None,
    test_views: "TestViews | None",
    target: Path | None,
) -> None:
    """Score MODEL, a finished run's folder or its model.safetensors, on a split of a prepared data set.

    Prints accuracy, loss, the worst classes and the most confused pairs; for an ensemble also the score of each member.
    With --test-views mirror or mirror-shift the logits are means over mirrored and shifted copies of each image.
    """
    from pipeline.config.data_set import find_folder
    from pipeline.distributed.world import World, make_deterministic, this_device
    from pipeline.evaluation.report import evaluate_model, open_manifest
    from pipeline.evaluation.trained_model import find_model
    from pipeline.precision import choose_precision
    from pipeline.training.factory import open_data

    make_deterministic()  # as in training, so that the scores are the same to the last bit
    trained = find_model(model)
    folder = find_folder(data_dir) if data_dir else trained.default_folder()
    config = trained.config_for(open_manifest(folder, split), folder)
    world = World(0, 1, this_device())
    number_format = choose_precision(precision or config.precision, world.device)
    views = test_views or trained.export.metadata.test_views
    report = evaluate_model(trained, open_data(config, folder, world), split, batch_size, number_format, views)
    if not prints_json(target):
        click.echo("\n".join(report.lines()))
    write_json(target, report.tree())


if __name__ == "__main__":
    main()
