"""One step of SMPL beside one supervised step from the same weights, and the true loss of the weights after each.

P is the number of weights of the network, and theta is the vector [P] of all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from data_prep.system.errors import UsageError
from pipeline.config.resolve import resolve
from pipeline.config.schema import Config
from pipeline.data.batches.split import DataSplit
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World
from pipeline.methods.phases import Apply, Phases, Update
from pipeline.training.factory import build_module
from pipeline.training.nonfinite_guard import NonFiniteError
from pipeline.training.trainer import Trainer

SINGLE_PROCESS = World(0, 1, torch.device("cpu"))
PLAIN_SGD = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "warmup": 0, "clip": None}
"""Settings of an optimizer whose step is rate * gradient; the arrows of the picture show such steps."""


class TrueLoss:
    """Cross-entropy of all training points with their true labels, in fp64. No method knows it; all should lower it."""

    def __init__(self, config: Config, data: TrainingData) -> None:
        unlabeled = data.unlabeled or data.labeled
        new = ~torch.isin(unlabeled.ids, data.labeled.ids)
        (points, labels), (other_points, true_labels) = _contents(data.labeled), _contents(unlabeled)
        self.points = torch.cat([points, other_points[new]]).double()
        self.labels = torch.cat([labels, true_labels[new]])
        self.module = build_module(config, "model", data.task).double().eval()

    @torch.no_grad()
    def __call__(self, theta: Tensor) -> float:
        """Return the mean cross-entropy, in nats, of the network with the weights ``theta`` [P]."""
        vector_to_parameters(theta.double(), self.module.parameters())
        return F.cross_entropy(self.module(self.points), self.labels).item()


def _contents(split: DataSplit) -> tuple[Tensor, Tensor]:
    """Return all images [N, C, H, W] of a split and their labels [N]."""
    images, labels = zip(*split.batches(SINGLE_PROCESS), strict=True)
    return torch.cat(images), torch.cat(labels)


@dataclass(frozen=True)
class Descent:
    """The weights before the steps, after the supervised step, after SMPL's first step and after its second."""

    start: int
    """Number of supervised steps that led to the first weights."""
    weights: Tensor
    """The four vectors of weights, [4, P]."""
    losses: tuple[float, ...]
    """The true loss, in nats, at each of them."""


def claims(descent: Descent) -> dict[str, bool]:
    """Return for each statement about the losses, such as ``"step 1 up"``, whether it is true of this descent."""
    before, supervised, first, second = descent.losses
    return {
        "supervised down": supervised < before,
        "step 1 up": first > before,
        "step 2 down": second < first,
        "SMPL below supervised": second < supervised,
        "last three together": before < first > second < supervised,
    }


def count(descents: Sequence[Descent]) -> dict[str, int]:
    """Return for each claim the number of ``descents`` of which it is true; there must be at least one descent."""
    truths = [claims(descent) for descent in descents]
    return {claim: sum(truth[claim] for truth in truths) for claim in truths[0]}


def measure(config: Config, data: TrainingData, starts: Iterable[int], rate: float) -> Iterator[Descent]:
    """Yield the descent after each number of supervised steps in ``starts``, lowest first.

    The steps that lead to a start use the optimizer of the configuration; the measured ones are plain gradient descent
    at the learning rate ``rate``.

    Raises:
        UsageError: a gradient is not finite.
    """
    leading, loss = build_trainer(config, data, "supervised"), TrueLoss(config, data)
    plain = {"optimizer": PLAIN_SGD | {"lr": rate}}
    measured = [build_trainer(config, data, method, **plain) for method in ("supervised", "smpl")]
    theta, done = weights_of(leading), 0
    for start in sorted(starts):
        for number in range(done, start):
            (theta,) = take_step(leading, theta, number)
        done = start
        weights = [theta, *(after for trainer in measured for after in take_step(trainer, theta, start))]
        yield Descent(start, torch.stack(weights), tuple(map(loss, weights)))


def build_trainer(config: Config, data: TrainingData, method: str, **changes: Any) -> Trainer:
    """Return a trainer of ``method`` at step 0. Nothing is written, since only parts of it are used."""
    return Trainer(resolve(config.tree(), {"method": method} | changes), data, SINGLE_PROCESS, Path())


def take_step(trainer: Trainer, theta: Tensor, number: int) -> list[Tensor]:
    """Take step ``number`` of the trainer's method from ``theta`` [P]; return the weights [P] after each update in it.

    Raises:
        UsageError: a gradient is not finite.
    """
    vector_to_parameters(theta.clone(), trainer.networks["model"].module.parameters())
    weights: list[Tensor] = []
    trainer.runner.run(number, recording(trainer, number, weights), [trainer.loader.batch(number)])
    try:
        trainer.runner.guard.check()
    except NonFiniteError:
        rate = trainer.config.optimizer.lr
        raise UsageError(f"rate {rate:g}: a gradient of {trainer.config.method} is not finite; lower it") from None
    return weights


def recording(trainer: Trainer, number: int, weights: list[Tensor]) -> Phases:
    """Yield the phases of the method's step ``number``; append the weights [P] after each update to ``weights``."""
    phases, answer = trainer.method.step(number), None
    try:
        while True:
            phase = phases.send(answer)
            answer = yield phase
            if isinstance(phase, Update | Apply):
                weights.append(weights_of(trainer))
    except StopIteration:
        return


def weights_of(trainer: Trainer) -> Tensor:
    """Return a copy [P] of the network's weights."""
    return parameters_to_vector(trainer.networks["model"].module.parameters()).detach().clone()
