import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from click.testing import CliRunner

from data_prep.cli import main as data
from data_prep.system.version import commit
from pipeline.cli import COMMANDS, main
from pipeline.train import main as train
from tests import ROOT


def test_every_command_of_the_group_loads() -> None:
    runner = CliRunner()
    assert all(name in runner.invoke(main, ["--help"]).stdout for name in COMMANDS)
    for name in COMMANDS:
        assert runner.invoke(main, [name, "--help"]).exit_code == 0, name


def test_the_group_does_not_import_torch_before_it_must() -> None:
    code = "import sys, pipeline.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("words", [["smpl", "--version"], ["smpl-data", "--version"], ["smpl-train", "--version"]])
def test_the_version_names_the_release_the_commit_and_torch_with_its_cuda(words: list[str]) -> None:
    program, *options = words
    result = CliRunner().invoke({"smpl": main, "smpl-data": data, "smpl-train": train}[program], options)
    assert result.exit_code == 0
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    assert result.stdout.startswith(f"smpl-pipeline {version('smpl-pipeline')}, ")
    assert result.stdout.endswith(f"torch {torch.__version__} ({cuda})\n")
    assert (commit() is None) or f"commit {commit()}" in result.stdout


def test_h_is_help_everywhere() -> None:
    for name in COMMANDS:
        assert CliRunner().invoke(main, [name, "-h"]).stdout.startswith("Usage:"), name
