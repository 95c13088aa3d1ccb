"""The command ``smpl evaluate``: a trained model on a prepared set."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from data_prep.dataset.checksums import hash_file
from data_prep.dataset.manifest import MANIFEST, SPLITS, Manifest, load_manifest
from data_prep.prepare.run import default_out
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.commands.json_output import JsonFile, give_json, printed
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.data.loader_choice import RESIDENT
from pipeline.data.streaming.dali import has_dali
from pipeline.distributed.world import World, repeat_sums, this_device
from pipeline.evaluation.confusion import evaluate_classes, regroup
from pipeline.evaluation.tables import Evaluation, tables
from pipeline.models.ensemble import together
from pipeline.models.export import Export, read_export
from pipeline.precision import choose_precision
from pipeline.run_folder import CONFIG, MODEL, SUMMARY
from pipeline.task import Task, view_side
from pipeline.training.factory import open_data
from pipeline.training.preflight import find_folder

SPOILS = "note: whoever chooses by the test split spoils it; choose by --split val"


@dataclass(frozen=True)
class Model:
    """What is evaluated."""

    path: Path
    sha256: str
    export: Export
    config: Config | None
    """Of its run, where that is known."""
    trained_on: str | None
    """Fingerprint of the prepared set that it learned from, where that is known."""


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data-dir", metavar="DIR|URL", help="The prepared data set.  [default: where the run's is prepared]")
@click.option("--split", type=click.Choice(SPLITS), default="test", help="Which images.")
@click.option("--batch-size", type=click.IntRange(1), help="Images at a time.  [default: as in training's evaluation]")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="[default: the run's, or auto]")
@click.option("--json", "to", type=JsonFile(), help="Write it all as JSON; - prints it instead of the tables.")
def main(
    model: Path, data_dir: str | None, split: str, batch_size: int | None, precision: str | None, to: Path | None
) -> None:
    """Score MODEL, a finished run's folder or its model.safetensors, on a split of a prepared data set.

    Prints accuracy, loss, the worst classes and the most confused pairs; of an ensemble, each member's score too.
    """
    found = find_model(model)
    folder = find_folder(data_dir) if data_dir else usual_folder(found, model)
    if not (folder / MANIFEST).exists():
        raise UsageError(f"--data-dir {folder} holds no prepared data set; make one: smpl-data prepare")
    manifest = load_manifest(folder)
    config = fitted(found, manifest, folder)
    if not manifest.samples(split):
        there = ", ".join(name for name in SPLITS if manifest.samples(name))
        raise UsageError(f"--split {split}: {folder} has no {split} images; it has {there}")
    repeat_sums()  # as training does: its sums are repeated bit for bit
    world = World(0, 1, this_device())
    numbers = choose_precision(precision or config.precision, world.device)
    prepared = open_data(config, folder, world)
    say = (lambda _: None) if printed(to) else click.echo
    say(f"{found.path} on {world.device.type}, {numbers.name}; {prepared.choice}")
    network = together({name: found.export.build(name) for name in found.export.metadata.members}).eval()
    batches = regroup(prepared.open(split).batches(world), batch_size)
    evaluation = evaluate_classes(network.to(world.device), batches, manifest.classes, world, numbers)
    say(f"{split} split of {folder}: {evaluation.images:,} images of {len(manifest.classes)} classes")
    for line in (*tables(evaluation), *remarks(found, manifest, split, evaluation)):
        say(line)
    about = describe(found, manifest, folder, split) | {"loader": prepared.choice.name}
    about |= {"device": world.device.type, "precision": numbers.name}
    give_json(to, about | evaluation.tree())


def find_model(given: Path) -> Model:
    """Open a run folder or an exported file; a file in its run folder is known by what stands beside it.

    Raises:
        UsageError: there is no such run, it has not finished, or its configuration cannot be read.
        DataError: the exported model is damaged.
    """
    if not given.exists():
        raise UsageError(f"{given}: there is no such run folder or model file")
    path = given / MODEL if given.is_dir() else given
    run = path.parent
    if not path.exists():
        if not (run / CONFIG).exists():
            raise UsageError(f"{run} is no run folder: it holds neither {MODEL} nor {CONFIG}")
        other = f"smpl-train --test-only --out {run} scores its checkpoint"
        raise UsageError(f"{run} has not finished: there is no {MODEL} in it; let it run to its end, or {other}")
    config = resolve(load_recipe(str(run / CONFIG)), {}, str(run / CONFIG)) if (run / CONFIG).exists() else None
    return Model(path, hash_file(path)[1], read_export(path), config, _trained_on(run))


def usual_folder(model: Model, given: Path) -> Path:
    """Return where the set that the model was trained on is prepared if nobody says otherwise. Raises UsageError."""
    config = model.config
    if config is None:
        raise UsageError(f"{given}: there is no {CONFIG} beside it to tell its data set; name one with --data-dir")
    folder = default_out(config.dataset, config.data.labels, config.data.seed, config.data.extra)
    if not (folder / MANIFEST).exists():
        raise UsageError(f"{folder} holds no prepared data set; name the run's with --data-dir")
    return folder


def fitted(model: Model, manifest: Manifest, folder: Path) -> Config:
    """Return how the set is to be read for the model: its run's way, with images of the model's size.

    Raises:
        UsageError: the set has other classes, or images that cannot be brought to the model's shape.
    """
    classes, (height, width, channels) = tuple(model.export.metadata.classes), model.export.metadata.shape
    if classes != manifest.classes:
        raise UsageError(f"{folder} does not fit {model.path}: {_difference(manifest.classes, classes)}")
    config = model.config or Config()
    size = height if height == width and manifest.image_format != "npy" else None
    shape = Task.of(manifest, size).shape
    if shape != (channels, height, width):
        here, there = ("x".join(map(str, sizes)) for sizes in (shape, (channels, height, width)))
        raise UsageError(f"{folder} does not fit {model.path}: its images are {here} (C x H x W), the model's {there}")
    resized = view_side(manifest, size) is not None
    other = (config.loader.name == RESIDENT and resized) or (config.loader.name == "dali" and not has_dali())
    loader = config.loader.model_copy(update={"name": "auto"} if other else {})
    return config.model_copy(update={"loader": loader, "augment": config.augment.model_copy(update={"size": size})})


def remarks(model: Model, manifest: Manifest, split: str, evaluation: Evaluation) -> Iterator[str]:
    """Yield what one should know of these numbers."""
    if evaluation.unknown:
        yield f"note: {evaluation.unknown:,} images without a known class are not scored"
    if not math.isfinite(evaluation.score.loss):
        yield "note: its outputs are not finite: the model has diverged"
    if split == "test":
        yield SPOILS
    if model.trained_on not in {None, manifest.fingerprint}:
        yield "note: the model learned from another prepared set, whose training images may be among these"


def describe(model: Model, manifest: Manifest, folder: Path, split: str) -> dict[str, Any]:
    """Return what was evaluated on what, with fingerprints."""
    return {
        "model": {"path": str(model.path), "sha256": model.sha256, "trained_on": model.trained_on},
        "data": {"folder": str(folder), "dataset": manifest.dataset, "fingerprint": manifest.fingerprint},
        "split": split,
    }


def _difference(here: Sequence[str], there: Sequence[str]) -> str:
    if len(here) != len(there):
        return f"it has {len(here)} classes, the model {len(there)}"
    place = next(place for place, name in enumerate(here) if name != there[place])
    return f"its class {place} is {here[place]!r}, the model's {there[place]!r}"


def _trained_on(run: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((run / SUMMARY).read_text())["data"])
    return None


if __name__ == "__main__":
    main()
