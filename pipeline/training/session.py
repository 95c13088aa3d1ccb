"""A run on this rank, from its data to its results."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from data_prep.dataset.manifest import load_manifest
from data_prep.system.cli import STOPPED
from data_prep.system.errors import UsageError, UserError
from pipeline.config.resolve import flatten
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.launcher import INTERRUPTED, LOST, launched, note_outcome
from pipeline.distributed.world import World, abandon_world, join_world, leave_world, lost_contact
from pipeline.methods import METHODS
from pipeline.run_folder import RunFolder
from pipeline.training.compilation import compile_failure
from pipeline.training.factory import open_data
from pipeline.training.nonfinite_guard import NonFiniteError
from pipeline.training.results import _finished, _print_results, finish, score, summarize
from pipeline.training.results_table import results_table
from pipeline.training.time_budget import Budget
from pipeline.training.timing_probe import rehearse, remove_rehearsal
from pipeline.training.trainer import StoppedError, Trainer
from pipeline.training.warm_start import start_networks

Job = Callable[[Config, Path, RunFolder, World], None]
"""What a rank does: with a configuration, prepared data and a run folder, in a world."""


def run_rank(config: Config, data: Path, run: RunFolder, job: Job | None = None) -> int:
    """Do a job, by default :func:`train`, with the run folder ``out``; return this rank's exit code.

    Raises:
        UserError: the prepared data set or every checkpoint is damaged, or the folder cannot be written to.
    """
    try:
        return _run(job or partial(train, began=time.perf_counter()), config, data, run, join_world())
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


def _run(job: Job, config: Config, data: Path, run: RunFolder, world: World) -> int:
    """Do a job in a world; return this rank's exit code."""
    try:
        check_agreement(config, data, world)
        job(config, data, run, world)
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
        return _end(f"error: {error}; {run} keeps the last good checkpoint; lower optimizer.lr or clip", 1)
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


def train(config: Config, data: Path, run: RunFolder, world: World, *, began: float) -> None:
    """Train to the end, then score the test split, once, and write the results; a budget's time counts from ``began``.

    Raises:
        UsageError: the budget is too small.
    """
    prepared = open_data(config, data, world)
    manifest, splits = prepared.manifest, _load(config, prepared)
    config = _fit(config, prepared, splits, world, run, began)
    trainer = Trainer(config, splits, world, run.path)
    damage = trainer.restore()
    if not trainer.step:
        start_networks(trainer)
    if world.main:
        _announce(trainer, damage)
        click.echo(prepared.choice)
    started = time.perf_counter()
    if trainer.step == config.steps and (done := _finished(config, manifest, run)):
        if world.main:
            _print_results(done, run)
        return
    with _unsaved_steps():
        trainer.train()
    seconds = time.perf_counter() - started
    summary = summarize(trainer, prepared, seconds=seconds, began=began)
    if world.main:
        finish(trainer, manifest, summary)


def _fit(
    config: Config, prepared: PreparedSet, splits: TrainingData, world: World, run: RunFolder, began: float
) -> Config:
    """Return the configuration with the steps that fit its budget; without one, or if it has them already, as it is."""
    if world.main:
        remove_rehearsal(run.path)  # of a process that was killed in it
    if config.budget_minutes is None or world.gather(run.budget_file.exists())[0]:
        return config
    if world.main:
        click.echo(f"{config.budget_minutes:g} minutes: a rehearsal tells how many steps they are")
    pace = rehearse(config, prepared, splits, world, run.path)
    pace, gone = world.gather((pace, time.perf_counter() - began))[0]
    budget = world.together(lambda: Budget.fit(config, pace, gone))
    fitted = budget.settle(config, run.path)
    if world.main:
        click.echo(budget)
    world.together(lambda: _note(budget, fitted, run) if world.main else None)
    return fitted


def _note(budget: Budget, config: Config, run: RunFolder) -> None:
    """Write the budget, by which a run knows its steps from then on, and the configuration that follows from it."""
    budget.save(run.path)
    run.save_config(config.tree())


def score_checkpoint(config: Config, data: Path, run: RunFolder, world: World) -> None:
    """Score the newest checkpoint on the validation and the test split, and print the table; nothing is written.

    Raises:
        UsageError: there is no checkpoint.
    """
    prepared, plain = open_data(config, data, world), config.model_copy(update={"compile": "off"})
    trainer = Trainer(plain, prepared.training_data(unlabeled=False), world, run.path)
    damage = trainer.restore()
    if not trainer.step:
        raise UsageError(f"{run} holds no checkpoint to test; name the folder of a run with --out")
    if world.main:
        _warn(damage)
        click.echo(f"{config.method} on {config.dataset}, {run}: at step {trainer.step} of {config.steps}")
    results = score(trainer, prepared)
    if world.main:
        click.echo(results_table(results))


def _load(config: Config, prepared: PreparedSet) -> TrainingData:
    kind = METHODS.load(config.method)
    if kind.needs_truth and prepared.manifest.unknown:
        raise UsageError(f"method {config.method} needs every image's class; in {prepared.folder} some are unknown")
    return prepared.training_data(unlabeled=bool(kind.views))


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


def _announce(trainer: Trainer, damage: list[str]) -> None:
    _warn(damage)
    if trainer.step:
        click.echo(f"resuming at step {trainer.step} of {trainer.config.steps}")
    elif trainer.config.start:
        click.echo(f"starting from the averaged weights of {trainer.config.start}")
    click.echo(
        f"{trainer.config.method} on {trainer.config.dataset}: {len(trainer.data.labeled)} labels, "
        f"{trainer.world.size} x {trainer.world.device.type}, {trainer.precision.name}, "
        f"{'compiled, ' * (trainer.compiler.name != 'off')}{trainer.run}"
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
