"""What happens at the end of a run: final scores, ``summary.json``, the exported model, and the printed table."""

import json
import logging
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.system.errors import DataError
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.evaluation.scoring import evaluate
from pipeline.methods import METHODS
from pipeline.models.export import export_model
from pipeline.run_folder import MissingFileError, RunFolder, Summary
from pipeline.task import Task
from pipeline.training.factory import build_module
from pipeline.training.results_table import describe_network, results_table
from pipeline.training.trainer import Trainer

logger = logging.getLogger(__name__)


def print_networks(config: Config, data: Path) -> None:
    """Print the networks that the method needs, built for the prepared set in the folder ``data``."""
    task = Task.of(load_manifest(data), config.augment.size)
    for name in METHODS.load(config.method).networks_needed:
        click.echo(describe_network(name, build_module(config, name, task), task.shape))


def is_finished(config: Config, manifest: Manifest, run: RunFolder) -> bool:
    """Return whether a run has finished with this configuration on this set.

    A run with a damaged summary has not: its end writes the summary again.
    """
    return _summary_of_finished(config, manifest, run) is not None


def print_if_finished(config: Config, manifest: Manifest, run: RunFolder) -> bool:
    """Print the results of a run if it :func:`is_finished`, so that the test split is not read again; return that."""
    summary = _summary_of_finished(config, manifest, run)
    if summary is not None:
        print_results(summary, run)
    return summary is not None


def _summary_of_finished(config: Config, manifest: Manifest, run: RunFolder) -> Summary | None:
    try:
        summary = run.summary()
    except MissingFileError:
        return None
    except DataError as damage:
        logger.warning("%s", damage)
        return None
    finished = (summary.config, summary.data, summary.steps)
    return summary if finished == (config.fingerprint(), manifest.fingerprint, config.steps) else None


def score(trainer: Trainer, prepared: PreparedSet) -> dict[str, dict[str, dict[str, float]]]:
    """Score the last weights, and those that were best on validation, averaged and raw. All ranks call this together.

    Nothing else reads the test split during training.

    Returns:
        By weights and split: ``accuracy`` in percent and ``loss``.
    """
    splits = {"val": trainer.data.val, "test": prepared.open("test")}
    return {
        name: {
            split_name: evaluate(network, split, trainer.world, trainer.precision, trainer.config.test_views)
            for split_name, split in splits.items()
            if len(split)
        }
        for name, network in trainer.weights().items()
    }


def summarize(trainer: Trainer, prepared: PreparedSet, *, seconds: float, began: float) -> Summary:
    """Score the run and return what ``summary.json`` holds. All ranks call this together.

    Args:
        trainer: the trainer, at the last step.
        prepared: the set with the test split.
        seconds: training time of this process.
        began: when this process started, by ``time.perf_counter``.
    """
    config, world, manifest = trainer.config, trainer.world, prepared.manifest
    return Summary(
        dataset=config.dataset,
        method=config.method,
        seed=config.seed,
        labels=manifest.samples("labeled"),
        steps=config.steps,
        test_views=config.test_views,
        results=score(trainer, prepared),
        best_step=trainer.best.get("step"),
        config=config.fingerprint(),
        data=manifest.fingerprint,
        processes=world.size,
        device=world.device.type,
        precision=trainer.precision.name,
        compile=trainer.compiler.name,
        loader=prepared.choice.name,
        parameters={name: sum(p.numel() for p in net.parameters) for name, net in trainer.evaluated.items()},
        seconds_of_last_session=round(seconds, 1),
        minutes_of_last_session=round((time.perf_counter() - began) / 60, 3),
    )


def save_results(trainer: Trainer, manifest: Manifest, summary: Summary) -> None:
    """Write ``model.safetensors``, then ``summary.json``, which marks the run as finished. Raises DataError."""
    metadata = {
        "classes": json.dumps(manifest.classes),
        "model": json.dumps(_model_of(trainer)),
        "method": trainer.config.method,
        "dataset": trainer.config.dataset,
        "test_accuracy": f"{summary.test_accuracy:.2f}",
        "test_views": summary.test_views,
        "config": trainer.config.fingerprint(),
    }
    members = {name: average.network for name, average in trainer.averages.items()}
    export_model(trainer.run.model_file, members, trainer.data.task, metadata)
    trainer.run.save_summary(summary)


def _model_of(trainer: Trainer) -> dict[str, Any]:
    options = trainer.config.model_options_of(trainer.method.evaluated[0])
    return {"name": trainer.config.model["name"]} | options.model_dump(mode="json")


def print_results(summary: Summary, run: RunFolder) -> None:
    """Print the table of accuracies and the test accuracy of the run; log where its model is and what can come next."""
    click.echo(results_table(summary.results, summary.test_views))
    click.echo(f"test accuracy {summary.test_accuracy:.2f} %  ({run})")
    logger.info("the model: %s; next, for example:", run.model_file)
    for command in _next_commands(summary, run):
        logger.info("  %s", shlex.join(map(str, command)))


def _next_commands(summary: Summary, run: RunFolder) -> Iterator[list[object]]:
    """Yield what to do with a finished run: look at its errors, fine-tune it, train it with another seed."""
    yield ["smpl", "evaluate", run]
    yield ["smpl-train", "--finetune", run]
    seed, folder = summary.seed + 1, run.data_folder()
    data = ["--data-dir", folder] if folder else []
    out = run.path.with_name(f"{run.path.absolute().name.removesuffix(f'-seed{summary.seed}')}-seed{seed}")
    yield ["smpl-train", "--recipe", run.config_file, *data, "--seed", seed, "--out", out]
