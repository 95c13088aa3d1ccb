"""The values that a shell completes, and that it need not wait for torch."""

import subprocess
import sys

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from data_prep.sources import SOURCES
from pipeline import cli, train
from pipeline.cli import COMMANDS
from pipeline.config.recipes import built_in
from pipeline.methods import METHODS
from tests import ROOT
from tests.pipeline.test_help import CODE, SLOW_IMPORTS


def completions(words: str) -> list[CompletionItem]:
    """Return what completes the last of the words; the first one names the command."""
    program, *before, begun = words.split(" ")
    command = {"smpl": cli.main, "smpl-train": train.main}[program]
    return ShellComplete(command, {}, program, "_COMPLETE").get_completions(before, begun)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("smpl-train --recipe ", [*built_in()]),
        ("smpl-train --recipe moon", ["moons"]),
        ("smpl-train --dataset ", [*SOURCES]),
        ("smpl-train --method ", METHODS.names()),
        ("smpl-train --method meta", ["metasemi"]),
        ("smpl train --method meta", ["metasemi"]),
        ("smpl compare --recipe moon", ["moons"]),
        ("smpl list recipes moon", ["moons"]),
        ("smpl ", [*COMMANDS]),
        ("smpl k", ["keys"]),
    ],
)
def test_names_are_completed(words: str, values: list[str]) -> None:
    assert [item.value for item in completions(words)] == values


def test_a_recipe_of_ones_own_is_completed_as_a_file() -> None:
    assert [(item.type, item.value) for item in completions("smpl-train --recipe mine/re")] == [("file", "mine/re")]


@pytest.mark.parametrize("words", ["smpl ", "smpl train --method ", "smpl list recipes ", "smpl compare --dataset "])
def test_completion_imports_nothing_slow(words: str) -> None:
    variables = {"_SMPL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )
    *items, modules = done.stdout.splitlines()
    assert items
    assert all(item.startswith("plain,") for item in items)
    assert not SLOW_IMPORTS & set(modules.split())
