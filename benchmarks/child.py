"""Loops that are timed in a process of their own, and print what they measured as JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.system.errors import UserError
from pipeline.python_process import run_python


def answer_of(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Any:
    """Return what ``python -m words`` prints as its last line, read as JSON.

    Args:
        words: the module and its arguments.
        environment: variables beside those of this process.

    Raises:
        UserError: the program fails; the error ends with the last line of its own.
    """
    process = run_python(["-m", *words], os.environ | (environment or {}))
    if process.code:
        last = next((line for line in reversed(process.errors.splitlines()) if line.strip()), "")
        raise UserError(f"{' '.join(words)} ended with {process.code}: {last.removeprefix('error: ')}")
    return json.loads(process.output.splitlines()[-1])
