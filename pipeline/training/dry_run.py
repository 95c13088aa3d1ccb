"""What ``smpl-train --dry-run`` prints: what would run, and how long it takes if a few steps tell that quickly."""

import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from data_prep.dataset.manifest import MANIFEST, SPLITS, Manifest, load_manifest
from pipeline.config.data_set import DataSet, resolve_data
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.distributed.world import World, this_device
from pipeline.methods import METHODS
from pipeline.precision import choose_precision
from pipeline.run_folder import RunFolder
from pipeline.task import Task
from pipeline.training.compilation import choose_compiler
from pipeline.training.factory import build_module, open_data
from pipeline.training.preflight import check_machine, check_run, check_start
from pipeline.training.results import is_finished
from pipeline.training.throughput import Clock
from pipeline.training.time_left import TimeLeft, duration, pace
from pipeline.training.trainer import Trainer

TIMED_STEPS = 5
"""Number of steps that are timed; the first of them does not count."""
CHEAP_WORK = 1e12
"""The largest product of parameters, pixels and images of a step that is timed; two CPU cores take seconds for it."""
UNKNOWN = "unknown until training begins"


def describe_run(config: Config, data: DataSet, run: RunFolder, processes: int) -> Iterator[str]:
    """Yield the lines about a run that would begin, or go on, in a folder; nothing is prepared and nothing is written.

    Args:
        config: the configuration, with the steps that were fitted to its budget if there are some.
        data: what the command line says about the prepared set.
        run: the run's folder.
        processes: ranks on all nodes.

    Raises:
        UsageError: training would be refused.
        DataError: a file of the data or of the run is damaged.
    """
    folder, device = data.folder(config), this_device()
    check_machine(config, run, processes)
    prepared = (folder / MANIFEST).exists()
    if prepared or (data.named and not data.source):
        known = replace(data, named=folder, source=None) if data.source else data
        config = resolve_data(config, known, may_prepare=False)
        check_start(config, folder, run)
    check_run(config, run)
    manifest = load_manifest(folder) if prepared else None
    world = World(0, 1, device)
    opened = open_data(config, folder, world) if prepared else None
    size = _work(config, manifest) if manifest else 0.0
    timed = _timed(config, opened, world) if opened and processes == 1 and size <= CHEAP_WORK else None
    facts = {
        "data": _data(config, folder, manifest),
        "network": _networks(config, manifest),
        "method": config.method,
        "steps": _steps(config),
        "processes": f"{processes} on {device.type}",
        "precision": choose_precision(config.precision, device).name,
        "compile": _compiler(config, device, processes),
        "loader": f"{opened.choice.name} ({opened.choice.reason})" if opened else config.loader.name,
        "run": _run(config, run, manifest),
        "memory": _memory(device) if timed else UNKNOWN,
        "time": _time(timed, config, run) if timed else UNKNOWN,
    }
    yield from (f"{title:<10} {fact}" for title, fact in facts.items())


def _data(config: Config, folder: Path, manifest: Manifest | None) -> str:
    if manifest is None:
        return f"{config.dataset}, which would be prepared in {folder} first"
    counts = ", ".join(f"{manifest.samples(split):,} {split}" for split in SPLITS)
    return f"{config.dataset} in {folder}: {counts}"


def _networks(config: Config, manifest: Manifest | None) -> str:
    names, model = METHODS.load(config.method).networks_needed, config.model["name"]
    if manifest is None:
        return f"{model} ({', '.join(names)}); its size is known once the data is prepared"
    task = Task.of(manifest, config.augment.size)
    built = ", ".join(f"{name}: {_size(build_module(config, name, task))}" for name in names)
    return f"{model} ({built}), for images of {'x'.join(map(str, task.shape))}"


def _size(module: nn.Module) -> str:
    total = sum(parameter.numel() for parameter in module.parameters())
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return f"{total:,} parameters, {trained:,} trained"


def _steps(config: Config) -> str:
    unlabeled = config.batch_size * config.mu * bool(METHODS.load(config.method).views)
    batch = f"{config.batch_size} labeled and {unlabeled} unlabeled images, accumulate {config.accumulate}"
    fitted = f" unless fitted to {config.budget_minutes:g} minutes" if config.budget_minutes is not None else ""
    return f"{config.steps:,}{fitted}, each of {batch}"


def _compiler(config: Config, device: torch.device, processes: int) -> str:
    compiler = choose_compiler(config.compile, device, processes)
    return f"{compiler.name}, since that needs {compiler.missing}" if compiler.missing else compiler.name


def _run(config: Config, run: RunFolder, manifest: Manifest | None) -> str:
    if manifest is not None and is_finished(config, manifest, run):
        return f"{run} is finished; its results would be printed again"
    done = max(run.checkpoints.steps(), default=0)
    return f"{run} would resume at step {done:,} of {config.steps:,}" if done else f"{run} would begin"


def _work(config: Config, manifest: Manifest) -> float:
    """Return parameters x pixels x images of a step, a bound on the multiplications of its forward pass."""
    kind, task = METHODS.load(config.method), Task.of(manifest, config.augment.size)
    modules = [build_module(config, name, task) for name in kind.networks_needed]
    parameters = sum(parameter.numel() for module in modules for parameter in module.parameters())
    images = config.batch_size * (1 + config.mu * bool(kind.views))
    return float(parameters * task.shape[1] * task.shape[2] * images)


def _timed(config: Config, prepared: PreparedSet, world: World) -> TimeLeft:
    """Train a few steps in a folder that is removed, and return their times."""
    splits = prepared.training_data(unlabeled=bool(METHODS.load(config.method).views))
    with TemporaryDirectory() as folder:
        trainer = Trainer(config.model_copy(update={"start": None}), splits, world, Path(folder))
        left, clock = TimeLeft(config.steps, 0, time.perf_counter), Clock(world.device.type)
        try:
            for _ in range(min(TIMED_STEPS, config.steps)):
                trainer.train_step(clock)
                trainer.meter.read(world)  # waits for the device
                left.count()
        finally:
            trainer.loader.close()
    return left


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB of the GPU, in the steps that were timed"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return f"{peak:,.0f} MiB, in the steps that were timed"


def _time(timed: TimeLeft, config: Config, run: RunFolder) -> str:
    steps = config.steps - max(run.checkpoints.steps(), default=0)
    length = f"about {duration(timed.step_seconds * steps)} for {steps:,} steps, at {pace(timed.step_seconds)}"
    return f"{length}; evaluations, checkpoints and the final scores come on top"
