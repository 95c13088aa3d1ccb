"""The command group ``smpl bench``."""

import click

from benchmarks.augment import main as augment
from benchmarks.checkpoint import main as checkpoint
from benchmarks.data import main as data
from benchmarks.feedback import main as feedback
from benchmarks.gpu.command import main as gpu
from benchmarks.image import main as image
from benchmarks.memory import main as memory
from benchmarks.page import main as page
from benchmarks.peer import main as peer
from benchmarks.prepare import main as prepare
from benchmarks.scale import main as scale
from benchmarks.step import main as step
from data_prep.system.cli import CommandGroup


@click.group(cls=CommandGroup)
def main() -> None:
    """Measure speed, memory and the parts of h, always side by side with a reference."""


main.add_command(step, "step")
main.add_command(memory, "memory")
main.add_command(data, "data")
main.add_command(prepare, "prepare")
main.add_command(image, "image")
main.add_command(augment, "augment")
main.add_command(scale, "scale")
main.add_command(checkpoint, "checkpoint")
main.add_command(feedback, "feedback")
main.add_command(peer, "peer")
main.add_command(gpu, "gpu")
main.add_command(page, "page")
