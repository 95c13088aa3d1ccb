"""Logging: levels by -v and -q, the rank in each record, warnings once, and no carriage returns outside a terminal."""

import logging
import os
import warnings

import click
import pytest
from click.testing import CliRunner

from data_prep.system import progress_bar
from data_prep.system.cli import Command, CommandGroup
from data_prep.system.logs import LEVEL_VARIABLE, configure_logging

logger = logging.getLogger("pipeline.example")


@click.command(cls=Command)
def example() -> None:
    for level in ("debug", "info", "warning", "error"):
        getattr(logger, level)("a record of level %s", level)
    click.echo("the answer")


@click.group(cls=CommandGroup)
def group() -> None: ...


@group.command()
def member() -> None:
    logger.debug("a record of the member")


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop(LEVEL_VARIABLE, None)
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(capture=False)


@pytest.mark.parametrize(
    ("flags", "shown"),
    [("", "info warning error"), ("-v", "debug info warning error"), ("-q", "warning error"), ("-qq", "error")],
)
def test_levels_follow_the_flags_and_the_answer_alone_is_on_stdout(flags, shown):
    result = CliRunner().invoke(example, flags.split())
    assert [line.split()[-1] for line in result.stderr.splitlines()] == shown.split()
    assert result.stdout == "the answer\n"


def test_processes_that_a_command_starts_inherit_its_level():
    CliRunner().invoke(example, ["-q"])
    assert "info" not in CliRunner().invoke(example, []).stderr


def test_the_level_of_the_environment_may_have_any_case():
    os.environ[LEVEL_VARIABLE] = "debug"
    assert "level debug" in CliRunner().invoke(example, []).stderr


def test_an_unknown_level_of_the_environment_is_wrong_usage():
    os.environ[LEVEL_VARIABLE] = "loud"
    result = CliRunner().invoke(example, [])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: {LEVEL_VARIABLE}=loud is no level; set it to DEBUG, INFO, WARNING or ERROR"
    ]


def test_commands_of_a_group_have_the_flags():
    assert "a record of the member" in CliRunner().invoke(group, ["member", "-v"]).stderr


def test_records_name_the_rank_of_a_distributed_run(capsys):
    os.environ |= {"RANK": "3", "WORLD_SIZE": "4"}
    configure_logging()
    logger.info("hello")
    warnings.warn("every rank would repeat this", UserWarning, stacklevel=1)
    assert capsys.readouterr().err.split(maxsplit=1)[1] == "INFO [rank 3] hello\n"


def test_a_warning_is_shown_once(capsys):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        configure_logging()
        for _ in range(3):
            warnings.warn("beware", UserWarning, stacklevel=1)
    assert capsys.readouterr().err.count("UserWarning: beware") == 1


def test_warnings_for_developers_follow_the_filters_of_python(capsys):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        configure_logging()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("left open", ResourceWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_progress_of_slow_work_gives_the_seconds_of_each(monkeypatch, capsys):
    seconds = iter([0.0, 24.6])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(seconds))
    configure_logging()
    with progress_bar.progress_bar(4, "runs") as advance:
        advance(2)
    assert capsys.readouterr().err.endswith("2 of 4 runs, 12.3 s each\n")


def test_outside_a_terminal_progress_is_whole_lines(monkeypatch, capsys):
    seconds = iter(range(0, 100, 4))
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: float(next(seconds)))
    configure_logging()
    with progress_bar.progress_bar(2000, "images", "digits") as advance:
        for _ in range(6):
            advance(250)
    lines = capsys.readouterr().err
    assert "\r" not in lines
    assert [line.split(maxsplit=2)[2] for line in lines.splitlines()] == [
        "digits: 750 of 2,000 images, 62 a second",
        "digits: 1,500 of 2,000 images, 62 a second",
    ]


def test_progress_that_is_not_wanted_shows_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    configure_logging()
    with progress_bar.progress_bar(10, "images", shown=False) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
