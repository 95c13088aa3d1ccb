"""The end of a run: final scores, the exported model, and what is printed."""

import json
from pathlib import Path
from typing import Any

import click

from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.system.atomic_files import write_durably
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.evaluation.scoring import evaluate
from pipeline.methods import METHODS
from pipeline.models.export import export_model
from pipeline.run_folder import MODEL, SUMMARY
from pipeline.task import Task
from pipeline.training.factory import build_module
from pipeline.training.results_table import describe_network, results_table
from pipeline.training.trainer import Trainer


def show_networks(config: Config, data: Path) -> None:
    """Print the networks that the method needs, as they are built for the prepared data."""
    task = Task.of(load_manifest(data), config.augment.size)
    for name in METHODS.load(config.method).networks_needed:
        click.echo(describe_network(name, build_module(config, name, task), task.shape))


def tell_result(config: Config, data: Path, out: Path) -> bool:
    """Print the results of this very run if it ended before; return whether it did. Raises DataError."""
    done = _finished(config, load_manifest(data), out)
    if done:
        _print_results(done, out)
    return bool(done)


def score(trainer: Trainer, prepared: PreparedSet) -> dict[str, dict[str, dict[str, float]]]:
    """Score last and best-on-validation weights, averaged and raw; here alone is the test split read."""
    splits = {"val": trainer.data.val, "test": prepared.open("test")}
    return {
        name: {
            split_name: evaluate(network, split, trainer.world, trainer.precision)
            for split_name, split in splits.items()
            if len(split)
        }
        for name, network in trainer.weights().items()
    }


def summarize(trainer: Trainer, prepared: PreparedSet) -> dict[str, Any]:
    """Return what summary.json says: the scores, and what they are the scores of."""
    config, world, manifest = trainer.config, trainer.world, prepared.manifest
    return {
        "dataset": config.dataset,
        "method": config.method,
        "seed": config.seed,
        "labels": manifest.samples("labeled"),
        "steps": config.steps,
        "results": score(trainer, prepared),
        "best_step": trainer.best.get("step"),
        "config": config.fingerprint(),
        "data": manifest.fingerprint,
        "processes": world.size,
        "device": world.device.type,
        "precision": trainer.precision.name,
        "compile": trainer.compiler.name,
        "loader": prepared.choice.name,
        "parameters": {name: sum(p.numel() for p in net.parameters) for name, net in trainer.evaluated.items()},
    }


def finish(trainer: Trainer, manifest: Manifest, summary: dict[str, Any]) -> None:
    """Write summary.json and model.safetensors, and print the table."""
    accuracy = summary["results"]["last, averaged"]["test"]["accuracy"]
    channels, height, width = trainer.data.task.shape
    metadata = {
        "classes": json.dumps(manifest.classes),
        "shape": json.dumps((height, width, channels)),
        "model": json.dumps(_model_of(trainer)),
        "members": json.dumps(list(trainer.evaluated)),
        "method": trainer.config.method,
        "dataset": trainer.config.dataset,
        "test_accuracy": f"{accuracy:.2f}",
        "config": trainer.config.fingerprint(),
    }
    export_model(trainer.out / MODEL, trainer.models()["ema"], metadata)
    write_durably(trainer.out / SUMMARY, json.dumps(summary, indent=2).encode())
    _print_results(summary, trainer.out)


def _model_of(trainer: Trainer) -> dict[str, Any]:
    options = trainer.config.model_options_of(trainer.method.evaluated[0])
    return {"name": trainer.config.model["name"]} | options.model_dump(mode="json")


def _finished(config: Config, manifest: Manifest, out: Path) -> dict[str, Any] | None:
    """Return the summary of this very run if it ended before: the test split is not read a second time."""
    path = out / SUMMARY
    try:
        summary: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    wanted = (config.fingerprint(), manifest.fingerprint, config.steps)
    return summary if (summary.get("config"), summary.get("data"), summary.get("steps")) == wanted else None


def _print_results(summary: dict[str, Any], out: Path) -> None:
    click.echo(results_table(summary["results"]))
    click.echo(f"test accuracy {summary['results']['last, averaged']['test']['accuracy']:.2f} %  ({out})")
