"""The command group ``smpl``: training, data preparation, and the commands that use their results."""

import importlib

import click
from click.shell_completion import CompletionItem

from data_prep.system.cli import CommandGroup

COMMANDS = {
    "train": ("pipeline.train:main", "Train a classifier from few labels."),
    "data": ("data_prep.cli:main", "Prepare, check and look at data sets."),
    "keys": ("pipeline.commands.keys:main", "List the keys that a recipe and --set may set."),
    "list": ("pipeline.commands.list:main", "List the recipes, methods, models and data sets."),
    "evaluate": (
        "pipeline.commands.evaluate:main",
        "Score a trained model: accuracy, the worst classes and the most confused pairs.",
    ),
    "doctor": ("pipeline.commands.doctor:main", "Find what would make a run fail on this machine."),
    "compare": ("pipeline.commands.compare:main", "Train methods x seeds and tabulate their accuracy."),
    "regions": ("pipeline.commands.regions:main", "Draw the decision regions of the runs of a comparison."),
    "descent": ("pipeline.commands.descent:main", "Draw a step of SMPL beside a supervised step on the true loss."),
    "bench": ("benchmarks.cli:main", "Measure speed and memory beside bare passes and other libraries."),
}


class LazyGroup(CommandGroup):
    """Imports a command only when it is called, so that data preparation does not wait for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, without importing the commands."""
        commands = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items()]
        found = [item for item in commands if item.value.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup)
def main() -> None:
    """Train image classifiers from few labels: SMPL, MPL and their baselines."""


if __name__ == "__main__":
    main()
