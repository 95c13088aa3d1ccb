"""A short run that is thrown away, to see how long the parts of the real one take on this machine.

It is the real thing: trainer, data, batches and processes. It is performed twice, since the first time pays for
compilation and caches; the second one begins as the real run will. Then all is built anew from the seed, so that the
real run cannot know of it. On a GPU it has never run yet.
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
from pipeline.training.metrics import RunLog
from pipeline.training.progress import Progress
from pipeline.training.throughput import Clock
from pipeline.training.time_budget import Pace
from pipeline.training.trainer import Trainer

FOLDER = "rehearsal"
FIRST = 4
"""Steps in which all is compiled, captured and cached."""
BLOCK = 5
"""Steps between two looks at the clock, for which the device is waited for."""
SHARE = 0.01
"""The part of a budget for which steps are timed."""
FOREVER = 10**9


def rehearse(config: Config, prepared: PreparedSet, data: TrainingData, world: World, out: Path) -> Pace:
    """Return the pace of a run, in the folder where it will be; all ranks together.

    Networks that wait are seen at work. Raises DataError where the folder cannot be written to.
    """
    never = {"steps": FOREVER, "eval_every": FOREVER, "save_every": FOREVER, "log_every": min(BLOCK, config.log_every)}
    stage = config.model_copy(update=never)
    perform = Performance(stage, prepared, data, world, out / FOLDER)
    for seconds in (0.0, SHARE * 60 * (config.budget_minutes or 0.0)):
        with perform.cleared_folder():
            pace = perform.once(seconds)
        gc.collect()  # networks and their graphs know each other
    return pace


def remove_rehearsal(out: Path) -> None:
    """Leave nothing of a rehearsal in a run folder."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


class Performance:
    """The parts of a run, each timed."""

    def __init__(self, config: Config, prepared: PreparedSet, data: TrainingData, world: World, folder: Path) -> None:
        self.config, self.prepared, self.data, self.world, self.folder = config, prepared, data, world, folder

    def once(self, seconds: float) -> Pace:
        """Build a trainer and let it do everything, steps for so many seconds at least."""
        began = self.now()
        trainer = Trainer(self.config, self.data, self.world, self.folder)
        trainer.step = max(network.wait for network in trainer.networks.values())
        try:
            with closing(RunLog(self.folder, 0, quiet=not self.world.main)) as log:
                self.advance(trainer, log, FIRST)
                first = self.now() - began
                step = self.step_seconds(trainer, log, seconds)
            image = self.image_seconds(trainer)
            return Pace(
                start=max(0.0, first - FIRST * step),
                step=step,
                evaluation=image * len(self.data.val),
                save=self.timed(trainer.save),
                scoring=self.scoring_seconds(trainer, image),
            )
        finally:
            trainer.loader.close()

    def advance(self, trainer: Trainer, log: RunLog, steps: int) -> None:
        """Do what :meth:`Trainer.train` does for so many steps."""
        clock, silent = Clock(self.world.device.type), Progress(1, 0, quiet=True)
        for _ in range(steps):
            trainer.train_step(clock)
            trainer.report(log, silent, clock)
            self.world.any(False)

    def step_seconds(self, trainer: Trainer, log: RunLog, seconds: float) -> float:
        """Return the mean over steps of so many seconds on every rank, one block at least."""
        began, steps, elapsed = self.now(), 0, 0.0
        while self.world.any(not steps or elapsed < seconds):
            self.advance(trainer, log, BLOCK)
            steps += BLOCK
            elapsed = self.now() - began
        return elapsed / steps

    def image_seconds(self, trainer: Trainer) -> float:
        """Return what an image costs that averaged and current weights are scored on."""
        split = self.data.val if len(self.data.val) else self.data.labeled
        models = trainer.models().values()

        def score() -> None:
            for model in models:
                evaluate(model, split, self.world, trainer.precision)

        return self.timed(score) / len(split)

    def scoring_seconds(self, trainer: Trainer, image: float) -> float:
        """Return what the end will cost, by numbers of images: the test split is not touched before.

        There are the best weights on validation beside the last ones, and an ensemble's members beside it.
        """
        tested = self.prepared.manifest.samples("test")
        kinds = (1 + bool(len(self.data.val))) * (1 + (len(trainer.evaluated) > 1))
        opening = self.timed(lambda: self.prepared.open("labeled")) / len(self.data.labeled)
        return tested * opening + kinds * image * (len(self.data.val) + tested)

    def timed(self, action: Callable[[], object]) -> float:
        began = self.now()
        action()
        return self.now() - began

    def now(self) -> float:
        """Return a time in seconds at which the device has done all that it was told."""
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)
        return time.perf_counter()

    @contextmanager
    def cleared_folder(self) -> Iterator[None]:
        """Let the folder be an empty one, and no more afterwards; the first rank sees to it."""
        self.remove()
        self.world.together(lambda: make_folder(self.folder) if self.world.main else None)
        try:
            yield
        finally:
            self.remove()

    def remove(self) -> None:
        if self.world.main:
            remove_rehearsal(self.folder.parent)
