"""The import directions in pyproject.toml hold. `make lint` checks the same."""

import subprocess
import sys

from tests import ROOT

# A process of its own, since the linter disables the loggers of the process that it runs in.
CHECK = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def test_the_written_import_directions_hold() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
