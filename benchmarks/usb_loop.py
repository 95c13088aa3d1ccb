"""``python -m benchmarks.usb_loop --checkout PATH``: the seconds of USB's training steps, as JSON.

Its ``train`` runs unchanged, with its own algorithm, network, views, loaders, optimizer and average and the settings of
its CIFAR-10 configurations; only the images and the clock are ours. USB is not written for a CPU: there we also replace
its copy of a batch to the device and leave out its GPU timer. This has not run on a GPU.

USB imports libraries for text, sound and logs that it does not use here. Those that are not installed are replaced by
empty modules. timm and tensorboard are needed.
"""

import importlib
import json
import sys
import time
from argparse import Namespace
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import torch

from benchmarks.peer_loop import AllStepsTimedError, random_images

STUBBED = frozenset({"aim", "progress", "ruamel", "skimage", "torchaudio", "transformers", "wandb"})
IMAGES = 2000
NEVER = 10**9
"""A number of steps that is never reached, for the intervals of evaluation and logging."""
PARTS = ("x_lb", "y_lb", "x_ulb_w", "x_ulb_s")
"""The entries of a batch that a step takes."""


class EmptyModule(ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StubFinder(MetaPathFinder, Loader):
    """Finds an empty module for each unused library that no other finder finds."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        unused = fullname.partition(".")[0] in STUBBED
        return ModuleSpec(fullname, self, is_package=True) if unused else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


class RandomCifar10:
    """A replacement for torchvision's CIFAR10: random images of its size, with classes in turn."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.data = random_images(IMAGES)
        self.targets = np.arange(IMAGES) % 10


@click.command()
@click.option("--checkout", type=click.Path(path_type=Path), required=True)
@click.option("--algorithm", required=True)
@click.option("--batch-size", type=int, required=True)
@click.option("--mu", type=int, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--workers", type=int, required=True)
def main(checkout: Path, algorithm: str, batch_size: int, mu: int, steps: int, workers: int) -> None:
    """Time STEPS steps after one warm-up step."""
    sys.path.insert(0, str(checkout))
    sys.meta_path.append(StubFinder())
    learner = build(algorithm, {"batch_size": batch_size, "uratio": mu, "num_workers": workers}, steps + 2)
    ends = record_step_ends(learner, steps + 1)
    with suppress(AllStepsTimedError):
        learner.train()
    click.echo(json.dumps([late - early for early, late in pairwise(ends)]))


def build(algorithm: str, size: dict[str, int], steps: int) -> Any:
    """Return USB's learner of an algorithm, with random images, on this machine's device."""
    usb = importlib.import_module("semilearn")
    cifar = importlib.import_module("semilearn.datasets.cv_datasets.cifar")
    cifar.torchvision = Namespace(datasets=Namespace(CIFAR10=RandomCifar10))  # type: ignore[attr-defined]
    cifar.split_ssl_data = lambda _, data, labels, *__, **___: (data, labels, data, labels)  # type: ignore[attr-defined]
    run = {"epoch": 1, "num_train_iter": steps, "num_eval_iter": NEVER, "num_log_iter": NEVER}
    settings = usb.get_config({"algorithm": algorithm, "gpu": 0, "distributed": False} | run | size)
    learner = usb.get_algorithm(settings, usb.get_net_builder("wrn_28_2", False), None, None)
    if torch.cuda.is_available():
        send = importlib.import_module("semilearn.core.utils").send_model_cuda
        learner.model, learner.ema_model = (send(settings, each) for each in (learner.model, learner.ema_model))
    else:
        learner.process_batch = lambda **batch: {name: batch[name] for name in PARTS}
    return learner


def record_step_ends(learner: Any, steps: int) -> list[float]:
    """Return a list that receives the end of each step; after ``steps`` of them the loop is stopped."""
    ends: list[float] = []

    def note(_: object, __: object) -> None:
        ends.append(time.perf_counter())
        if len(ends) == steps:
            raise AllStepsTimedError

    hook = importlib.import_module("semilearn.core.hooks").Hook
    learner.register_hook(type("Ends", (hook,), {"after_train_step": note})(), None, "LOWEST")
    if not torch.cuda.is_available():
        del learner.hooks_dict["TimerHook"]
    return ends


if __name__ == "__main__":
    main()
