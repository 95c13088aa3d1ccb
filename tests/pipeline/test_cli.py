import subprocess
import sys

from click.testing import CliRunner

from pipeline.cli import COMMANDS, main
from tests import ROOT


def test_every_command_of_the_group_loads() -> None:
    runner = CliRunner()
    assert all(name in runner.invoke(main, ["--help"]).stdout for name in COMMANDS)
    for name in COMMANDS:
        assert runner.invoke(main, [name, "--help"]).exit_code == 0, name


def test_the_group_does_not_import_torch_before_it_must() -> None:
    code = "import sys, pipeline.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
