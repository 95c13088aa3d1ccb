"""``python -m benchmarks.peer_loop --checkout PATH``: the seconds of MPL-pytorch's own training steps, as a JSON list.

Its ``train_loop`` runs as it stands, with its own views, networks and averages, and the settings of its README; only
the pictures, its clock and its log are ours.
"""

import importlib
import json
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

SETTINGS = {
    **{"dataset": "cifar10", "num_labeled": 4000, "num_classes": 10, "resize": 32, "randaug": [2, 16], "name": "bench"},
    **{"teacher_lr": 0.05, "student_lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True, "ema": 0.995},
    **{"label_smoothing": 0.15, "temperature": 0.7, "threshold": 0.6, "lambda_u": 8.0, "uda_steps": 5000.0},
    **{"grad_clip": 1e9, "start_step": 0, "world_size": 1, "local_rank": 0, "gpu": 0, "evaluate": False},
}
DROPOUT = 0.2


class Pictures(Dataset[Any]):
    """Random pictures of CIFAR's size through the checkout's own transforms."""

    def __init__(self, count: int, transform: Any) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), index % 10


class Steps:
    """Stands in for tqdm: notes when each step ended, and says nothing."""

    ends: list[float]

    def __init__(self, *_: Any, **__: Any) -> None:
        Steps.ends = [time.perf_counter()]

    def update(self) -> None:
        Steps.ends.append(time.perf_counter())

    def set_description(self, _: str) -> None: ...

    def close(self) -> None: ...


class _Enough(Exception):  # noqa: N818
    pass


class Silence:
    """Stands in for its TensorBoard writer, and ends the loop after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def add_scalar(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise _Enough


@click.command()
@click.option("--checkout", type=click.Path(path_type=Path), required=True)
@click.option("--batch-size", type=int, required=True)
@click.option("--mu", type=int, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--workers", type=int, required=True)
def main(checkout: Path, batch_size: int, mu: int, steps: int, workers: int) -> None:
    """Time STEPS steps after one that is not timed."""
    sys.path.insert(0, str(checkout))
    modules: list[Any] = [importlib.import_module(name) for name in ("main", "data", "models", "utils")]
    loop, data, models, losses = modules
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = {"batch_size": batch_size, "mu": mu, "workers": workers, "total_steps": 1000, "eval_step": 1000}
    args = Namespace(**SETTINGS, **scale, device=device, amp=device.type == "cuda", writer=Silence(steps + 1))
    both = data.TransformMPL(args, data.cifar10_mean, data.cifar10_std)
    labeled = _loader(args, batch_size, lambda image: both.normalize(both.ori(image)))
    unlabeled = _loader(args, batch_size * mu, both)
    loop.tqdm = Steps
    teacher, student = (models.WideResNet(10, 28, 2, 0.0, DROPOUT).to(device) for _ in range(2))
    average = models.ModelEMA(student, args.ema)
    learned = [_learner(loop, args, network) for network in (teacher, student)]
    (t_optimizer, t_schedule, t_scaler), (s_optimizer, s_schedule, s_scaler) = learned
    with suppress(_Enough):
        loop.train_loop(
            *(args, labeled, unlabeled, None, None, teacher, student, average, losses.create_loss_fn(args)),
            *(t_optimizer, s_optimizer, t_schedule, s_schedule, t_scaler, s_scaler),
        )
    click.echo(json.dumps([late - early for early, late in zip(Steps.ends[1:], Steps.ends[2:], strict=False)]))


def _loader(args: Namespace, batch_size: int, transform: Any) -> DataLoader[Any]:
    pictures = Pictures(batch_size * 8, transform)
    return DataLoader(pictures, batch_size, shuffle=True, num_workers=args.workers, drop_last=True, pin_memory=True)


def _learner(loop: Any, args: Namespace, network: nn.Module) -> tuple[Any, Any, Any]:
    """Return optimizer, schedule and scaler as its main function makes them."""
    optimizer = torch.optim.SGD(
        network.parameters(), args.teacher_lr, args.momentum, 0, args.weight_decay, nesterov=args.nesterov
    )
    return (
        optimizer,
        loop.get_cosine_schedule_with_warmup(optimizer, 5000, 300000),
        loop.amp.GradScaler(enabled=args.amp),
    )


if __name__ == "__main__":
    main()
