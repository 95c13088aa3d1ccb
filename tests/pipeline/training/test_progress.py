"""What training shows while it runs, on a terminal and in a log file."""

import logging

import pytest

from pipeline.training.progress import Progress


def test_off_a_terminal_a_line_says_what_was_measured_in_its_step(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    progress = Progress(6, 2)
    for values in ({}, {"loss": 1.5, "images_per_s": 1234.5, "lr": 0.1}, {}, {"val": 98.25}):
        progress.advance(values)
    progress.close()
    assert [record.getMessage() for record in caplog.records] == [
        "step 4 of 6: loss 1.500, 1,234 images/s",
        "step 6 of 6: val 98.25 %",
    ]
    assert "\r" not in capsys.readouterr().err


def test_a_quiet_one_says_nothing(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    Progress(2, 0, quiet=True).advance({"loss": 1.0})
    assert not caplog.records
    assert not capsys.readouterr().err


def test_on_a_terminal_it_is_a_bar(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress(2, 0)
    progress.advance({"loss": 1.25})
    progress.advance({"val": 98.25})
    progress.close()
    assert "2/2" in (shown := capsys.readouterr().err)
    assert "loss 1.250, val 98.25 %" in shown, "the bar keeps the loss"
    assert not caplog.records
