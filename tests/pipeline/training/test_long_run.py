"""A run on a CPU that would take days says so after its first steps, with the options that make it hours."""

import dataclasses
import logging

import pytest

from pipeline.data.streaming.loader import StreamLoader
from pipeline.training.long_run import FIRST_STEPS, warn_of_long_run
from pipeline.training.time_left import TimeLeft, duration, pace
from tests.pipeline.conftest import make_config, make_data


def warnings_of(caplog: pytest.LogCaptureFixture, *, total: int, seconds: float, streamed: bool = False) -> list[str]:
    """Return the warnings of a run whose steps take ``seconds`` each."""
    caplog.set_level(logging.INFO, "pipeline")
    caplog.clear()
    times = iter(seconds * step for step in range(100))
    left = TimeLeft(total, 0, lambda: next(times))
    data = make_data(side=32)
    data = dataclasses.replace(data, loader=StreamLoader) if streamed else data
    for _ in range(FIRST_STEPS + 2):
        left.count()
        warn_of_long_run(left, make_config(), data)
    return [record.getMessage() for record in caplog.records]


def test_weeks_are_one_warning_with_the_estimate_and_the_options(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = warnings_of(caplog, total=10_000, seconds=226.0, streamed=True)
    assert line.startswith("about 26 days 3 h are left on this CPU, at 226.0 s/step; to make it hours: ")
    for option in ("--budget-minutes", "--set augment.size=16 (now 32)", "--batch-size (now 8)", "now small_conv"):
        assert option in line
    assert "\n" not in line


def test_resident_images_have_no_option_of_size(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = warnings_of(caplog, total=10_000, seconds=226.0)
    assert "augment.size" not in line


@pytest.mark.parametrize(("total", "seconds"), [(103, 864.0), (10_000, 0.1)])
def test_a_day_or_less_is_no_warning(caplog: pytest.LogCaptureFixture, total: int, seconds: float) -> None:
    assert warnings_of(caplog, total=total, seconds=seconds) == []


def test_the_first_step_counts_until_there_is_another() -> None:
    times = iter([0.0, 60.0, 61.0, 63.0])
    left = TimeLeft(10, 4, lambda: next(times))
    found = []
    for _ in range(3):
        left.count()
        found.append((left.step_seconds, left.seconds))
    assert found == [(60, 300), (1, 4), (1.5, 4.5)]


def test_times_are_said_in_their_two_largest_units() -> None:
    said = {0: "0 s", 12.4: "12 s", 60: "1 min", 185: "3 min 5 s", 3720: "1 h 2 min", 26 * 86400 + 14401: "26 days 4 h"}
    assert {seconds: duration(seconds) for seconds in said} == said
    assert [pace(seconds) for seconds in (0.05, 1.5)] == ["20.0 steps/s", "1.5 s/step"]
