"""Loops that are timed in a process of their own, and tell what they found as JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.system.errors import UserError


def answer_of(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Any:
    """Return what ``python -m words`` prints as its last line, read as JSON.

    Args:
        words: the module and its arguments.
        environment: variables beside those of this process.

    Raises:
        UserError: it fails; with the last line of its complaint.
    """
    command = [sys.executable, "-m", *words]
    variables = os.environ | (environment or {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)  # noqa: S603
    if done.returncode:
        complaint = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "")
        raise UserError(f"{' '.join(words)} ended with {done.returncode}: {complaint.removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])
