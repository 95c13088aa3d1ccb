"""Started by torchrun: trains every case of test_world on two ranks and leaves each rank's state for comparison."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.distributed.world import World, join_world, leave_world
from pipeline.training import factory
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import make_config, make_data, weights_of

_build_module = factory.build_module


def in_double_precision(*arguments: Any) -> torch.nn.Module:
    return _build_module(*arguments).double()


def train_case(settings: dict[str, Any], world: World, folder: Path) -> dict[str, Any]:
    """Train in fp64; return the state after it, and what each step reported on this rank.

    The settings are keys of the configuration, and ``side``, the side of the images.
    """
    factory.build_module = in_double_precision
    changes = {"side": 8} | settings
    data = make_data(changes.pop("side"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(make_config(**changes), data, world, folder)
        reports = []
        for step in range(trainer.config.steps):
            batches = trainer.loader.batch(step).split(trainer.config.accumulate)
            reports.append(trainer.runner.run(step, trainer.method.step(step), batches))
            trainer.step = step
            trainer.update_averages()
        scores = trainer.evaluate_now()
    finally:
        factory.build_module = _build_module
    return {"weights": weights_of(trainer), "reports": reports, "scores": scores}


def main() -> None:
    cases, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    world = join_world()
    for name, settings in cases.items():
        torch.save(train_case(settings, world, folder / name), folder / f"{name}-rank{world.rank}.pt")
    leave_world()


if __name__ == "__main__":
    main()
