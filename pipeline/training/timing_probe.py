"""Measure how long the parts of a run take on this machine, by a short run whose results are discarded.

The probe uses the real trainer, data, batches and processes. It runs twice: the first time compiles and fills caches,
and the second time starts as the real run will. Then everything is built again from the seed, so that the probe cannot
change the run. It has not been tried on a GPU.
"""

import gc
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from data_prep.system.atomic_files import make_folder
from pipeline.config.schema import Config
from pipeline.data.prepared_set import PreparedSet
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World
from pipeline.evaluation.scoring import evaluate
from pipeline.models.view_average import VIEWS
from pipeline.training.metrics import RunLog
from pipeline.training.progress import Progress
from pipeline.training.throughput import Clock
from pipeline.training.time_budget import Timings
from pipeline.training.trainer import Trainer

FOLDER = "timing-probe"
"""Folder inside the run folder in which the probe writes; it is removed afterwards."""
FIRST_STEPS = 4
"""Number of steps after which everything is compiled, captured and cached; they are not timed."""
BLOCK_STEPS = 5
"""Number of steps between two readings of the clock. The device must finish its work before each reading."""
SHARE = 0.01
"""Fraction of the budget that is spent on timing steps."""
NEVER = 10**9
"""A number of steps that the probe never reaches."""


def measure_timings(config: Config, prepared: PreparedSet, data: TrainingData, world: World, out: Path) -> Timings:
    """Return how long the parts of the run in ``out`` take; all ranks call this together.

    Raises DataError if the folder cannot be written to.
    """
    undisturbed = {"steps": NEVER, "eval_every": NEVER, "save_every": NEVER}
    short = config.model_copy(update=undisturbed | {"log_every": min(BLOCK_STEPS, config.log_every)})
    probe = _Probe(short, prepared, data, world, out / FOLDER)
    for seconds in (0.0, SHARE * 60 * (config.budget_minutes or 0.0)):
        with _empty_folder(probe.folder, world):
            timings = probe.run(seconds)
        gc.collect()  # networks and their compiled graphs refer to each other
    return timings


def remove_probe(out: Path) -> None:
    """Remove what a probe that was killed left in a run folder."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


@contextmanager
def _empty_folder(folder: Path, world: World) -> Iterator[None]:
    """Make a folder, on rank 0, and remove it at the end. Raises DataError on all ranks."""
    world.run_on_all(lambda: make_folder(folder) if world.main else None)
    try:
        yield
    finally:
        if world.main:
            shutil.rmtree(folder, ignore_errors=True)


class _Probe:
    """A short run whose parts are timed."""

    def __init__(self, config: Config, prepared: PreparedSet, data: TrainingData, world: World, folder: Path) -> None:
        self.config, self.prepared, self.data, self.world, self.folder = config, prepared, data, world, folder

    def run(self, seconds: float) -> Timings:
        """Build a trainer and do all parts of a run once, with training steps for at least ``seconds``."""
        began = self.now()
        trainer = Trainer(self.config, self.data, self.world, self.folder)
        trainer.step = max(network.wait for network in trainer.networks.values())  # all networks train from then on
        try:
            with closing(RunLog(self.folder, 0, quiet=not self.world.main)) as log:
                self.train(trainer, log, FIRST_STEPS)
                first = self.now() - began
                step = self.step_seconds(trainer, log, seconds)
            image = self.image_seconds(trainer)
            return Timings(
                start=max(0.0, first - FIRST_STEPS * step),
                step=step,
                evaluation=image * len(self.data.val),
                save=self.timed(trainer.save),
                scoring=self.scoring_seconds(trainer, image),
            )
        finally:
            trainer.loader.close()

    def train(self, trainer: Trainer, log: RunLog, steps: int) -> None:
        """Do ``steps`` steps as :meth:`Trainer.train` does them."""
        clock, progress = Clock(self.world.device.type), Progress(1, 0, quiet=True)
        for _ in range(steps):
            trainer.train_step(clock)
            trainer.report(log, progress, clock)
            self.world.any(False)

    def step_seconds(self, trainer: Trainer, log: RunLog, seconds: float) -> float:
        """Return the mean time of a step, over blocks that last ``seconds`` on the slowest rank."""
        began, steps, elapsed = self.now(), 0, 0.0
        while self.world.any(not steps or elapsed < seconds):
            self.train(trainer, log, BLOCK_STEPS)
            steps += BLOCK_STEPS
            elapsed = self.now() - began
        return elapsed / steps

    def image_seconds(self, trainer: Trainer) -> float:
        """Return the seconds of scoring one image with both the averaged and the current weights."""
        split = self.data.val if len(self.data.val) else self.data.labeled
        models = trainer.models().values()

        def score() -> None:
            for model in models:
                evaluate(model, split, self.world, trainer.precision)

        return self.timed(score) / len(split)

    def scoring_seconds(self, trainer: Trainer, image: float) -> float:
        """Return the seconds of the final scores, computed from numbers of images: the test split is not read yet.

        The best weights on validation are scored as well as the last ones, and the members of an ensemble as well as
        the ensemble.
        """
        tested = self.prepared.manifest.samples("test")
        sets_of_weights = (1 + bool(len(self.data.val))) * (1 + (len(trainer.evaluated) > 1))
        opening = self.timed(lambda: self.prepared.open("labeled")) / len(self.data.labeled)
        views = len(VIEWS[self.config.test_views])
        return tested * opening + sets_of_weights * views * image * (len(self.data.val) + tested)

    def timed(self, action: Callable[[], object]) -> float:
        """Return the seconds that an action takes."""
        began = self.now()
        action()
        return self.now() - began

    def now(self) -> float:
        """Return a time in seconds, after the device has finished the work that was given to it."""
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)
        return time.perf_counter()
