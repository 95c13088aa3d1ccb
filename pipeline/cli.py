"""The command group ``smpl``: everything that the other commands do, and what builds on them."""

import importlib

import click

from data_prep.system.cli import CommandGroup

COMMANDS = {
    "train": ("pipeline.train:main", "Train a classifier from few labels."),
    "data": ("data_prep.cli:main", "Prepare, check and look at data sets."),
    "evaluate": (
        "pipeline.commands.evaluate:main",
        "Score a trained model: accuracy, the worst classes, what is confused.",
    ),
    "doctor": ("pipeline.commands.doctor:main", "Find what would make a run fail on this machine."),
    "compare": ("pipeline.commands.compare:main", "Train methods x seeds and tabulate their accuracy."),
    "regions": ("pipeline.commands.regions:main", "Draw what the runs of a table made of the plane."),
    "descent": ("pipeline.commands.descent:main", "Draw a step of SMPL and a supervised one on the true loss."),
    "bench": ("benchmarks.cli:main", "Measure speed and memory against what the mathematics needs."),
}


class LazyGroup(CommandGroup):
    """Loads a command when it is called, so that preparing data never waits for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup)
def main() -> None:
    """Learning with few labels: SMPL, MPL and their baselines."""


if __name__ == "__main__":
    main()
