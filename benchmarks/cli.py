"""The command group ``smpl bench``."""

import click

from benchmarks.step import main as step
from data_prep.command import CommandGroup


@click.group(cls=CommandGroup)
def main() -> None:
    """Measure speed, always side by side with what is needed at least."""


main.add_command(step, "step")
