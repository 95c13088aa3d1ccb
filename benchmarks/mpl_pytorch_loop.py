"""``python -m benchmarks.mpl_pytorch_loop --checkout PATH``: the seconds of MPL-pytorch's training steps, as JSON.

Its ``train_loop`` runs unchanged, with its own views, networks and averages and the settings of its README. Only the
images, the progress bar and the log writer are ours.
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
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.peer_loop import AllStepsTimedError, random_images

SETTINGS = {
    **{"dataset": "cifar10", "num_labeled": 4000, "num_classes": 10, "resize": 32, "randaug": [2, 16], "name": "bench"},
    **{"teacher_lr": 0.05, "student_lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True, "ema": 0.995},
    **{"label_smoothing": 0.15, "temperature": 0.7, "threshold": 0.6, "lambda_u": 8.0, "uda_steps": 5000.0},
    **{"grad_clip": 1e9, "start_step": 0, "world_size": 1, "local_rank": 0, "gpu": 0, "evaluate": False},
}
DROPOUT = 0.2


class RandomImages(Dataset[Any]):
    """Random images of CIFAR's size, with the checkout's own transforms."""

    def __init__(self, count: int, transform: Any) -> None:
        self.images = random_images(count)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), index % 10


class StepTimes:
    """A silent replacement for tqdm that records when each step ended."""

    ends: list[float]
    """The end of each step, in seconds of ``time.perf_counter``."""

    def __init__(self, *_: Any, **__: Any) -> None:
        StepTimes.ends = [time.perf_counter()]

    def update(self) -> None:
        StepTimes.ends.append(time.perf_counter())

    def set_description(self, _: str) -> None: ...

    def close(self) -> None: ...


class StepLimit:
    """A replacement for the TensorBoard writer that ends the loop after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def add_scalar(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise AllStepsTimedError


@click.command()
@click.option("--checkout", type=click.Path(path_type=Path), required=True)
@click.option("--batch-size", type=int, required=True)
@click.option("--mu", type=int, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--workers", type=int, required=True)
def main(checkout: Path, batch_size: int, mu: int, steps: int, workers: int) -> None:
    """Time STEPS steps after one warm-up step."""
    sys.path.insert(0, str(checkout))
    modules: list[Any] = [importlib.import_module(name) for name in ("main", "data", "models", "utils")]
    loop, data, models, losses = modules
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = {"batch_size": batch_size, "mu": mu, "workers": workers, "total_steps": 1000, "eval_step": 1000}
    args = Namespace(**SETTINGS, **scale, device=device, amp=device.type == "cuda", writer=StepLimit(steps + 1))
    both = data.TransformMPL(args, data.cifar10_mean, data.cifar10_std)
    labeled = _loader(args, batch_size, lambda image: both.normalize(both.ori(image)))
    unlabeled = _loader(args, batch_size * mu, both)
    loop.tqdm = StepTimes
    teacher, student = (models.WideResNet(10, 28, 2, 0.0, DROPOUT).to(device) for _ in range(2))
    average = models.ModelEMA(student, args.ema)
    learned = [_optimizer_schedule_scaler(loop, args, network) for network in (teacher, student)]
    (t_optimizer, t_schedule, t_scaler), (s_optimizer, s_schedule, s_scaler) = learned
    with suppress(AllStepsTimedError):
        loop.train_loop(
            *(args, labeled, unlabeled, None, None, teacher, student, average, losses.create_loss_fn(args)),
            *(t_optimizer, s_optimizer, t_schedule, s_schedule, t_scaler, s_scaler),
        )
    click.echo(json.dumps([late - early for early, late in zip(StepTimes.ends[1:], StepTimes.ends[2:], strict=False)]))


def _loader(args: Namespace, batch_size: int, transform: Any) -> DataLoader[Any]:
    images = RandomImages(batch_size * 8, transform)
    return DataLoader(images, batch_size, shuffle=True, num_workers=args.workers, drop_last=True, pin_memory=True)


def _optimizer_schedule_scaler(loop: Any, args: Namespace, network: nn.Module) -> tuple[Any, Any, Any]:
    """Return optimizer, schedule and scaler, built as in MPL-pytorch's main function."""
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
