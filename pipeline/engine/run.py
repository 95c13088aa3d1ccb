"""A run on this rank, from its data to its results."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from data_prep.dataset.manifest import Manifest, load_manifest
from data_prep.system.atomic_files import write_durably
from data_prep.system.cli import STOPPED
from data_prep.system.errors import UsageError, UserError
from pipeline.budget import BUDGET, Budget
from pipeline.config.recipes import save_recipe
from pipeline.config.resolve import flatten
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.launcher import INTERRUPTED, LOST, launched, note_outcome
from pipeline.distributed.world import World, abandon_world, join_world, leave_world, lost_contact
from pipeline.engine.build import build_module, open_data
from pipeline.engine.compiler import compile_failure
from pipeline.engine.guard import NonFiniteError
from pipeline.engine.rehearsal import rehearse, remove_rehearsal
from pipeline.engine.start import start_networks
from pipeline.engine.trainer import StoppedError, Trainer
from pipeline.evaluation.scoring import evaluate
from pipeline.methods import METHODS
from pipeline.models.export import export_model
from pipeline.report.summary import describe_network, results_table
from pipeline.run_folder import MODEL, SUMMARY
from pipeline.task import Task

Job = Callable[[Config, Path, Path, World], None]
"""What a rank does: with a configuration, prepared data and a run folder, in a world."""


def run_rank(config: Config, data: Path, out: Path, job: Job | None = None) -> int:
    """Do a job, by default :func:`train`, with the run folder ``out``; return this rank's exit code.

    Raises:
        UserError: the prepared data set or every checkpoint is damaged, or the folder cannot be written to.
    """
    try:
        return _run(job or partial(train, began=time.perf_counter()), config, data, out, join_world())
    except RuntimeError as error:
        if problem := compile_failure(error):
            return _end(f"error: {problem}", UsageError.exit_code)
        if not lost_contact(error):
            raise
        reason = str(error).partition("\n")[0].partition(". ")[0]
        click.echo(f"rank {os.environ.get('RANK')}: another process is gone: {reason}", err=True)
        abandon_world(LOST if launched() else 1)
    finally:
        leave_world()


def _run(job: Job, config: Config, data: Path, out: Path, world: World) -> int:
    """Do a job in a world; return this rank's exit code."""
    try:
        check_agreement(config, data, world)
        job(config, data, out, world)
    except UserError as error:
        if world.main:
            raise
        if not error.shared:
            click.echo(f"error: rank {world.rank}: {error}", err=True)
        elif _speaks():
            click.echo(f"error: {error}", err=True)
        return error.exit_code
    except StoppedError:
        return _end("stopped and saved; the same command resumes", STOPPED)
    except NonFiniteError as error:
        return _end(f"error: {error}; {out} keeps the last good checkpoint; lower optimizer.lr or clip", 1)
    return 0


def check_agreement(config: Config, data: Path, world: World) -> None:
    """Refuse ranks of several nodes that were told different things.

    Raises:
        UsageError: a key of the configuration, or the prepared data, differ.
        DataError: the manifest is missing or damaged.
    """
    manifest = world.together(lambda: load_manifest(data))
    told = world.gather({**flatten(config.tree()), "data": manifest.fingerprint[:12]})
    for rank, other in enumerate(told):
        for key in told[0].keys() | other.keys():
            first, here = told[0].get(key), other.get(key)
            if first != here:
                problem = f"{key} is {first} on rank 0, {here} on rank {rank}"
                raise _shared(UsageError(f"{problem}; start every node with the same command and the same data"))


def _shared(error: UserError) -> UserError:
    """Return an error that every rank raises at the same time."""
    error.shared = True
    return error


def train(config: Config, data: Path, out: Path, world: World, *, began: float) -> None:
    """Train to the end, then score the test split, once, and write the results; a budget's time counts from ``began``.

    Raises:
        UsageError: the budget is too small.
    """
    prepared = open_data(config, data, world)
    manifest, splits = prepared.manifest, _load(config, prepared)
    config = _fit(config, prepared, splits, world, out, began)
    trainer = Trainer(config, splits, world, out)
    damage = trainer.restore()
    if not trainer.step:
        start_networks(trainer)
    if world.main:
        _announce(trainer, damage)
        click.echo(prepared.choice)
    started = time.perf_counter()
    if trainer.step == config.steps and (done := _finished(config, manifest, out)):
        if world.main:
            _print_results(done, out)
        return
    with _unsaved_steps():
        trainer.train()
    seconds = time.perf_counter() - started
    summary = summarize(trainer, prepared) | {"seconds_of_last_session": round(seconds, 1)}
    summary["minutes_of_last_session"] = round((time.perf_counter() - began) / 60, 3)
    if world.main:
        finish(trainer, manifest, summary)


