"""What training shows while it runs, on a terminal and in a log file."""

import logging
import os
import re

import pytest

from pipeline.training import progress as module
from pipeline.training.progress import Progress
from pipeline.training.time_left import TimeLeft

MEASURED = {"loss": 1.5, "h": 2e-3, "mask": 0.5, "pseudo_precision": 0.9, "images_per_s": 1234.5, "data_wait": 0.01}


class OneSecondSteps(TimeLeft):
    """A clock by which every step takes two seconds, and the first one a hundred."""

    def __init__(self, total: int, step: int) -> None:
        self.times = iter([0, *range(100, 10_000, 2)])
        super().__init__(total, step, lambda: next(self.times))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TimeLeft", OneSecondSteps)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_off_a_terminal_each_log_interval_is_one_line_with_the_last_validation_first(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    progress = Progress(108, 0)
    steps = [({}, False), (MEASURED, True), ({"val": 98.25}, False), ({"loss": 1.0}, True)]
    for values, logs in steps:
        progress.advance(values, logs=logs)
    progress.close()
    rest = "h +2.0e-03, mask 50%, precision 90%, 1,234 images/s, wait 1%"
    assert lines(caplog) == [
        f"step 2 of 108 (1 %): 3 min 32 s left, 2.0 s/step, loss 1.500, {rest}",
        f"step 4 of 108 (3 %): val 98.25 % at step 3, 3 min 28 s left, 2.0 s/step, loss 1.000, {rest}",
    ]
    assert "\r" not in capsys.readouterr().err


def test_the_last_line_has_the_validation_accuracy_of_its_step_and_no_time_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    progress = Progress(7, 5)
    progress.advance({})
    progress.advance({"val": 90.0, "loss": 0.5}, logs=True)
    assert lines(caplog) == ["step 7 of 7 (100 %): val 90.00 %, 2.0 s/step, loss 0.500"]


def test_a_quiet_one_says_nothing(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    Progress(2, 0, quiet=True).advance({"loss": 1.0}, logs=True)
    assert not caplog.records
    assert not capsys.readouterr().err


def screen(text: str) -> list[str]:
    """Return what a terminal shows of a text with carriage returns and with moves of the cursor up by one line."""
    rows, row, column = [""], 0, 0
    for part in re.findall(r"\r|\n|\x1b\[A|[^\r\n\x1b]+", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif part == "\x1b[A":
            row -= 1
        else:
            line = rows[row].ljust(column)
            rows[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in rows]


def test_on_a_terminal_of_80_columns_two_lines_show_validation_metrics_and_a_bar(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.fileno", lambda: 2)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    progress = Progress(2, 0)
    progress.advance(MEASURED, logs=True)
    progress.advance({"val": 98.25}, logs=True)
    progress.close()
    metrics, bar, *below = screen(capsys.readouterr().err)
    assert metrics.startswith("val 98.25 %, loss 1.500, h +2.0e-03, mask 50%, precision 90%, ")
    assert "2/2" in bar
    assert max(len(metrics), len(bar)) <= 80
    assert not any(below)
    assert not caplog.records
