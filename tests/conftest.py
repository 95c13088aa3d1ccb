"""Settings for all tests: one thread in each process, since processes run side by side, and one log level."""

import os

import pytest

from data_prep.system.logs import LEVEL_VARIABLE

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _default_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no ``-q`` of a command outlast its test: it is an environment variable of this process."""
    monkeypatch.setenv(LEVEL_VARIABLE, "INFO")