def _fit(config: Config, prepared: PreparedSet, splits: TrainingData, world: World, out: Path, began: float) -> Config:
    """Return the configuration with the steps that fit its budget; without one, or if it has them already, as it is."""
    if world.main:
        remove_rehearsal(out)  # of a process that was killed in it
    if config.budget_minutes is None or world.gather((out / BUDGET).exists())[0]:
        return config
    if world.main:
        click.echo(f"{config.budget_minutes:g} minutes: a rehearsal tells how many steps they are")
    pace = rehearse(config, prepared, splits, world, out)
    pace, gone = world.gather((pace, time.perf_counter() - began))[0]
    budget = world.together(lambda: Budget.fit(config, pace, gone))
    fitted = budget.settle(config, out)
    if world.main:
        click.echo(budget)
    world.together(lambda: _note(budget, fitted, out) if world.main else None)
    return fitted


def _note(budget: Budget, config: Config, out: Path) -> None:
    """Write the budget, by which a run knows its steps from then on, and the configuration that follows from it."""
    budget.save(out)
    save_recipe(config.tree(), out)


def score_checkpoint(config: Config, data: Path, out: Path, world: World) -> None:
    """Score the newest checkpoint on the validation and the test split, and print the table; nothing is written.

    Raises:
        UsageError: there is no checkpoint.
    """
    prepared, plain = open_data(config, data, world), config.model_copy(update={"compile": "off"})
    trainer = Trainer(plain, prepared.training_data(unlabeled=False), world, out)
    damage = trainer.restore()
    if not trainer.step:
        raise UsageError(f"{out} holds no checkpoint to test; name the folder of a run with --out")
    if world.main:
        _warn(damage)
        click.echo(f"{config.method} on {config.dataset}, {out}: at step {trainer.step} of {config.steps}")
    results = score(trainer, prepared)
    if world.main:
        click.echo(results_table(results))


def show_networks(config: Config, data: Path) -> None:
    """Print the networks that the method needs, as they are built for the prepared data."""
    task = Task.of(load_manifest(data), config.augment.size)
    for name in METHODS.load(config.method).networks_needed:
        click.echo(describe_network(name, build_module(config, name, task), task.shape))


def _load(config: Config, prepared: PreparedSet) -> TrainingData:
    kind = METHODS.load(config.method)
    if kind.needs_truth and prepared.manifest.unknown:
        raise UsageError(f"method {config.method} needs every image's class; in {prepared.folder} some are unknown")
    return prepared.training_data(unlabeled=bool(kind.views))


def tell_result(config: Config, data: Path, out: Path) -> bool:
    """Print the results of this very run if it ended before; return whether it did. Raises DataError."""
    done = _finished(config, load_manifest(data), out)
    if done:
        _print_results(done, out)
    return bool(done)


@contextmanager
def _unsaved_steps() -> Iterator[None]:
    """While inside, ending this process would lose steps."""
    note_outcome(INTERRUPTED)
    try:
        yield
    except StoppedError:
        note_outcome(STOPPED)
        raise
    note_outcome(STOPPED)


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


def _announce(trainer: Trainer, damage: list[str]) -> None:
    _warn(damage)
    if trainer.step:
        click.echo(f"resuming at step {trainer.step} of {trainer.config.steps}")
    elif trainer.config.start:
        click.echo(f"starting from the averaged weights of {trainer.config.start}")
    click.echo(
        f"{trainer.config.method} on {trainer.config.dataset}: {len(trainer.data.labeled)} labels, "
        f"{trainer.world.size} x {trainer.world.device.type}, {trainer.precision.name}, "
        f"{'compiled, ' * (trainer.compiler.name != 'off')}{trainer.out}"
    )
    if trainer.compiler.missing:
        click.echo(f"not compiled: that needs {trainer.compiler.missing}")


def _warn(damage: list[str]) -> None:
    for line in damage:
        click.echo(f"warning: {line}; using the one before")


def _end(line: str, code: int) -> int:
    if _speaks():
        click.echo(line, err=True)
    return code


def _speaks() -> bool:
    """Return whether this rank tells its node's log what all ranks know."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
