"""Help, and the answer to a mistyped option, come without waiting for torch."""

import subprocess
import sys

import pytest

from pipeline.cli import COMMANDS
from tests import ROOT

SLOW_IMPORTS = {"torch", "torchvision", "sklearn", "matplotlib", "scipy", "tensorboardX"}
CODE = """
import sys
from pipeline.cli import main
try:
    main.main(sys.argv[1:], prog_name="smpl")
finally:
    print(*sys.modules)
"""


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "bench"])
@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--no-such-option", 2)])
def test_help_and_a_mistyped_option_import_nothing_slow(name: str, option: str, code: int) -> None:
    words = [sys.executable, "-c", CODE, name, option]
    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert not SLOW_IMPORTS & set(done.stdout.splitlines()[-1].split())
