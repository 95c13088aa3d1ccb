"""``smpl bench feedback``: how much of the feedback h of MPL comes from the pseudo-labels of its step.

h is the labeled loss before the student's step minus that after it. The student's step contains more than the gradient
on this step's pseudo-labels: momentum, which comes from earlier steps, weight decay, and clipping, which makes the step
shorter. So h is measured twice in each step: after the student's own step, and after plain gradient descent along this
step's gradient alone, at the same rate. ``share`` is the part of the summed h that the optimizer adds,
1 - sum(plain h) / sum(h).

Nothing is timed. The run is that of a recipe with the method ``mpl``, on a prepared set.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from benchmarks.record import report_rows
from data_prep.system.cli import Command
from pipeline.config.command_line import read_config
from pipeline.config.data_set import DataSet, resolve_data
from pipeline.config.schema import Config
from pipeline.distributed.world import World, join_world
from pipeline.methods.feedback import feedback, full_gradient, measure_labeled_loss
from pipeline.methods.phases import Phases, Report, Shift, Update
from pipeline.training.factory import open_data
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer

Feedbacks = list[tuple[Tensor, Tensor]]
"""h after the student's own step and h after plain gradient descent, of each step."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--recipe", default="digits-smpl", metavar="NAME|FILE", help="Settings of the runs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe.")
@click.option("--seeds", default=10, type=click.IntRange(1), help="Number of runs; every seed has its own labels.")
@click.option("--steps", default=50, type=click.IntRange(1), help="Student steps from the first one on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(recipe: str, settings: tuple[str, ...], seeds: int, steps: int, as_json: bool, out: Path | None) -> None:
    """Measure the part of MPL's feedback h that the student's momentum adds."""
    world = join_world()

    def row(seed: int) -> dict[str, Any]:
        flags = {"method": "mpl", "seed": seed, "data": {"seed": seed}}
        config = read_config(recipe, flags, settings)
        return {"seed": seed, "steps": steps} | measure(config, world, steps)

    report_rows(map(row, range(seeds)), _line, as_json=as_json, out=out)


def measure(config: Config, world: World, steps: int) -> dict[str, float]:
    """Return the mean h of the first student steps, the mean h after plain descent, and the optimizer's share."""
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
    own, plain = (sum(float(pair[place]) for pair in feedbacks) / steps for place in (0, 1))
    return {"h": own, "plain": plain, "share": 1 - plain / own}


def watch(trainer: Trainer, phases: Phases, feedbacks: Feedbacks) -> Phases:
    """Yield the phases of a step of MPL; before the student's update, measure h after plain gradient descent."""
    student = trainer.networks["student"]
    answer = plain = None
    while True:
        try:
            phase = phases.send(answer)
        except StopIteration:
            return
        if isinstance(phase, Update) and phase.network == "student":
            gradient = yield from full_gradient("student", phase.loss)
            before = yield measure_labeled_loss(student)
            after = yield measure_labeled_loss(student, Shift("student", -student.rate * gradient))
            plain = feedback(before, after)
        if isinstance(phase, Report) and plain is not None:
            feedbacks.append((phase.values["h"], plain))
        answer = yield phase


def _line(row: dict[str, Any]) -> str:
    shown = f"h {row['h']:+.5f}, after plain descent {row['plain']:+.5f}"
    return f"seed {row['seed']}: {shown}, the optimizer's share {row['share']:.0%}"


if __name__ == "__main__":
    main()
