"""The training loop. It makes batches and runs the phases of the method; between steps it evaluates, logs and saves.

On SIGTERM or Ctrl-C ``pipeline/distributed/stop_signal.py`` says what happens and sets a flag. :meth:`Trainer.train`
finishes the step, asks whether any rank has the flag, saves a checkpoint and raises :class:`StoppedError`, for which
``rank.py`` exits with 4.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_prep.system.errors import DataError, UsageError
from pipeline.config.schema import Config
from pipeline.data.batches.assemble import Loader
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.launcher import is_launched
from pipeline.distributed.stop_signal import stop_after_step
from pipeline.distributed.world import World
from pipeline.evaluation.scoring import evaluate
from pipeline.methods.method import Method
from pipeline.models.ensemble import Ensemble, combine
from pipeline.precision import Precision, choose_precision
from pipeline.run_folder import RunFolder
from pipeline.training.compilation import choose_compiler
from pipeline.training.ema import Average
from pipeline.training.factory import build_loader, build_method, build_networks
from pipeline.training.long_run import warn_of_long_run
from pipeline.training.metrics import Meter, RunLog
from pipeline.training.nonfinite_guard import NonFiniteError
from pipeline.training.phase_runner import StepRunner
from pipeline.training.progress import Progress
from pipeline.training.throughput import Clock
from pipeline.training.trainable import Network


class StoppedError(Exception):
    """A signal ended the run early; its state is saved."""


class Trainer:
    """The state of a run and the loop over its steps.

    Everything random is a function of (seed, step), so the state is: weights, optimizers, averages, the scalars of the
    method, the best evaluation so far, and the step. A run that is restored from it has the same bits as one that was
    never stopped.
    """

    config: Config
    world: World
    precision: Precision
    networks: dict[str, Network]
    method: Method
    loader: Loader
    runner: StepRunner
    averages: dict[str, Average]
    step: int
    """Number of steps that are done."""
    best: dict[str, Any]
    """The step, scores and weights of the best evaluation of the averaged weights; empty before the first."""

    def __init__(self, config: Config, data: TrainingData, world: World, out: Path) -> None:
        self.config, self.data, self.world, self.run = config, data, world, RunFolder(out)
        self.precision = choose_precision(config.precision, world.device)
        self.compiler = choose_compiler(config.compile, world.device, world.size)
        self.checkpoints = self.run.checkpoints
        resuming = world.gather(bool(self.checkpoints.steps()))[0]
        bare = config.without_weights() if resuming else config
        begins = not resuming and config.start is None
        self.networks = build_networks(bare, data, world, self.precision, self.compiler, begins=begins)
        self.method = build_method(config, self.networks)
        self.loader = build_loader(config, data, world, self.compiler)
        self.runner = StepRunner(self.networks, world, self.precision, config.seed)
        self.evaluated = {name: self.networks[name] for name in self.method.evaluated}
        self.averages = {name: Average(network.module, config.ema) for name, network in self.evaluated.items()}
        self.step = 0
        self.best = {}
        self.meter = Meter()

    def train(self, until: int | None = None) -> None:
        """Train to step ``until``, or to the end. All ranks call this together.

        Raises:
            StoppedError: a signal came to one of the ranks; the state is saved.
            Stopped: Ctrl-C came after that signal; the steps since the last checkpoint are lost.
            NonFiniteError: a gradient was not finite. No step has changed the weights since, and none was saved.
        """
        log = RunLog(self.run.path, self.step, quiet=not self.world.main)
        progress = Progress(self.config.steps, self.step, quiet=not self.world.main)
        clock = Clock(self.world.device.type)
        try:
            with stop_after_step(quiet=is_launched() or not self.world.main) as stop:
                while self.step < (until or self.config.steps):
                    self.train_step(clock)
                    self.report(log, progress, clock)
                    if self.world.any(stop.received):
                        self.save()
                        raise StoppedError
        finally:
            self.loader.close()
            progress.close()
            log.close()

    @property
    def images_per_step(self) -> int:
        """Labeled and unlabeled images of a global batch."""
        return self.config.batch_size * (1 + self.config.mu * bool(self.method.views))

    def train_step(self, clock: Clock) -> None:
        """Make the batch of the next step and train on it."""
        with clock.waiting():
            batch = self.loader.batch(self.step)
        self.compiler.begin_step()
        batches = batch.split(self.config.accumulate)
        self.meter.add(self.runner.run(self.step, self.method.step(self.step), batches))
        self.update_averages()
        self.step += 1
        clock.steps += 1

    def update_averages(self) -> None:
        """Move each average towards its network, unless the network has not begun to train."""
        for name, network in self.evaluated.items():
            if self.step >= network.wait:
                self.averages[name].update()

    def report(self, log: RunLog, progress: Progress, clock: Clock) -> None:
        """Check the gradients, log, evaluate and save, whichever of these are due after this step."""
        due = self.due()
        if due or self.world.device.type == "cpu":
            self.check_finite()
        shown: dict[str, float] = {}
        if "log" in due:
            shown |= self.meter.read(self.world) | clock.read(self.images_per_step)
            log.write(self.step, "train", shown | self.rates())
        if "eval" in due and len(self.data.val):
            scores = self.evaluate_now()
            shown["val"] = scores["ema"]["accuracy"]
            for name, score in scores.items():
                log.write(self.step, f"val/{name}", score)
        if "save" in due:
            self.save()
        progress.advance(shown, logs="log" in due)
        if self.world.main and self.world.device.type == "cpu":
            warn_of_long_run(progress.left, self.config, self.data)

    def rates(self) -> dict[str, float]:
        """Return the learning rates: ``lr`` if there is one network, else one for each, such as ``lr_teacher``."""
        single = len(self.networks) == 1
        return {"lr" if single else f"lr_{name}": network.rate for name, network in self.networks.items()}

    def due(self) -> set[str]:
        """Return which of ``log``, ``eval`` and ``save`` are due after this step; after the last step, all are."""
        config, last = self.config, self.step == self.config.steps
        every = {"log": config.log_every, "eval": config.eval_every, "save": config.save_every}
        return {name for name, interval in every.items() if last or self.step % interval == 0}

    def evaluate_now(self) -> dict[str, dict[str, float]]:
        """Score current and averaged weights on the validation split; keep both if the average is the best so far.

        Returns:
            For ``ema`` and ``raw``: ``accuracy`` in percent and ``loss``.
        """
        weights = self.models()
        val, world, precision = self.data.val, self.world, self.precision
        scores = {name: evaluate(network, val, world, precision) for name, network in weights.items()}
        if not self.best or scores["ema"]["accuracy"] > self.best["scores"]["ema"]["accuracy"]:
            kept = {name: _copy(network.state_dict()) for name, network in weights.items()}
            self.best = {"step": self.step, "scores": scores, "weights": kept}
        return scores

    def models(self) -> dict[str, nn.Module]:
        """Return the model that is evaluated, with averaged (``ema``) and with current (``raw``) weights."""
        averaged = combine({name: average.network for name, average in self.averages.items()})
        return {"ema": averaged, "raw": combine({name: network.module for name, network in self.evaluated.items()})}

    def weights(self) -> dict[str, nn.Module]:
        """Return the models that are scored at the end, by name: with last and best weights, averaged and raw.

        The members of an ensemble follow it.
        """
        models, found = self.models(), {}
        for name, title in {"ema": "averaged", "raw": "raw"}.items():
            found[f"last, {title}"] = models[name]
            if self.best:
                found[f"best, {title}"] = copy.deepcopy(models["ema"])
                found[f"best, {title}"].load_state_dict(self.best["weights"][name])
        members = {
            f"{title}, {name}": member
            for title, model in found.items()
            if isinstance(model, Ensemble)
            for name, member in model.items()
        }
        return found | members

    def check_finite(self) -> None:
        """Raise NonFiniteError, with the sample ids of the step, if a gradient was not finite."""
        collapsed = [name for name, network in self.networks.items() if network.scale_collapsed]
        if collapsed:
            raise NonFiniteError(f"step {self.step}: gradients of {collapsed} overflow at any loss scale")
        try:
            self.runner.guard.check()
        except NonFiniteError as error:
            step = error.args[0]
            by_rank = self.world.gather(self.loader.sample_ids(step))
            ids = {name: [sample for samples in by_rank for sample in samples[name]] for name in by_rank[0]}
            raise NonFiniteError(f"step {step}: a gradient is not finite", ids) from None

    def save(self) -> None:
        """Save the present state; rank 0 writes it, and all ranks wait and raise its errors. Raises DataError."""
        self.check_finite()
        self.world.run_on_all(lambda: self.checkpoints.save(self.step, self.state_dict()) if self.world.main else None)

    def restore(self) -> list[str]:
        """Load the newest undamaged checkpoint, if there is one. All ranks call this together.

        Rank 0 chooses the checkpoint for all, since another node may still see an older listing of a shared folder.

        Returns:
            On rank 0 an error line for each damaged checkpoint that was skipped.

        Raises:
            DataError: every checkpoint is damaged, or belongs to other data.
            UsageError: the checkpoint belongs to another configuration.
            UserError: a rank cannot read the checkpoint that rank 0 has read.
        """
        world, folder = self.world, self.checkpoints
        state, damage = world.run_on_all(lambda: folder.load_newest(world.device) if world.main else (None, []))
        step: int | None = world.gather(state["step"] if state else None)[0]
        if step is not None:
            self.load_state_dict(world.run_on_all(lambda: state or folder.load(step, world.device)))
        return damage

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        return {
            "step": self.step,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "method": self.method.state,
            "best": self.best,
            "config": self.config.fingerprint(),
            "data": self.data.fingerprint,
            "precision": self.precision.name,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state. Raises DataError or UsageError if it belongs to another run."""
        if state["data"] != self.data.fingerprint:
            raise DataError(f"{self.checkpoints.path}: trained on other data than the prepared set; give another --out")
        if state["config"] != self.config.fingerprint():
            raise UsageError(f"{self.checkpoints.path}: saved by a run with another configuration; give another --out")
        if state["precision"] != self.precision.name:
            was, now = state["precision"], self.precision.name
            raise UsageError(f"{self.checkpoints.path}: trained in {was}, not {now}; add --precision {was}")
        if state["step"] > self.config.steps:
            raise UsageError(f"steps: {self.run} is at step {state['step']} already, beyond {self.config.steps}")
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
        self.method.state = state["method"]
        self.best = state["best"]
        self.step = state["step"]


def _copy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}
