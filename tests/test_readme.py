"""The documentation names only commands and options that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from benchmarks.gpu.command import main as gpu
from data_prep.cli import main as smpl_data
from pipeline.cli import main as smpl
from pipeline.train import main as smpl_train
from tests import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS: dict[str, click.Command] = {
    "smpl": smpl,
    "smpl-data": smpl_data,
    "smpl-train": smpl_train,
    "python3 -m benchmarks.gpu": gpu,
    "python3 -m pipeline.cli": smpl,
}
CODE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for program, line in _lines(page.read_text()):
        command, words = PROGRAMS[program], line.split()
        while isinstance(command, click.Group):
            name = words.pop(0)
            command = command.get_command(click.Context(command), name)
            assert command, f"{program} has no command {name}"
        options = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= options, line


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the program and the arguments of each command line in the code blocks of a page."""
    for block in CODE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.partition(" #")[0].strip()
            program = max((name for name in PROGRAMS if command.startswith(f"{name} ")), key=len, default=None)
            if program:
                yield program, command.removeprefix(program)
