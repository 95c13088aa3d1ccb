"""Logging of every command: one format on stderr, with the rank in each record of a distributed run.

The packages log through ``logging.getLogger(__name__)``; a command configures the level with ``-v`` and ``-q``, and the
processes that it starts inherit that level from the environment. Only a command's answer goes to stdout.
"""

import logging
import os
import sys
import warnings
from typing import TextIO

from data_prep.system.errors import UsageError

LEVEL_VARIABLE = "SMPL_LOG_LEVEL"
"""Environment variable that holds the level's name for the processes that a command starts."""
PACKAGES = ("data_prep", "pipeline", "benchmarks", "__main__")
"""The loggers that follow the level; a module that is run with ``python -m`` logs as ``__main__``."""
SHOWN_ONCE = (UserWarning, RuntimeWarning, FutureWarning)
"""Python's warnings of which each distinct one is shown once; its own filters hide those for developers."""
FORMAT = "%(asctime)s %(levelname)s %(rank)s%(message)s"


def configure_logging(verbosity: int = 0) -> None:
    """Send the records of all packages to stderr, and each distinct warning of Python once.

    Args:
        verbosity: the number of ``-v`` less the number of ``-q``: 1 shows debug records, 0 information, -1 only
            warnings, -2 only errors. With 0 the level of the environment holds, which a parent process has set.

    Raises:
        UsageError: the environment names an unknown level.
    """
    if verbosity:
        os.environ[LEVEL_VARIABLE] = logging.getLevelName(_level(verbosity))
    level = _environment_level()
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    handler.addFilter(_name_rank)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level)
    if not sys.warnoptions:
        for category in SHOWN_ONCE:
            warnings.simplefilter("once", category)
    logging.captureWarnings(capture=True)


def _level(verbosity: int) -> int:
    return min(max(logging.INFO - 10 * verbosity, logging.DEBUG), logging.ERROR)


def _environment_level() -> int:
    name = os.environ.get(LEVEL_VARIABLE) or "INFO"
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise UsageError(f"{LEVEL_VARIABLE}={name} is no level; set it to DEBUG, INFO, WARNING or ERROR")
    return level


def _name_rank(record: logging.LogRecord) -> bool:
    """Add the rank to a record of a distributed run; drop warnings of Python that every rank repeats."""
    rank = os.environ.get("RANK", "0")
    record.rank = f"[rank {rank}] " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""
    return rank == "0" or record.name != "py.warnings"


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is when a record comes; on a terminal above a progress bar, not through it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules or not sys.stderr.isatty():
            super().emit(record)
            return
        from tqdm import tqdm  # noqa: PLC0415

        tqdm.write(self.format(record), file=sys.stderr)
