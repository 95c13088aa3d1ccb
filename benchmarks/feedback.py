"""``smpl bench feedback``: how much of the feedback h of MPL comes from the pseudo-labels of its step.

h is the labeled loss before the student's step minus that after it. The derivation has plain gradient descent; the
student's step contains more. So the labeled loss is measured after three steps from the same weights:

* ``plain``: gradient descent along the gradient g on this step's pseudo-labels, at the student's rate;
* ``this_step``: what g alone makes of the student's step: g is clipped, and Nesterov momentum moves it 1 + momentum
  times as far;
* ``h``: the student's own step, with the momentum of earlier steps and weight decay as well.

``earlier_share`` is the part of the summed h that earlier steps and decay add, 1 - sum(this_step) / sum(h). Nothing is
timed. The run is that of a recipe with the method ``mpl``, on a prepared set.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from benchmarks.record import report_rows
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.config.command_line import read_config
from pipeline.config.data_set import DataSet, resolve_data
from pipeline.config.schema import Config, OptimizerOptions
from pipeline.distributed.world import World, join_world
from pipeline.methods.feedback import feedback, full_gradient, measure_labeled_loss
from pipeline.methods.phases import Gradient, Phases, Report, Shift, Update
from pipeline.training.factory import open_data
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer

Feedbacks = list[tuple[Tensor, Tensor, Tensor]]
"""h after plain gradient descent, after what this step's gradient does, and after the student's own step."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--recipe", default="digits-smpl", metavar="NAME|FILE", help="Settings of the runs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe.")
@click.option("--seeds", default=10, type=click.IntRange(1), help="Number of runs; every seed has its own labels.")
@click.option("--steps", default=50, type=click.IntRange(1), help="Student steps from the first one on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(recipe: str, settings: tuple[str, ...], seeds: int, steps: int, as_json: bool, out: Path | None) -> None:
    """Measure how much of MPL's feedback h comes from earlier steps, through the student's momentum."""
    world = join_world()

    def row(seed: int) -> dict[str, Any]:
        flags = {"method": "mpl", "seed": seed, "data": {"seed": seed}}
        config = read_config(recipe, flags, settings)
        if not config.sections["mpl"]["weight"]:
            raise UsageError("mpl.weight=0 switches the meta term off, so no h is measured; leave it out")
        return {"seed": seed, "steps": steps} | measure(config, world, steps)

    report_rows(map(row, range(seeds)), _line, as_json=as_json, out=out)


def measure(config: Config, world: World, steps: int) -> dict[str, float]:
    """Return the means of the three measures over the first student steps, and the share of earlier steps."""
    data = DataSet()
    config = resolve_data(config, data)
    feedbacks: Feedbacks = []
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(
            config, open_data(config, data.folder(config), world).training_data(unlabeled=True), world, Path(place)
        )
        method_step = trainer.method.step
        trainer.method.step = lambda step: watch(trainer, method_step(step), feedbacks)  # type: ignore[method-assign]
        clock = Clock()
        while len(feedbacks) < steps:
            trainer.train_step(clock)
    plain, this_step, own = (sum(float(values[place]) for values in feedbacks) / steps for place in range(3))
    return {"h": own, "plain": plain, "this_step": this_step, "earlier_share": 1 - this_step / own}


def watch(trainer: Trainer, phases: Phases, feedbacks: Feedbacks) -> Phases:
    """Yield the phases of a step of MPL; before the student's update, measure h after the two other steps."""
    student = trainer.networks["student"]
    answer, others = None, []
    while True:
        try:
            phase = phases.send(answer)
        except StopIteration:
            return
        if isinstance(phase, Update) and phase.network == "student":
            gradient = yield from full_gradient("student", phase.loss)
            before = yield measure_labeled_loss(student)
            for factor in (1.0, _factor(trainer.config.optimizer, gradient)):
                after = yield measure_labeled_loss(student, Shift("student", -factor * student.rate * gradient))
                others.append(feedback(before, after))
        if isinstance(phase, Report) and others:
            feedbacks.append((others[0], others[1], phase.values["h"]))
        answer = yield phase


def _factor(optimizer: OptimizerOptions, gradient: Gradient) -> Tensor | float:
    """Return how far the optimizer moves the weights along this gradient, in units of plain gradient descent."""
    look_ahead = 1 + optimizer.momentum * optimizer.nesterov
    if optimizer.clip is None:
        return look_ahead
    return look_ahead * (optimizer.clip / gradient.norm()).clamp(max=1)


def _line(row: dict[str, Any]) -> str:
    shown = f"h {row['h']:+.5f}, {row['this_step']:+.5f} by this step's gradient, {row['plain']:+.5f} by plain descent"
    return f"seed {row['seed']}: {shown}; the share of earlier steps and decay {row['earlier_share']:.0%}"


if __name__ == "__main__":
    main()
