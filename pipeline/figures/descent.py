"""One step of SMPL beside one supervised step from the same weights, and the true loss at each place they reach.

P is the number of weights of the network, theta all of them as one vector.
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
PLAIN = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "warmup": 0, "clip": None}
"""An optimizer whose step is rate * gradient, as the arrows of the figure are."""


class TrueLoss:
    """Cross-entropy of all training points with their true labels, in fp64: no method sees it, all want it low."""

    def __init__(self, config: Config, data: TrainingData) -> None:
        others = data.unlabeled or data.labeled
        new = ~torch.isin(others.ids, data.labeled.ids)
        (given, labels), (points, truths) = _contents(data.labeled), _contents(others)
        self.points = torch.cat([given, points[new]]).double()
        self.labels = torch.cat([labels, truths[new]])
        self.module = build_module(config, "model", data.task).double().eval()

    @torch.no_grad()
    def __call__(self, theta: Tensor) -> float:
        """Return the mean, in nats, with the weights ``theta`` [P]."""
        vector_to_parameters(theta.double(), self.module.parameters())
        return F.cross_entropy(self.module(self.points), self.labels).item()


def _contents(split: DataSplit) -> tuple[Tensor, Tensor]:
    """Return all images [N, C, H, W] of a split, and their labels [N]."""
    images, labels = zip(*split.batches(SINGLE_PROCESS), strict=True)
    return torch.cat(images), torch.cat(labels)


@dataclass(frozen=True)
class Descent:
    """Four places: before, after the supervised step, after SMPL's first, after SMPL's second."""

    start: int
    """Supervised steps that were taken before."""
    places: Tensor
    """Weights [4, P]."""
    losses: tuple[float, ...]
    """True losses, of the four."""


def claims(descent: Descent) -> dict[str, bool]:
    """Return what may be said of a descent, and whether it is true of this one."""
    before, supervised, first, second = descent.losses
    return {
        "supervised down": supervised < before,
        "step 1 up": first > before,
        "step 2 down": second < first,
        "SMPL below supervised": second < supervised,
        "last three together": before < first > second < supervised,
    }


def count(descents: Sequence[Descent]) -> dict[str, int]:
    """Return of how many of the ``descents``, at least one, each claim is true."""
    found = [claims(one) for one in descents]
    return {claim: sum(one[claim] for one in found) for claim in found[0]}


def measure(config: Config, data: TrainingData, starts: Iterable[int], rate: float) -> Iterator[Descent]:
    """Yield the descent after each number of supervised steps in ``starts``, lowest first.

    The steps that lead to a start are those of the configuration; the measured ones are plain gradient descent.

    Args:
        rate: of the measured steps.

    Raises:
        UsageError: a gradient is not finite.
    """
    walk, loss = build_trainer(config, data, "supervised"), TrueLoss(config, data)
    plain = {"optimizer": PLAIN | {"lr": rate}}
    measured = [build_trainer(config, data, method, **plain) for method in ("supervised", "smpl")]
    theta, done = weights_of(walk), 0
    for start in sorted(starts):
        for number in range(done, start):
            (theta,) = take_step(walk, theta, number)
        done = start
        places = [theta, *(place for trainer in measured for place in take_step(trainer, theta, start))]
        yield Descent(start, torch.stack(places), tuple(loss(place) for place in places))


def build_trainer(config: Config, data: TrainingData, method: str, **changes: Any) -> Trainer:
    """Return a trainer of ``method`` that has not begun; it writes nothing."""
    return Trainer(resolve(config.tree(), {"method": method} | changes), data, SINGLE_PROCESS, Path())


def take_step(trainer: Trainer, theta: Tensor, number: int) -> list[Tensor]:
    """Take step ``number`` of the trainer's method from ``theta`` [P]; return the weights [P] after each update in it.

    Raises:
        UsageError: a gradient is not finite.
    """
    vector_to_parameters(theta.clone(), trainer.networks["model"].module.parameters())
    found: list[Tensor] = []
    trainer.runner.run(number, noting(trainer, number, found), [trainer.loader.batch(number)])
    try:
        trainer.runner.guard.check()
    except NonFiniteError:
        rate = trainer.config.optimizer.lr
        raise UsageError(f"rate {rate:g}: a gradient of {trainer.config.method} is not finite; lower it") from None
    return found


def noting(trainer: Trainer, number: int, found: list[Tensor]) -> Phases:
    """Yield the phases of the method's step ``number``; add the weights [P] after each update to ``found``."""
    phases, answer = trainer.method.step(number), None
    try:
        while True:
            phase = phases.send(answer)
            answer = yield phase
            if isinstance(phase, Update | Apply):
                found.append(weights_of(trainer))
    except StopIteration:
        return


def weights_of(trainer: Trainer) -> Tensor:
    """Return a copy [P] of the network's weights."""
    return parameters_to_vector(trainer.networks["model"].module.parameters()).detach().clone()
