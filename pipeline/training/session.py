"""The two jobs of a rank once it has joined the others: train to the end and score, or score a checkpoint.

The loop over the steps is in ``trainer.py``, which also says what happens on SIGTERM; the process around it, with its
errors and exit codes, is in ``rank.py``.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from data_prep.system.cli import STOPPED
from data_prep.system.errors import UsageError
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.launcher import UNSAVED, record_exit_code
from pipeline.distributed.world import World
from pipeline.methods import METHODS
from pipeline.run_folder import RunFolder
from pipeline.training.factory import open_data
from pipeline.training.results import print_if_finished, print_results, save_results, score, summarize
from pipeline.training.results_table import results_table
from pipeline.training.time_budget import Budget
from pipeline.training.timing_probe import measure_timings, remove_probe
from pipeline.training.trainer import StoppedError, Trainer
from pipeline.training.warm_start import load_start_weights

logger = logging.getLogger(__name__)


def train(config: Config, data: Path, run: RunFolder, world: World, *, began: float) -> None:
    """Train to the end, then score the test split once and write the results. All ranks call this together.

    Args:
        config: the resolved configuration of the run.
        data: folder of the prepared set.
        run: the run's folder.
        world: the ranks.
        began: when this rank started, by ``time.perf_counter``; a time budget counts from then.

    Raises:
        UsageError: the budget is too small, or the configuration does not fit the data or the checkpoint.
        DataError: the prepared set or every checkpoint is damaged.
        StoppedError: a signal came; the state is saved.
    """
    prepared = open_data(config, data, world)
    splits = _open_splits(config, prepared)
    config = _fit_budget(config, prepared, splits, world, run, began)
    trainer = Trainer(config, splits, world, run.path)
    damage = trainer.restore()
    if not trainer.step:
        load_start_weights(trainer)
    if world.main:
        _log_start(trainer, prepared, damage)
    started = time.perf_counter()
    if trainer.step == config.steps and _print_if_finished(config, prepared, run, world):
        return
    with _unsaved_steps():
        trainer.train()
    summary = summarize(trainer, prepared, seconds=time.perf_counter() - started, began=began)
    if world.main:
        save_results(trainer, prepared.manifest, summary)
        print_results(summary, run)


def score_checkpoint(config: Config, data: Path, run: RunFolder, world: World) -> None:
    """Score the newest checkpoint on the validation and the test split and print the table; write nothing.

    Raises:
        UsageError: there is no checkpoint.
    """
    prepared, plain = open_data(config, data, world), config.model_copy(update={"compile": "off"})
    trainer = Trainer(plain, prepared.training_data(unlabeled=False), world, run.path)
    damage = trainer.restore()
    if not trainer.step:
        raise UsageError(f"{run} holds no checkpoint to test; name the folder of a run with --out")
    if world.main:
        _log_damage(damage)
        click.echo(f"{config.method} on {config.dataset}, {run}: at step {trainer.step} of {config.steps}")
    results = score(trainer, prepared)
    if world.main:
        click.echo(results_table(results, config.test_views))


def _open_splits(config: Config, prepared: PreparedSet) -> TrainingData:
    kind = METHODS.load(config.method)
    if kind.needs_truth and prepared.manifest.unknown:
        raise UsageError(f"method {config.method} needs every image's class; in {prepared.folder} some are unknown")
    return prepared.training_data(unlabeled=bool(kind.views))


def _print_if_finished(config: Config, prepared: PreparedSet, run: RunFolder, world: World) -> bool:
    """Print the results of a finished run; return whether it is one. Rank 0 reads the summary for all."""
    manifest = prepared.manifest
    finished = world.run_on_all(lambda: world.main and print_if_finished(config, manifest, run))
    return world.gather(finished)[0]


def _fit_budget(
    config: Config, prepared: PreparedSet, splits: TrainingData, world: World, run: RunFolder, began: float
) -> Config:
    """Return the configuration with the steps that fit its time budget; a run measures them once, before it trains."""
    if world.main:
        remove_probe(run.path)  # of a process that was killed while it measured
    if config.budget_minutes is None or world.gather(run.budget_file.exists())[0]:
        return config
    if world.main:
        logger.info("%g minutes: timing some steps to find how many fit", config.budget_minutes)
    timings = measure_timings(config, prepared, splits, world, run.path)
    timings, elapsed = world.gather((timings, time.perf_counter() - began))[0]
    budget = world.run_on_all(lambda: Budget.fit(config, timings, elapsed))
    if world.main:
        logger.info("%s", budget)
    world.run_on_all(lambda: _record_budget(budget, run) if world.main else None)
    return budget.apply(config, run.path)


def _record_budget(budget: Budget, run: RunFolder) -> None:
    """Write ``budget.json``, from which a resumed run takes its steps, and the fitted steps into ``config.yaml``."""
    recorded = resolve(run.config(), {})
    budget.save(run.path)
    run.save_config(budget.apply(recorded, run.path).tree())


@contextmanager
def _unsaved_steps() -> Iterator[None]:
    """Return a context during which the launcher knows that a process that is killed loses steps."""
    record_exit_code(UNSAVED)
    try:
        yield
    except StoppedError:
        record_exit_code(STOPPED)
        raise
    record_exit_code(STOPPED)


def _log_start(trainer: Trainer, prepared: PreparedSet, damage: list[str]) -> None:
    _log_damage(damage)
    config, compiler = trainer.config, trainer.compiler
    if trainer.step:
        logger.info("resuming at step %d of %d", trainer.step, config.steps)
    elif config.start:
        logger.info("starting from the averaged weights of %s", config.start)
    labels, world = len(trainer.data.labeled), trainer.world
    precision = f"{trainer.precision.name}{', compiled' * (compiler.name != 'off')}"
    parts = (config.method, config.dataset, labels, world.size, world.device.type, precision, trainer.run)
    logger.info("%s on %s: %d labels, %d x %s, %s, %s", *parts)
    if compiler.missing:
        logger.info("not compiled: that needs %s", compiler.missing)
    logger.info("%s", prepared.choice)
    if beyond := config.lengths_beyond_the_run():
        logger.warning("a run of %d steps ends before %s; set fewer steps there", config.steps, ", ".join(beyond))


def _log_damage(damage: list[str]) -> None:
    for line in damage:
        logger.warning("%s; using the checkpoint before it", line)
