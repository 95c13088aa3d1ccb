"""``python -m benchmarks.peer_usb --checkout PATH``: the seconds of USB's own training steps, as a JSON list.

Its ``train`` runs as it stands, with its own algorithm, network, views, loaders, optimizer and average, and the
settings of its configurations for CIFAR-10; only the pictures and the clock are ours. On a CPU, for which it is not
written, so is the way of a batch to the device, and its timer of a GPU is left out. It has not run on a GPU here.

It imports more than it needs here: libraries for text, sound and logs that are not installed are replaced by nothing.
It does need timm and tensorboard.
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

UNUSED = frozenset({"aim", "progress", "ruamel", "skimage", "torchaudio", "transformers", "wandb"})
PICTURES = 2000
FAR = 10**9
"""Steps to what is not to happen: an evaluation, a line of its log, the end."""
PARTS = ("x_lb", "y_lb", "x_ulb_w", "x_ulb_s")
"""What a step takes of a batch."""


class Nothing(ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StandIns(MetaPathFinder, Loader):
    """Finds what is unused, where nothing else does."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        unused = fullname.partition(".")[0] in UNUSED
        return ModuleSpec(fullname, self, is_package=True) if unused else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Nothing(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


class Pictures:
    """Stands in for torchvision's CIFAR10: random pictures of its size, with classes in turn."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.data = np.random.default_rng(0).integers(0, 256, (PICTURES, 32, 32, 3), dtype=np.uint8)
        self.targets = np.arange(PICTURES) % 10


class _Enough(Exception):  # noqa: N818
    pass


@click.command()
@click.option("--checkout", type=click.Path(path_type=Path), required=True)
@click.option("--algorithm", required=True)
@click.option("--batch-size", type=int, required=True)
@click.option("--mu", type=int, required=True)
@click.option("--steps", type=int, required=True)
@click.option("--workers", type=int, required=True)
def main(checkout: Path, algorithm: str, batch_size: int, mu: int, steps: int, workers: int) -> None:
    """Time STEPS steps after one that is not timed."""
    sys.path.insert(0, str(checkout))
    sys.meta_path.append(StandIns())
    learner = build(algorithm, {"batch_size": batch_size, "uratio": mu, "num_workers": workers}, steps + 2)
    ends = note_ends(learner, steps + 1)
    with suppress(_Enough):
        learner.train()
    click.echo(json.dumps([late - early for early, late in pairwise(ends)]))


def build(algorithm: str, size: dict[str, int], steps: int) -> Any:
    """Return its learner of an algorithm, with random pictures, on this machine's device."""
    usb = importlib.import_module("semilearn")
    cifar = importlib.import_module("semilearn.datasets.cv_datasets.cifar")
    cifar.torchvision = Namespace(datasets=Namespace(CIFAR10=Pictures))  # type: ignore[attr-defined]
    cifar.split_ssl_data = lambda _, data, labels, *__, **___: (data, labels, data, labels)  # type: ignore[attr-defined]
    run = {"epoch": 1, "num_train_iter": steps, "num_eval_iter": FAR, "num_log_iter": FAR}
    settings = usb.get_config({"algorithm": algorithm, "gpu": 0, "distributed": False} | run | size)
    learner = usb.get_algorithm(settings, usb.get_net_builder("wrn_28_2", False), None, None)
    if torch.cuda.is_available():
        send = importlib.import_module("semilearn.core.utils").send_model_cuda
        learner.model, learner.ema_model = (send(settings, each) for each in (learner.model, learner.ema_model))
    else:
        learner.process_batch = lambda **batch: {name: batch[name] for name in PARTS}
    return learner


def note_ends(learner: Any, steps: int) -> list[float]:
    """Return a list that fills with the end of each step; after so many the loop is left."""
    ends: list[float] = []

    def note(_: object, __: object) -> None:
        ends.append(time.perf_counter())
        if len(ends) == steps:
            raise _Enough

    hook = importlib.import_module("semilearn.core.hooks").Hook
    learner.register_hook(type("Ends", (hook,), {"after_train_step": note})(), None, "LOWEST")
    if not torch.cuda.is_available():
        del learner.hooks_dict["TimerHook"]
    return ends


if __name__ == "__main__":
    main()
